import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { Socket } from 'node:net';

/**
 * A server that ends with this process, however this process ends. Between the two stands a shell that reads a pipe of which only
 * we hold the other end: when it closes, also by a `kill -9` of ours, the shell ends the server by the signal `$0`, after ten
 * seconds of grace by SIGQUIT, and removes its folder. "keep" on the pipe lets the server outlive us; "kill" kills it outright.
 */
const SUPERVISOR = `
exec 3<&0
"$@" 3<&- &
server=$!
{
  if read -r word <&3; then
    trap "" TERM
    [ "$word" = keep ] || kill -s KILL $server
    exit 0
  fi
  kill -s "$0" $server && sleep 10 && kill -s QUIT $server
} 2>/dev/null &
watcher=$!
wait $server
code=$?
kill $watcher 2>/dev/null
wait $watcher || [ -z "$REMOVE_AFTERWARDS" ] || rm -rf "$REMOVE_AFTERWARDS"
exit $code`;

export interface Supervised {
  /** Resolves with the exit code when the server has ended. */
  readonly exited: Promise<number>;
  /** Ends the server and waits until it is gone. */
  stop(): Promise<void>;
  /** Kills the server and waits until it is gone; its folder stays. */
  kill(): Promise<void>;
  /** From now on the server outlives this process. */
  keep(): void;
}

/** Starts a server whose output goes to `logFile` (appended). `removeAfterwards`: a folder to remove once it has ended. */
export function supervise(
  command: readonly string[],
  options: {
    readonly logFile: string;
    readonly signal: 'INT' | 'TERM';
    readonly env?: NodeJS.ProcessEnv;
    readonly cwd?: string;
    readonly uid?: number | undefined;
    readonly gid?: number | undefined;
    readonly removeAfterwards?: string | undefined;
  },
): Supervised {
  const log = openSync(options.logFile, 'a', 0o644);
  const child = spawn('/bin/sh', ['-c', SUPERVISOR, options.signal, ...command], {
    // A session of its own, so that Ctrl-C reaches us first, and we end it in our own time.
    detached: true,
    stdio: ['pipe', log, log],
    env: { ...(options.env ?? process.env), REMOVE_AFTERWARDS: options.removeAfterwards ?? '' },
    cwd: options.cwd ?? '/',
    ...(options.uid === undefined ? {} : { uid: options.uid, gid: options.gid ?? options.uid }),
  });
  closeSync(log);
  const pipe = child.stdin;
  if (!pipe) throw new Error('a supervised server has no pipe to its supervisor');
  const exited = new Promise<number>((resolve, reject) => {
    child.on('error', (cause) => reject(new Error(`cannot start ${command[0]}: ${cause.message}`, { cause })));
    child.on('exit', (code) => resolve(code ?? -1));
  });
  // Who stops waiting for a server hears of its failure by other means; the pipe breaks when it ends first.
  exited.catch(() => undefined);
  pipe.on('error', () => undefined);
  // A running server does not keep this process alive.
  child.unref();
  if (pipe instanceof Socket) pipe.unref();
  const end = async (word = ''): Promise<void> => {
    pipe.end(word);
    child.ref();
    await exited;
  };
  return { exited, stop: () => end(), kill: () => end('kill\n'), keep: () => void pipe.end('keep\n') };
}
