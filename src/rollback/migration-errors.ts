/** What a migration that went wrong comes to, in the terms of the API and in words. Pure. */
import type { ChangePlan, OperationFailure } from './model.ts';
import type { MigrationError } from './ports.ts';
import { asPart } from './sentences.ts';

export const failureReason = (plan: ChangePlan): 'UpgradeFailed' | 'DowngradeFailed' =>
  plan.kind === 'upgrade' ? 'UpgradeFailed' : 'DowngradeFailed';

export function reasonFor(error: MigrationError, plan: ChangePlan): OperationFailure['reason'] {
  switch (error.kind) {
    case 'lockTimeout':
      return 'LockTimedOut';
    case 'connectionLost':
    case 'fenced':
      return 'DatabaseUnreachable';
    case 'timedOut':
      return 'TimedOut';
    case 'wrongDatabase':
      return 'WrongDatabase';
    case 'environment':
      return 'AlembicFailed';
    case 'outOfMemory':
    case 'migration':
    case 'nothingDone':
    case 'escaped':
    case 'died':
      return failureReason(plan);
  }
}

/** The failing statement, its SQLSTATE, the file and the line, and who was in the way, in one sentence each. */
export function describe(error: MigrationError): string {
  const where =
    error.step === null ? '' : `${error.step.direction === 'up' ? 'upgrade' : 'downgrade'} of ${error.step.revision}: `;
  const place = error.file === null ? '' : ` At ${error.file}${error.line === null ? '' : `:${error.line}`}.`;
  const statement = error.statement === null ? '' : ` Statement: ${oneLine(error.statement)}.`;
  const state = error.sqlstate === null ? '' : ` (SQLSTATE ${error.sqlstate})`;
  const blocker = error.blockedBy === null ? '' : ` Blocked by ${error.blockedBy}.`;
  const message = asPart(error.message.trim());
  return `${where}${message}${state}.${place}${statement}${blocker}`;
}

/** A statement on one line, its beginning where it is long: a sentence follows it. */
function oneLine(statement: string): string {
  const text = statement
    .trim()
    .replace(/\s+/g, ' ')
    .replace(/[;.\s]+$/, '');
  return text.length > 300 ? `${text.slice(0, 300)}…` : text;
}
