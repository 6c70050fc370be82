import { randomBytes } from 'node:crypto';
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { lineSplitter } from './lines.ts';

const driverModules = ['channel', 'config', 'failures', 'graph', 'guard', 'judge', 'operation', 'serve'];

/** Reads the driver's modules from standard input, so that nothing of it has to be installed where alembic is. */
const bootstrap = `
import importlib.util, json, os, sys
requests = os.fdopen(os.dup(0), "rb")
sources = json.loads(requests.readline())
class Driver:
    def find_spec(self, name, path=None, target=None):
        if name in sources:
            return importlib.util.spec_from_loader(name, self, is_package="." not in name)
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        exec(compile(sources[module.__name__], "<%s>" % module.__name__, "exec"), vars(module))
sys.meta_path.insert(0, Driver())
from migration_target_driver.serve import serve
serve(requests)
`;

/** Longer lines of output are cut. */
const longestLine = 2_000;
/** A line of the driver's own may hold a whole graph. */
const longestAnswer = 256 * 1024 * 1024;
/** Of what a process wrote last, for the error that tells of its death. */
const keptLines = 20;
/** A process that is given up has this long to say where it hangs. */
const lastWordsMs = 1_000;

/** A line of the driver's. */
export type Message = Readonly<Record<string, unknown>>;

/** The process ended though more was expected of it. */
export class ProcessEnded extends Error {
  override readonly name = 'ProcessEnded';
  /** E.g. `ended with exit code 3` or `was killed by SIGKILL`. */
  readonly how: string;
  /** What it wrote last, unmasked. */
  readonly lastOutput: readonly string[];
  /** Where its main thread was when it was given up, innermost last. */
  readonly frames: readonly StackFrame[];

  constructor(how: string, lastOutput: readonly string[], frames: readonly StackFrame[]) {
    super(`python ${how}`);
    this.how = how;
    this.lastOutput = lastOutput;
    this.frames = frames;
  }
}

export type StackFrame = readonly [file: string, line: number, name: string];

export interface PythonOptions {
  readonly python: string;
  readonly workingDir: string;
  readonly env: Readonly<Record<string, string>>;
  /** What the driver gets as its settings. */
  readonly settings: Message;
}

/** A Python process that serves requests one after another, each answered by one message. */
export interface PythonProcess extends AsyncDisposable {
  /** Waits for the next message that is no event. Rejects with ProcessEnded. */
  receive(onEvent: (event: Message) => void, onOutput: (line: string) => void): Promise<Message>;
  send(message: Message): void;
  /** Asks it where it is, then ends it with all that it started. `receive` then rejects. */
  giveUp(): void;
}

/**
 * Starts it in a session of its own: a Ctrl-C at the terminal is for the controller, which decides; and what env.py
 * starts is ended with it. Rejects with the error of `spawn` (ENOENT, EACCES) where there is no such program.
 */
export async function startPython(options: PythonOptions): Promise<PythonProcess> {
  const [program, child] = await Promise.all([readDriver(), spawned(options)]);
  const nonce = `${randomBytes(16).toString('hex')} `;
  child.stdin.on('error', () => {}); // The process has ended: `receive` tells how.
  child.stdin.write(`${program}\n${JSON.stringify({ nonce, settings: options.settings })}\n`);
  return serveLines(child, nonce);
}

async function readDriver(): Promise<string> {
  const sources = await Promise.all(
    driverModules.map(async (name) => {
      const source = await readFile(new URL(`./driver/${name}.py`, import.meta.url), 'utf8');
      return [`migration_target_driver.${name}`, source] as const;
    }),
  );
  return JSON.stringify(Object.fromEntries([['migration_target_driver', ''], ...sources]));
}

async function spawned(options: PythonOptions): Promise<ChildProcessWithoutNullStreams> {
  const child = spawn(options.python, ['-u', '-c', bootstrap], { cwd: options.workingDir, env: options.env, detached: true });
  await once(child, 'spawn');
  return child;
}

function serveLines(child: ChildProcessWithoutNullStreams, nonce: string): PythonProcess {
  const messages: Message[] = [];
  const lastOutput: string[] = [];
  let stack: readonly StackFrame[] = [];
  let ended: ProcessEnded | null = null;
  let closing = false;
  let wake = (): void => {};
  let onOutput: (line: string) => void = () => {};

  const output = (line: string): void => {
    lastOutput.push(line);
    if (lastOutput.length > keptLines) lastOutput.shift();
    onOutput(line);
  };
  const answers = lineSplitter(longestAnswer, (line) => {
    // What a sitecustomize printed before the driver took hold of standard output.
    if (!line.startsWith(nonce)) return output(line.slice(0, longestLine));
    const message = JSON.parse(line.slice(nonce.length)) as Message;
    if ('stuck' in message) stack = message['stuck'] as readonly StackFrame[];
    else messages.push(message);
    wake();
  });
  const prints = lineSplitter(longestLine, output);
  child.stdout.on('data', answers.push).on('end', answers.end);
  child.stderr.on('data', prints.push).on('end', prints.end);
  const exited = new Promise<void>((resolve) => {
    child.once('exit', (code, signal) => {
      // A process that env.py left behind may hold the pipes open: what is in them has come, or comes at once.
      const settle = setTimeout(() => child.emit('close'), lastWordsMs);
      child.once('close', () => {
        clearTimeout(settle);
        ended ??= new ProcessEnded(signal === null ? `ended with exit code ${String(code)}` : `was killed by ${signal}`, lastOutput, stack);
        wake();
        resolve();
      });
    });
  });
  const killGroup = (): void => {
    if (child.pid === undefined || ended !== null) return;
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  };

  return {
    send: (message) => {
      child.stdin.write(`${JSON.stringify(message)}\n`);
    },
    async receive(onEvent, listener) {
      onOutput = listener;
      for (;;) {
        const message = messages.shift();
        if (message === undefined) {
          if (ended !== null) throw ended;
          await new Promise<void>((resolve) => (wake = resolve));
        } else if ('event' in message) onEvent(message['event'] as Message);
        else return message;
      }
    },
    giveUp: () => {
      child.stdin.write(`${JSON.stringify({ abort: true })}\n`);
      setTimeout(killGroup, lastWordsMs).unref();
    },
    async [Symbol.asyncDispose]() {
      if (closing) return exited;
      closing = true;
      child.stdin.end();
      const impatience = setTimeout(killGroup, lastWordsMs);
      await exited;
      clearTimeout(impatience);
    },
  };
}
