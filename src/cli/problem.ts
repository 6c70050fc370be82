/** What went wrong, as people read it: what, which object, why, and what to type next. */
import { Failure, isToBeRead } from '../rollback/errors.ts';
import { exitCodes, type ExitCode } from './exit-codes.ts';

/** An expected end of a command that is no success: it is told in one block, and decides the exit code. */
export class Problem extends Error {
  override readonly name = 'Problem';
  /** e.g. `DataLossForbidden unicorn-db`: what happened, and to which object. */
  readonly title: string;
  readonly exitCode: ExitCode;

  constructor(title: string, message: string, exitCode: ExitCode = exitCodes.error, options?: ErrorOptions) {
    super(message, options);
    this.title = title;
    this.exitCode = exitCode;
  }
}

/** Whatever was thrown, as one: `subject` is the object that it happened to, where that is known. */
export function asProblem(thrown: unknown, subject: string | null): Problem {
  if (thrown instanceof Problem) return thrown;
  const of = subject === null ? '' : ` ${subject}`;
  if (thrown instanceof Failure)
    return new Problem(`${thrown.reason}${of}`, thrown.message, exitCodes.error, { cause: thrown });
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return isToBeRead(thrown)
    ? new Problem(`Failed${of}`, message, exitCodes.error, { cause: thrown })
    : new Problem(
        `InternalError${of}`,
        `${message} To see where: LOG_LEVEL=debug, and the same command again.`,
        exitCodes.error,
        { cause: thrown },
      );
}
