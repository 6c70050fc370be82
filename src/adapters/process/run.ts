/** Programs that are run to their end, and judged by it: PostgreSQL's tools. */
import { createInterface } from 'node:readline';
import { PassThrough, pipeline as connect } from 'node:stream';
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Child, Ending, Launcher, Program } from './launcher.ts';

export interface Command extends Program {
  readonly launcher: Launcher;
  readonly onStderrLine?: (line: string) => void;
  /** Ends the child (SIGTERM; SIGKILL where that is not heard). */
  readonly signal?: AbortSignal;
}

export interface Outcome extends Ending {
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
  /** Resolves when it has ended and its output is read. */
  readonly ended: Promise<Outcome>;
  readonly kill: () => void;
}

/** Starts a program. `collectStdout: false` leaves stdout to the caller. Throws what the launcher throws. */
export async function start(
  command: Command,
  options: { readonly collectStdout: boolean } = { collectStdout: true },
): Promise<Running> {
  const child = await command.launcher.launch(command);
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
  const ended = child.ended
    .then((ending) => ({ ...ending, stdout, stderr }))
    .finally(() => command.signal?.removeEventListener('abort', kill));
  if (command.signal?.aborted) kill();
  return { stdin: child.stdin, stdout: child.stdout, ended, kill };
}

/** The end of the output of a program that did not end well: so that nobody takes it for the whole. */
export class CutShort extends Error {
  override readonly name = 'CutShort';
}

/**
 * Runs a program to its end. `input` is fed to its stdin, and `output` takes its stdout, where there is one: that throws
 * at its end unless the program ended well.
 */
export async function run(
  command: Command,
  {
    input,
    output,
  }: {
    readonly input?: AsyncIterable<Uint8Array>;
    readonly output?: (content: AsyncIterable<Uint8Array>) => Promise<void>;
  } = {},
): Promise<Outcome> {
  const running = await start(command, { collectStdout: output === undefined });
  const taking = output?.(wholeOutput(running));
  taking?.catch(() => running.kill()); // told below
  try {
    if (input === undefined) running.stdin.end();
    else await pipeline(input, running.stdin);
  } catch (error) {
    // The child went away first: its outcome tells why. Anything else is the input's own failure.
    if (!isBrokenPipe(error)) {
      running.kill();
      await running.ended;
      throw error;
    }
  }
  const outcome = await running.ended;
  await taking?.catch((error: unknown) => {
    if (!(error instanceof CutShort)) throw error; // else the outcome tells
  });
  return outcome;
}

function wholeOutput({ stdout, ended }: Running): AsyncIterable<Uint8Array> {
  // When a child ends, Node discards what nobody has begun to read of its output: so it is read from the start.
  const output = connect(stdout, new PassThrough(), () => undefined);
  return (async function* () {
    yield* output as AsyncIterable<Uint8Array>;
    if ((await ended).code !== 0) throw new CutShort();
  })();
}

/**
 * Runs `left | right`, where `right` may have to wait while `left` begins; both outcomes. The left one is null where it
 * was ended since `right` had failed: what it says of itself then is no news. No child is left behind.
 */
export async function pipe(
  left: Command,
  right: Promise<Command>,
): Promise<readonly [left: Outcome | null, right: Outcome]> {
  right.catch(() => undefined); // told below
  const from = await start(left, { collectStdout: false });
  from.stdin.end();
  // When a child ends, Node discards what nobody has begun to read of its output: so it is read from the start.
  const output = from.stdout.pipe(new PassThrough());
  let to: Running;
  try {
    to = await start(await right);
  } catch (error) {
    from.kill();
    output.resume();
    await from.ended;
    throw error;
  }
  let runs = true;
  const fromEnded = from.ended.finally(() => (runs = false));
  let isCutOff = false;
  const flow = pipeline(output, to.stdin).catch(async (error: unknown) => {
    // A reader may be done with all that it needs before the writer has ended: that one then ends by itself.
    const failed = !isBrokenPipe(error) || (await to.ended).code !== 0;
    // One that has written all that it will is waited for: it may be its own end that the reader fell over.
    isCutOff = failed && runs && !from.stdout.readableEnded;
    if (isCutOff) from.kill();
    else from.stdout.resume();
    if (!isBrokenPipe(error)) throw error;
  });
  const [, leftOutcome, rightOutcome] = await Promise.all([flow, fromEnded, to.ended]);
  return [isCutOff ? null : leftOutcome, rightOutcome];
}

function isBrokenPipe(error: unknown): boolean {
  return (
    error instanceof Error &&
    'code' in error &&
    ['EPIPE', 'ERR_STREAM_PREMATURE_CLOSE', 'ECONNRESET'].includes(String(error.code))
  );
}

function terminate(child: Child): void {
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), killAfterMs);
  timer.unref();
  void child.ended.finally(() => clearTimeout(timer));
}
