/** The status of a declaration that nothing is done for: it breaks a rule, or asks for what is not allowed. Pure. */
import { summarize } from '../api/conditions.ts';
import type { Reason } from '../api/reasons.ts';
import { emptyStatus, type TargetStatus } from '../api/target.ts';

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
      applicationDeclared,
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
