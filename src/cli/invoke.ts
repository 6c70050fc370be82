/** From what was typed to an exit code: the context is made, the command runs, what went wrong is told. */
import type { Command } from 'commander';
import { createContext, type Context, type GlobalOptions } from './context.ts';
import type { ExitCode } from './exit-codes.ts';
import { invocationOf, nameCommands } from './invocation.ts';
import { formats, openScreen, type Output } from './output.ts';
import { asProblem, Problem } from './problem.ts';
import { wrap } from './text.ts';
import type { Wiring } from './wiring.ts';

/** Runs one command. `subject`: the name of the target as it was typed, or null. */
export type Invoke = (
  command: Command,
  subject: string | null,
  work: (context: Context) => Promise<ExitCode>,
) => Promise<void>;

export function createInvoke(wiring: Wiring, ended: (exitCode: ExitCode) => void): Invoke {
  return async (command, subject, work) => {
    const options = command.optsWithGlobals<GlobalOptions>();
    const output = openOutput(options);
    const context = createContext(wiring, { ...options }, output, isInteractive());
    try {
      ended(await work(context));
    } catch (thrown) {
      const name = context.subject() ?? subject;
      ended(tell(asProblem(thrown, name), output, name, options));
    } finally {
      await context[Symbol.asyncDispose]();
    }
  };
}

/** One block: what happened and to which object, why, and what to type next. */
export function tell(
  problem: Problem,
  output: Output,
  subject: string | null,
  options: Partial<GlobalOptions>,
): ExitCode {
  const { paint, width, write } = output.notes;
  const invocation = invocationOf(process.argv[1], process.env, options);
  const message = nameCommands(problem.message, invocation, subject ?? undefined);
  write(`${paint('red', '✗')} ${paint('bold', problem.title)}\n${wrap(message, '  ', width)}\n`);
  if (process.env['LOG_LEVEL'] === 'debug') write(`\n${traceOf(problem)}\n`);
  return problem.exitCode;
}

function traceOf(error: Error): string {
  const cause = error.cause instanceof Error ? `\nCaused by: ${traceOf(error.cause)}` : '';
  return `${error.stack ?? error.message}${cause}`;
}

export function openOutput(options: Partial<GlobalOptions>): Output {
  const color = options.color !== false && !process.env['NO_COLOR'];
  const format = formats.find((known) => known === options.output) ?? null;
  return { format: format, data: openScreen(process.stdout, { color }), notes: openScreen(process.stderr, { color }) };
}

const isInteractive = (): boolean => process.stdin.isTTY && process.stderr.isTTY;
