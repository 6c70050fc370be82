import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { constants } from 'node:os';
import { styleText } from 'node:util';

/** Something was not as it should be; the message says what, and what to do. */
export class DemoFailure extends Error {
  override readonly name = 'DemoFailure';
}

/** A command as it is shown, and as it is run. */
export interface Command {
  /** What a person would type. */
  readonly typed: string;
  readonly program: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
}

/** The terminal, or the pipe: headings, narration, and commands with their real output. */
export interface Screen {
  heading(text: string): void;
  /** Narration; each argument is a line. */
  say(...lines: readonly string[]): void;
  /** A file's text, or part of it. */
  quote(text: string): void;
  /** Shows and runs it, its output going straight to the screen. Throws unless it exits with `expected`. */
  run(command: Command, expected?: number): Promise<void>;
  /** Shows the command, and not what it prints. Throws unless it exits with `expected`. */
  quietly(command: Command, expected: number): Promise<void>;
  /** Runs it without showing it; returns what it printed. Throws unless it exits with 0. */
  read(command: Command): Promise<string>;
  /** As Ctrl-C: from now on nothing new is started. Resolves when what is running has ended. */
  interrupt(): Promise<void>;
}

const WIDTH = 100;

/** Everything here takes seconds; what takes longer hangs, and a demo that waits for it tells nothing. */
const TIMEOUT_MS = 180_000;

export function openScreen(): Screen {
  const write = (text: string): void => void process.stdout.write(text);
  const bold = (text: string): string => styleText('bold', text);
  const dim = (text: string): string => styleText('dim', text);
  let running: { readonly child: ChildProcess; readonly ended: Promise<number> } | null = null;
  let interrupted = false;

  const start = async (
    command: Command,
    output: 'inherit' | 'pipe',
    notes: 'inherit' | 'ignore' = 'inherit',
  ): Promise<{ code: number; stdout: string }> => {
    if (interrupted) throw new DemoFailure('interrupted');
    const child = spawn(command.program, command.args, {
      cwd: command.cwd,
      env: command.env,
      stdio: ['ignore', output, notes],
      // A group of its own: the terminal's Ctrl-C reaches us, and from us the command, once.
      detached: true,
    });
    const chunks: Buffer[] = [];
    child.stdout?.on('data', (chunk: Buffer) => chunks.push(chunk));
    const ended = new Promise<number>((resolve, reject) => {
      child.on('error', (cause) =>
        reject(new DemoFailure(`cannot start ${command.program}: ${cause.message}`, { cause })),
      );
      child.on('close', (code, signal) => resolve(code ?? 128 + constants.signals[signal ?? 'SIGKILL']));
    });
    running = { child, ended };
    let tooLong = false;
    const timer = setTimeout(() => {
      tooLong = true;
      child.kill('SIGTERM');
    }, TIMEOUT_MS);
    try {
      const code = await ended;
      if (tooLong)
        throw new DemoFailure(`\`${command.typed}\` took longer than ${TIMEOUT_MS / 60_000} min, and was ended`);
      return { code, stdout: Buffer.concat(chunks).toString() };
    } finally {
      clearTimeout(timer);
      running = null;
    }
  };

  return {
    heading(text) {
      write(`\n${bold(`── ${text} ${'─'.repeat(Math.max(2, WIDTH - text.length - 4))}`)}\n\n`);
    },
    say(...lines) {
      write(`${lines.join('\n')}\n`);
    },
    quote(text) {
      write(`\n${text.trimEnd().replaceAll(/^/gm, '  │ ')}\n`);
    },
    async run(command, expected = 0) {
      write(`\n${dim('$')} ${bold(command.typed)}\n`);
      const { code } = await start(command, 'inherit');
      if (code !== expected)
        throw new DemoFailure(`\`${command.typed}\` exited with ${code}, and ${expected} was expected`);
    },
    async quietly(command, expected) {
      write(`\n${dim('$')} ${bold(command.typed)}\n${dim('…')}\n`);
      const { code } = await start(command, 'pipe', 'ignore');
      if (code !== expected)
        throw new DemoFailure(`\`${command.typed}\` exited with ${code}, and ${expected} was expected`);
    },
    async read(command) {
      const { code, stdout } = await start(command, 'pipe');
      if (code !== 0) throw new DemoFailure(`\`${command.typed}\` exited with ${code}, and 0 was expected`);
      return stdout;
    },
    async interrupt() {
      interrupted = true;
      if (!running) return;
      // Not SIGINT, which Python answers with a traceback.
      running.child.kill('SIGTERM');
      await running.ended;
    },
  };
}
