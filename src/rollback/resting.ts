/** Where a database is as far as an application that starts now may count on it, told from the status alone. Pure. */
import type { TargetStatus } from '../api/target.ts';
import { hasArrived, isStopped } from './application.ts';
import { sameRevisions } from './compare.ts';
import { journalOf } from './status.ts';

/**
 * null: unknown, or between two states. Verified is enough: the application that would be asked for its health may be the
 * one that waits.
 */
export function restingRevisions(status: TargetStatus): readonly string[] | null {
  if (status.operation === null) return status.currentRevisions;
  const journal = journalOf(status);
  // Of a version that is not known here, nor whether its database is between two states.
  if (journal === null) return null;
  if (journal.step === 'resume' || journal.step === 'report')
    return hasArrived(journal) ? journal.plan.desired : journal.origin.revisions;
  const isUntouched = !journal.begun && journal.restore === null && !isStopped(journal);
  return isUntouched ? journal.origin.revisions : null;
}

/** Whether it rests at exactly these. A version table may hold fewer than the heads that were declared and reached. */
export function restsAt(status: TargetStatus, wanted: readonly string[]): boolean {
  const resting = restingRevisions(status);
  if (resting === null) return false;
  const { reached, desiredRevisions, observedGeneration } = status;
  const isReached =
    reached !== null && reached.generation === observedGeneration && sameRevisions(resting, reached.revisions);
  return sameRevisions(resting, wanted) || (isReached && sameRevisions(desiredRevisions, wanted));
}
