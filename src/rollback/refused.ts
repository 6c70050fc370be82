/** The status of a declaration that nothing is done for: it breaks a rule, or asks for what is not allowed. Pure. */
import { summarize } from '../api/conditions.ts';
import type { Reason } from '../api/reasons.ts';
import { emptyStatus, type TargetStatus } from '../api/target.ts';
import { isStopped, ranBefore } from './application.ts';
import { journalOf } from './status.ts';

/** With what is not finished meanwhile: nobody goes on with it before the declaration is mended, and an application stays down. */
export function refusalMessage(before: TargetStatus | null, message: string): string {
  const journal = before === null ? null : journalOf(before);
  if (journal === null) return message;
  const down = journal.application !== null && isStopped(journal) ? ranBefore(journal.application) : [];
  const stays = down.length === 0 ? '' : `, and what it stopped stays down: ${down.join(', ')}`;
  return `${message} Operation ${journal.id} is not finished and waits for that${stays}.`;
}

/** What was known of the database, and the journal, stay as they are. */
export function refusedStatus(
  before: TargetStatus | null,
  refusal: {
    readonly generation: number;
    readonly applicationDeclared: boolean;
    readonly isRehearsing: boolean;
    readonly reason: Reason;
    readonly message: string;
    readonly now: Date;
  },
): TargetStatus {
  const status = before ?? emptyStatus;
  const { generation, applicationDeclared, isRehearsing, reason, message, now } = refusal;
  const conditions = summarize(
    { kind: 'stalled', reason, message },
    {
      generation,
      // What an operation stopped was declared then.
      applicationDeclared: applicationDeclared || status.application?.state === 'stopped',
      isRehearsing,
      rehearsal: status.rehearsal,
      application: status.application,
      lastBackup: status.lastBackup,
      backupProblem: null,
      previous: status.conditions,
      now,
    },
  );
  return { ...status, observedGeneration: generation, conditions: [...conditions] };
}
