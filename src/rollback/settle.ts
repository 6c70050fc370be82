/**
 * Whether there is anything to do, told from one read of the database and the status alone. Pure: no Python runs for
 * a target that is where it should be, nor for one that waits for a human.
 */
import type { Outcome } from '../api/conditions.ts';
import { asReason } from '../api/reasons.ts';
import { declaredRevisions, type MigrationTarget, type TargetStatus } from '../api/target.ts';
import { formatRevisions, revisionsOf, sameRevisions } from './compare.ts';
import { withMiss } from './gate.ts';
import { formatHeads } from './graph.ts';
import type { DatabaseIdentity, Trigger, VersionTable } from './model.ts';
import { requestedAt, type Visit } from './visit.ts';

export type Settled =
  { readonly kind: 'settled'; readonly outcome: Outcome } | { readonly kind: 'due'; readonly trigger: Trigger };

/** Identical corrections within an hour that make the next one `Flapping`. */
const maxCorrections = 2;

export function settle(
  visit: Visit,
  state: { readonly identity: Pick<DatabaseIdentity, 'name'>; readonly versionTable: VersionTable },
  facts: {
    readonly now: Date;
    readonly restorePending: boolean;
    readonly backupDue: boolean;
    /** What it waits for: is an approval of the plan that the status shows there, and if not, why not; null: it does not wait. */
    readonly approval: { readonly isApproved: boolean; readonly because: string | null } | null;
  },
): Settled {
  const { target, status, asked } = visit;
  if (asked.kind === 'backup') return { kind: 'due', trigger: 'backup' };
  if (asked.kind === 'restore') return { kind: 'due', trigger: 'restore' };

  const current = revisionsOf(state.versionTable);
  const isNew = isNewlyAskedFor(visit);
  const isThere = sameRevisions(current, declaredRevisions(target.spec)) || hasReached(visit, current);
  const restoreDue = facts.restorePending && isNew;

  const waiting = isNew ? null : previousWait(status, facts.approval?.because ?? null);
  if (waiting !== null && facts.approval?.isApproved === true) return { kind: 'due', trigger: 'approval' };
  if (isThere && !restoreDue) {
    if (facts.backupDue) return { kind: 'due', trigger: 'backup' };
    return { kind: 'settled', outcome: refusedRestore(visit) ?? inSync(visit, state.identity.name, current) };
  }
  if (isNew)
    return { kind: 'due', trigger: asked.kind === 'apply' ? 'apply' : isRequest(visit) ? 'reconcile' : 'generation' };
  if (waiting !== null) return { kind: 'settled', outcome: waiting };
  if (status.reached?.generation === target.metadata.generation)
    return movedOutside(visit, state.identity.name, current, facts.now);
  const stalled = previousStall(status);
  return stalled === null ? { kind: 'due', trigger: 'generation' } : { kind: 'settled', outcome: stalled };
}

/** A declared restore that was refused leaves the database at the right revision, maybe, but not as declared. */
function refusedRestore(visit: Visit): Outcome | null {
  const { target, status } = visit;
  const isReached = status.reached?.generation === target.metadata.generation;
  if (target.spec.restoreFrom === undefined || isReached || isNewlyAskedFor(visit)) return null;
  const stalled = previousStall(status);
  // The restore was carried out; what stands in the way of Ready is looked at anew.
  if (stalled?.kind === 'stalled' && stalled.reason === 'ApplicationUnhealthy') return null;
  return stalled ?? previousWait(status);
}

export const suspended = ({ metadata }: MigrationTarget): Outcome => ({
  kind: 'suspended',
  message: `spec.suspend is true. To go on: migration-target resume ${metadata.name}`,
});

/** A generation, a request or a person that no operation has answered yet. */
export function isNewlyAskedFor({ target, status, asked }: Visit): boolean {
  return (
    asked.kind === 'apply' ||
    status.handled === null ||
    status.handled.generation !== target.metadata.generation ||
    status.handled.requestedAt !== requestedAt(target)
  );
}

const isRequest = ({ target, status }: Visit): boolean => status.handled?.generation === target.metadata.generation;

/** What the declared heads amount to in the version table was found out when they were reached. */
function hasReached({ target, status }: Visit, current: readonly string[] | null): boolean {
  const { reached } = status;
  return (
    reached !== null && reached.generation === target.metadata.generation && sameRevisions(current, reached.revisions)
  );
}

/** Keeps what the operation said that reached it, until something else is declared. */
function inSync({ target, status }: Visit, database: string, current: readonly string[] | null): Outcome {
  const ready = status.conditions.find(({ type }) => type === 'Ready');
  const isSame =
    ready?.status === 'True' && ready.observedGeneration === target.metadata.generation && status.reached !== null;
  return isSame
    ? { kind: 'ready', reason: asReadyReason(ready.reason), message: ready.message }
    : {
        kind: 'ready',
        reason: 'InSync',
        message: `Database ${database} is at ${formatRevisions(current)}, as declared.`,
      };
}

const readyReasons = ['Upgraded', 'Downgraded', 'BranchSwitched', 'RestoredFromBackup'] as const;
const asReadyReason = (reason: string): (typeof readyReasons)[number] | 'InSync' =>
  readyReasons.find((known) => known === reason) ?? 'InSync';

function movedOutside(
  { target, status, key }: Visit,
  database: string,
  current: readonly string[] | null,
  now: Date,
): Settled {
  const reached = status.reached?.revisions ?? [];
  const [is, declared] = [formatRevisions(current), formatHeads(declaredRevisions(target.spec))];
  const isRestored = wasRestoredTo(status, current);
  const moved = isRestored
    ? `Database ${database} was restored from a backup at ${is}, as was asked for, and verified; ${declared} is declared.`
    : `Database ${database} was at ${formatHeads(reached)}, and was moved to ${is} since, not by what is declared here.`;
  if (target.spec.policy.drift === 'Report') {
    // Only in a folder is a restore asked for so, and a revision declared by a command.
    const keep =
      isRestored && current?.length === 1 ? `: migration-target apply ${key.name} --revision ${is}` : `, declare ${is}`;
    return {
      kind: 'settled',
      outcome: {
        kind: 'stalled',
        reason: 'ChangedOutside',
        message: `${moved} To keep it at ${is}${keep}; to take it to ${declared}: migration-target reconcile ${key.name}`,
      },
    };
  }
  const same = status.history.filter((entry) => sameRevisions(entry.from, current) && sameRevisions(entry.to, reached));
  // What failed once waits for a human: another try, with its backup, at every interval would fail the same way.
  const stalled = previousStall(status);
  if (stalled !== null && same[0]?.result === 'failure') return { kind: 'settled', outcome: stalled };
  const hourAgo = now.getTime() - 3_600_000;
  const corrections = same.filter((entry) => entry.result === 'success' && Date.parse(entry.finishedAt) > hourAgo);
  return corrections.length >= maxCorrections
    ? {
        kind: 'settled',
        outcome: {
          kind: 'stalled',
          reason: 'Flapping',
          message: `${moved} That was corrected ${corrections.length} times within the hour. Find who moves it, then: migration-target reconcile ${key.name}`,
        },
      }
    : { kind: 'due', trigger: 'drift' };
}

/** A restore that was asked for leads to wherever its backup was; backups since then move nothing. */
function wasRestoredTo({ history }: TargetStatus, current: readonly string[] | null): boolean {
  const last = history.find(({ kind }) => kind !== 'backup');
  const isDone = last?.result === 'success' || last?.reason === 'ApplicationUnhealthy';
  return last?.kind === 'restore' && isDone && sameRevisions(last.to, current);
}

/** A target that stalled for this very trigger goes on waiting for a human, and says the same. */
export function previousStall(status: TargetStatus): Outcome | null {
  const stalled = status.conditions.find(({ type, status: value }) => type === 'Stalled' && value === 'True');
  return stalled === undefined ? null : { kind: 'stalled', reason: asReason(stalled.reason), message: stalled.message };
}

/** A target that waits for an approval goes on waiting, and says the same. */
export function previousWait({ conditions }: TargetStatus, because: string | null = null): Outcome | null {
  const waiting = conditions.find(({ type, status: value }) => type === 'ApprovalRequired' && value === 'True');
  return waiting === undefined ? null : { kind: 'awaitingApproval', message: withMiss(waiting.message, because) };
}

/** As if it had never waited. */
export const withoutWait = (status: TargetStatus): TargetStatus => ({
  ...status,
  plan: null,
  conditions: status.conditions.filter(({ type }) => type !== 'ApprovalRequired'),
});
