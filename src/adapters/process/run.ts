import { spawn } from 'node:child_process';
import type { ChildProcess, ChildProcessWithoutNullStreams } from 'node:child_process';
import { createInterface } from 'node:readline';
import { PassThrough } from 'node:stream';
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

export interface Command {
  /** An absolute path: no shell and no PATH are asked. */
  readonly program: string;
  readonly args: readonly string[];
  /** The whole environment of the child: nothing is inherited. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Open files that the child gets too, as its descriptors from 3 on. */
  readonly inherit?: readonly number[];
  readonly onStderrLine?: (line: string) => void;
  /** Ends the child (SIGTERM, by its own pid; SIGKILL where that is not heard). */
  readonly signal?: AbortSignal;
}

export interface Outcome {
  /** Null where a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** What it wrote, the last `outputLimit` bytes of each. */
  readonly stdout: string;
  readonly stderr: string;
}

/** Output beyond it is forgotten, oldest first: a child that floods its stderr must not fill our memory. */
const outputLimit = 64 * 1024;
const killAfterMs = 5000;

/** A child that runs; its standard streams are the caller's to connect. */
export interface Running {
  readonly stdin: Writable;
  readonly stdout: Readable;
  /** Resolves when it has ended and its output is read. Rejects where it could not be started. */
  readonly ended: Promise<Outcome>;
  readonly kill: () => void;
}

/** Starts a program without a shell. `collectStdout: false` leaves stdout to the caller. */
export function start(
  command: Command,
  options: { readonly collectStdout: boolean } = { collectStdout: true },
): Running {
  const child = spawn(command.program, [...command.args], {
    env: { ...command.env },
    stdio: ['pipe', 'pipe', 'pipe', ...(command.inherit ?? [])],
    ...(command.cwd === undefined ? {} : { cwd: command.cwd }),
    // All three are pipes; the types only know that of a list of exactly three.
  }) as ChildProcessWithoutNullStreams;
  // A child that ends before it has read everything closes its end; its exit status is what tells why.
  child.stdin.on('error', () => undefined);

  let stdout = '';
  let stderr = '';
  if (options.collectStdout) {
    child.stdout.setEncoding('utf8');
    child.stdout.on('data', (chunk: string) => (stdout = (stdout + chunk).slice(-outputLimit)));
  }
  createInterface({ input: child.stderr }).on('line', (line) => {
    stderr = `${stderr}${line}\n`.slice(-outputLimit);
    command.onStderrLine?.(line);
  });

  const kill = (): void => terminate(child);
  command.signal?.addEventListener('abort', kill, { once: true });
  const ended = new Promise<Outcome>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  }).finally(() => command.signal?.removeEventListener('abort', kill));
  if (command.signal?.aborted) kill();
  return { stdin: child.stdin, stdout: child.stdout, ended, kill };
}

/** Runs a program to its end. `input` is fed to its stdin. */
export async function run(command: Command, input?: Readable): Promise<Outcome> {
  const running = start(command);
  if (input === undefined) {
    running.stdin.end();
    return running.ended;
  }
  try {
    await pipeline(input, running.stdin);
  } catch (error) {
    // The child went away first: its outcome tells why. Anything else is the input's own failure.
    if (!isBrokenPipe(error)) {
      running.kill();
      await running.ended;
      throw error;
    }
  }
  return running.ended;
}

/** Runs `left | right`, where `right` may have to wait while `left` begins; both outcomes. No child is left behind. */
export async function pipe(left: Command, right: Promise<Command>): Promise<readonly [Outcome, Outcome]> {
  const from = start(left, { collectStdout: false });
  from.stdin.end();
  from.ended.catch(() => undefined); // told below; it may fail to start while `right` is waited for
  // When a child ends, Node discards what nobody has begun to read of its output: so it is read from the start.
  const output = from.stdout.pipe(new PassThrough());
  let to: Running;
  try {
    to = start(await right);
  } catch (error) {
    from.kill();
    output.resume();
    await from.ended;
    throw error;
  }
  const flow = pipeline(output, to.stdin).catch((error: unknown) => {
    from.kill();
    if (!isBrokenPipe(error)) throw error;
  });
  const [, ...outcomes] = await Promise.all([flow, from.ended, to.ended]);
  return outcomes;
}

function isBrokenPipe(error: unknown): boolean {
  return (
    error instanceof Error &&
    'code' in error &&
    ['EPIPE', 'ERR_STREAM_PREMATURE_CLOSE', 'ECONNRESET'].includes(String(error.code))
  );
}

function terminate(child: ChildProcess): void {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), killAfterMs);
  timer.unref();
  child.once('exit', () => clearTimeout(timer));
}
