import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import type { Failure } from '../../rollback/errors.ts';
import type { Child, Ending, Launcher } from '../process/launcher.ts';
import { lineSplitter } from './lines.ts';

const driverModules = [
  'archive',
  'channel',
  'config',
  'conninfo',
  'drivers',
  'failures',
  'graph',
  'guard',
  'importing',
  'imports',
  'judge',
  'locks',
  'operation',
  'programs',
  'reach',
  'redirect',
  'refused',
  'rehearsal',
  'serve',
  'sources',
  'sql_tokens',
];

/**
 * Reads the driver's modules from standard input, so that nothing of it has to be installed where alembic is. The
 * working directory is no place to import from yet: a json.py in it would be taken for Python's own.
 */
const bootstrap = `
import sys
if sys.path[:1] == [""]:
    del sys.path[0]
import importlib.util, json, os
requests = os.fdopen(os.dup(0), "rb")
os.environ.update(json.loads(requests.readline()))
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
const longestLine = 4_000;
/** A line of the driver's own may hold a whole graph. */
const longestAnswer = 256 * 1024 * 1024;
/** Of what a process wrote last, for the error that tells of its death. */
const keptLines = 20;
/** A process that is given up has this long to say where it hangs. */
const lastWordsMs = 1_000;

/** A line of the driver's. */
export type Message = Readonly<Record<string, unknown>>;

/** The process ended, or was lost, though more was expected of it. */
export class ProcessEnded extends Error {
  override readonly name = 'ProcessEnded';
  /** E.g. `ended with exit code 3` or `was killed by SIGKILL`. */
  readonly how: string;
  /** What it wrote last, unmasked. */
  readonly lastOutput: readonly string[];
  /** Where its main thread was when it was given up, innermost last. */
  readonly frames: readonly StackFrame[];
  /** Why nobody can tell how it ended; null: that is known. */
  readonly lost: Failure | null;

  constructor({ how, lost }: Ending, lastOutput: readonly string[], frames: readonly StackFrame[]) {
    super(`python ${how}`);
    this.how = how;
    this.lost = lost;
    this.lastOutput = lastOutput;
    this.frames = frames;
  }
}

export type StackFrame = readonly [file: string, line: number, name: string];

export interface PythonOptions {
  readonly launcher: Launcher;
  readonly python: string;
  readonly workingDir: string;
  /** What it is started with, beside what the place gives it. */
  readonly env: Readonly<Record<string, string>>;
  /** Variables that are handed to it once it runs, by its standard input: what it is started with, others may see. */
  readonly secrets: Readonly<Record<string, string>>;
  /** What `readDriver` gives. */
  readonly driver: Promise<string>;
  /** What the driver gets as its settings. */
  readonly settings: Message;
}

/** A Python process that serves requests one after another, each answered by one message. */
export interface PythonProcess extends AsyncDisposable {
  /** Waits for the next answer, and until all is read that was printed before it. Rejects with ProcessEnded. */
  receive(onEvent: (event: Message) => void, onOutput: (line: string) => void): Promise<Message>;
  send(message: Message): void;
  /** Asks it where it is, then ends it with all that it started. `receive` then rejects. */
  giveUp(): void;
}

/** Throws NotLaunched, and what else the launcher throws. */
export async function startPython(options: PythonOptions): Promise<PythonProcess> {
  const child = await options.launcher.launch({
    program: options.python,
    args: ['-u', '-c', bootstrap],
    cwd: options.workingDir,
    env: options.env,
  });
  const nonce = `${randomBytes(16).toString('hex')} `;
  const python = serveLines(child, nonce);
  const opening = [
    JSON.stringify(options.secrets),
    // It takes the interpreter longer to start than us to read it.
    await options.driver.catch(async (error: unknown) => {
      await python[Symbol.asyncDispose]();
      throw error;
    }),
    JSON.stringify({ nonce, settings: options.settings }),
  ];
  child.stdin.write(`${opening.join('\n')}\n`);
  return python;
}

/** The driver's modules, as the one line that `bootstrap` reads. */
export async function readDriver(): Promise<string> {
  const sources = await Promise.all(
    driverModules.map(async (name) => {
      const source = await readFile(new URL(`./driver/${name}.py`, import.meta.url), 'utf8');
      return [`migration_target_driver.${name}`, source] as const;
    }),
  );
  return JSON.stringify(Object.fromEntries([['migration_target_driver', ''], ...sources]));
}

function serveLines(child: Child, nonce: string): PythonProcess {
  const events: Message[] = [];
  const answers: Message[] = [];
  const lastOutput: string[] = [];
  let frames: readonly StackFrame[] = [];
  let ended: ProcessEnded | null = null;
  let hasAnswered = false;
  /** Answers whose output has all come: it takes a pipe of its own. */
  let drained = 0;
  let wake = (): void => {};
  let onOutput: (line: string) => void = () => {};

  const output = (line: string): void => {
    if (line.trim() === '') return;
    lastOutput.push(line);
    if (lastOutput.length > keptLines) lastOutput.shift();
    onOutput(line);
  };
  const take = (message: Message): void => {
    if ('stuck' in message) frames = message['stuck'] as readonly StackFrame[];
    else if ('event' in message) events.push(message['event'] as Message);
    else {
      hasAnswered = true;
      answers.push(message);
    }
    wake();
  };
  readLines(child.stdout, longestAnswer, (line) => {
    // Else it is what a sitecustomize printed before the driver took hold of standard output.
    if (line.startsWith(nonce)) take(JSON.parse(line.slice(nonce.length)) as Message);
    else output(line.slice(0, longestLine));
  });
  readLines(child.stderr, longestLine, (line) => {
    if (line !== nonce.trim()) return output(line);
    drained += 1;
    wake();
  });

  const kill = (): void => child.kill('SIGKILL');
  const exited = (async () => {
    const ending = await child.ended;
    ended = new ProcessEnded(ending, lastOutput, frames);
    wake();
  })();

  return {
    send: (message) => {
      child.stdin.write(`${JSON.stringify(message)}\n`);
    },
    async receive(onEvent, listener) {
      onOutput = listener;
      for (;;) {
        for (let event = events.shift(); event !== undefined; event = events.shift()) onEvent(event);
        if (drained > 0 && answers.length > 0) {
          drained -= 1;
          return answers.shift() ?? {};
        }
        if (ended !== null) throw ended;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
    giveUp: () => {
      child.stdin.write(`${JSON.stringify({ abort: true })}\n`);
      setTimeout(kill, lastWordsMs).unref();
    },
    async [Symbol.asyncDispose]() {
      // Until then it imports alembic, and would do so to the end.
      if (!hasAnswered) kill();
      child.stdin.end();
      const impatience = setTimeout(kill, lastWordsMs);
      await exited;
      clearTimeout(impatience);
    },
  };
}

function readLines(stream: Readable, longest: number, onLine: (line: string) => void): void {
  const splitter = lineSplitter(longest, onLine);
  stream.on('data', (chunk: Buffer) => splitter.push(chunk));
  stream.on('end', () => splitter.end());
}
