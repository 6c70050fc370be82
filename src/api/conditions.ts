/**
 * The one place where conditions are made. Everything else says what came of its work (`Outcome`); what that means for
 * each condition stands here, once.
 */
import type { Reason } from './reasons.ts';
import { maxMessageLength, type Condition, type ConditionType, type TargetStatus } from './status.ts';

/** What came of looking at a target, or of an operation. */
export type Outcome =
  /** At the declared revision, verified, for this generation. Also while it is only read again. */
  | { readonly kind: 'ready'; readonly reason: Reason; readonly message: string }
  | { readonly kind: 'working'; readonly reason: Reason; readonly message: string }
  /** It passes by itself, and is tried again. */
  | { readonly kind: 'retrying'; readonly reason: Reason; readonly message: string }
  | { readonly kind: 'awaitingApproval'; readonly message: string }
  /** A human is needed. */
  | { readonly kind: 'stalled'; readonly reason: Reason; readonly message: string }
  | { readonly kind: 'suspended'; readonly message: string };

/** What the conditions are made of besides the outcome. */
export interface ConditionFacts {
  /** The generation that the outcome is about. */
  readonly generation: number;
  readonly lastBackup: TargetStatus['lastBackup'];
  /** Why the newest attempt at a backup fell short; null: it did not. */
  readonly backupProblem: { readonly reason: Reason; readonly message: string } | null;
  readonly rehearsal: TargetStatus['rehearsal'];
  /** Is `spec.policy.rehearsal` Always? */
  readonly isRehearsing: boolean;
  /** Does the target declare `spec.application`? */
  readonly applicationDeclared: boolean;
  readonly application: TargetStatus['application'];
  /** The conditions until now: where a status stays the same, the time of its last change does. */
  readonly previous: readonly Condition[];
  readonly now: Date;
}

type Judgement = Pick<Condition, 'status' | 'reason' | 'message'> & { readonly reason: Reason };

/** All conditions, always, in the order of `conditionTypes`. */
export function summarize(outcome: Outcome, facts: ConditionFacts): readonly Condition[] {
  const judgements: readonly (readonly [ConditionType, Judgement])[] = [
    ...judgeOutcome(outcome),
    ['BackupReady', judgeBackup(facts)],
    ['Rehearsed', judgeRehearsal(facts)],
    ['ApplicationHealthy', judgeApplication(facts)],
  ];
  return asConditions(judgements, facts);
}

/** Of a kind that knows only these: Ready, Reconciling and Stalled. */
export function summarizeBriefly(
  outcome: Outcome,
  facts: Pick<ConditionFacts, 'generation' | 'previous' | 'now'>,
): readonly Condition[] {
  const known = new Set<ConditionType>(['Ready', 'Reconciling', 'Stalled']);
  return asConditions(
    judgeOutcome(outcome).filter(([type]) => known.has(type)),
    facts,
  );
}

function asConditions(
  judgements: readonly (readonly [ConditionType, Judgement])[],
  facts: Pick<ConditionFacts, 'generation' | 'previous' | 'now'>,
): readonly Condition[] {
  return judgements.map(([type, { status, reason, message }]) => {
    const before = facts.previous.find((condition) => condition.type === type);
    return {
      type,
      status,
      reason,
      message: boundMessage(message),
      observedGeneration: facts.generation,
      lastTransitionTime: before?.status === status ? before.lastTransitionTime : facts.now.toISOString(),
    };
  });
}

/** A message that fits: its middle is left out where it is too long, since both ends tell the most. */
export function boundMessage(message: string): string {
  if (message.length <= maxMessageLength) return message;
  const half = Math.floor(maxMessageLength / 2) - 2;
  return `${message.slice(0, half)} … ${message.slice(-half)}`.toWellFormed();
}

/** Ready, Reconciling, Stalled and ApprovalRequired: one row of the table each. */
function judgeOutcome(outcome: Outcome): readonly (readonly [ConditionType, Judgement])[] {
  const reason = reasonOf(outcome);
  const row = rows[outcome.kind];
  // Ready always tells the cause; the others only where they are what is the matter.
  const judge = (status: 'True' | 'False', otherwise: Reason = reason): Judgement =>
    status === 'True' ? { status, reason, message: outcome.message } : { status, reason: otherwise, message: '' };
  return [
    ['Ready', { status: row.Ready, reason, message: outcome.message }],
    ['Reconciling', judge(row.Reconciling)],
    ['Stalled', judge(row.Stalled)],
    ['ApprovalRequired', judge(row.ApprovalRequired, 'ApprovalNotRequired')],
  ];
}

function reasonOf(outcome: Outcome): Reason {
  switch (outcome.kind) {
    case 'awaitingApproval':
      return 'ApprovalRequired';
    case 'suspended':
      return 'Suspended';
    case 'ready':
    case 'working':
    case 'retrying':
    case 'stalled':
      return outcome.reason;
  }
}

const rows: Readonly<
  Record<Outcome['kind'], Readonly<Record<'Ready' | 'Reconciling' | 'Stalled' | 'ApprovalRequired', 'True' | 'False'>>>
> = {
  ready: { Ready: 'True', Reconciling: 'False', Stalled: 'False', ApprovalRequired: 'False' },
  working: { Ready: 'False', Reconciling: 'True', Stalled: 'False', ApprovalRequired: 'False' },
  retrying: { Ready: 'False', Reconciling: 'True', Stalled: 'False', ApprovalRequired: 'False' },
  awaitingApproval: { Ready: 'False', Reconciling: 'False', Stalled: 'False', ApprovalRequired: 'True' },
  stalled: { Ready: 'False', Reconciling: 'False', Stalled: 'True', ApprovalRequired: 'False' },
  // Nobody looks, so nobody can say that the database is where it should be.
  suspended: { Ready: 'False', Reconciling: 'False', Stalled: 'False', ApprovalRequired: 'False' },
};

function judgeBackup({ lastBackup, backupProblem }: ConditionFacts): Judgement {
  if (backupProblem !== null) return { status: 'False', ...backupProblem };
  if (lastBackup === null) {
    return {
      status: 'False',
      reason: 'NoBackup',
      message: 'No backup yet; to take one now: migration-target backup NAME',
    };
  }
  const what = `Backup ${lastBackup.id} of ${revisionsText(lastBackup.revisions)}, finished ${lastBackup.finishedAt}`;
  return lastBackup.verified
    ? { status: 'True', reason: 'BackupVerified', message: `${what}, was restored once and found equal.` }
    : {
        status: 'False',
        reason: 'BackupNotVerified',
        message: `${what}, was never restored; to try it: migration-target backups verify ${lastBackup.id}`,
      };
}

function judgeRehearsal({ rehearsal, isRehearsing }: ConditionFacts): Judgement {
  if (!isRehearsing)
    return { status: 'False', reason: 'RehearsalDisabled', message: 'spec.policy.rehearsal is Never.' };
  if (rehearsal === null)
    return {
      status: 'Unknown',
      reason: 'NotRehearsed',
      message: 'No change was rehearsed yet, or the last rehearsal did not come to its end.',
    };
  return rehearsal.passed
    ? { status: 'True', reason: 'RehearsalPassed', message: rehearsal.message }
    : { status: 'False', reason: 'RehearsalFailed', message: rehearsal.message };
}

/** How it is, and why: later looks say the former anew, and know nothing of the latter. */
export const unhealthyMessage = ({ message, log }: NonNullable<TargetStatus['application']>): string =>
  log === null ? message : `${message} ${log}`;

function judgeApplication({ applicationDeclared, application, generation }: ConditionFacts): Judgement {
  if (!applicationDeclared)
    return { status: 'Unknown', reason: 'NotDeclared', message: 'The target declares no application.' };
  switch (application?.state) {
    case 'stopped':
      return { status: 'False', reason: 'ApplicationStopped', message: application.message };
    case 'unhealthy':
      return { status: 'False', reason: 'ApplicationUnhealthy', message: unhealthyMessage(application) };
    case 'healthy':
      if (application.generation === generation)
        return { status: 'True', reason: 'ApplicationHealthy', message: application.message };
      break;
    case undefined:
  }
  return {
    status: 'Unknown',
    reason: 'HealthNotChecked',
    message: 'The application was not asked yet for this generation.',
  };
}

/** Revisions as people read them: `base` for none, `unknown` where there is no version table. */
export function revisionsText(revisions: readonly string[] | null): string {
  if (revisions === null) return 'unknown';
  return revisions.length === 0 ? 'base' : revisions.join(',');
}
