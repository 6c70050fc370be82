/** Asks a person before something is done; without one, `--yes` has to say it. */
import type { Context } from './context.ts';
import { exitCodes } from './exit-codes.ts';
import { Problem } from './problem.ts';

export interface Question {
  /** The command, e.g. `apply unicorn-db`, and what would have to be typed to have it done without being asked. */
  readonly title: string;
  readonly message: string;
  readonly retyped: string;
  /** Nothing less than this word is a yes; left out: yes or no. */
  readonly word?: string;
}

/** Resolves where the answer is yes; throws a Problem where it is no, or where nobody can be asked. */
export async function confirm(context: Context, yes: boolean, question: Question): Promise<void> {
  if (yes) return;
  if (!context.isInteractive) {
    throw new Problem(
      `Not confirmed: ${question.title}`,
      `There is no terminal to ask at, so nothing was done. To have it done without being asked: ${question.retyped}`,
    );
  }
  const prompts = await import('@clack/prompts');
  const answered =
    question.word === undefined
      ? await prompts.confirm({ message: question.message, initialValue: false, output: process.stderr })
      : await prompts.text({ message: `${question.message} Type ${question.word} to go on.`, output: process.stderr });
  if (prompts.isCancel(answered))
    throw new Problem(`Interrupted: ${question.title}`, 'Nothing was done.', exitCodes.interrupted);
  if (answered !== true && answered !== question.word)
    throw new Problem(`Not confirmed: ${question.title}`, 'Nothing was done.');
}
