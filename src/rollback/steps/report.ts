import type { HistoryEntry } from '../../api/target.ts';
import type { Outcome } from '../../api/conditions.ts';
import type { Reason } from '../../api/reasons.ts';
import { asFailure } from '../errors.ts';
import { formatRevisions, formatRowChange } from '../compare.ts';
import { formatHeads } from '../graph.ts';
import type { AsideDatabase, ChangePlan, Operation } from '../model.ts';
import { withNextCommand } from '../next-command.ts';
import { renderReport } from '../report.ts';
import { keptUntil, type Scope } from '../scope.ts';

/** What an operation came to: for the status, the history, the events and the metrics. */
export interface Conclusion {
  readonly outcome: Outcome;
  readonly entry: HistoryEntry;
  readonly aside: AsideDatabase | null;
  /** True where the database is where the declaration, or the request, wants it. */
  readonly succeeded: boolean;
}

/** Says what was done, why, and what the database is called that was put aside; then the journal may go. */
export async function report(scope: Scope, operation: Operation): Promise<Conclusion> {
  const finishedAt = scope.ports.clock.now();
  await recordScripts(scope, operation, finishedAt);
  await scope.clearScratch();
  const aside: AsideDatabase | null =
    operation.swapped && operation.restore !== null
      ? {
          ...operation.restore.aside,
          systemIdentifier: operation.origin.identity.systemIdentifier,
          keptUntil: keptUntil(scope.target, finishedAt),
        }
      : null;
  const outcome = withNextCommand(withApplication(operation, judge(scope, operation, aside)), scope.key.name);
  const entry: HistoryEntry = {
    operationId: operation.id,
    kind: isOnlyRehearsed(operation) ? 'rehearsal' : operation.plan.kind,
    from: operation.plan.current === null ? null : [...operation.plan.current],
    to: [...operation.plan.desired],
    result: resultOf(operation, outcome),
    reason: reasonOf(outcome),
    startedAt: operation.startedAt,
    finishedAt: finishedAt.toISOString(),
    message: outcome.message,
    report: null,
  };
  if (entry.result === 'refused') tellRefusal(scope, operation);
  const path = await scope.ports.home.saveReport(
    scope.key,
    operation.id,
    renderReport(scope.key, operation, entry, { aside, queries: scope.target.spec.verify.queries }),
  );
  return { outcome, entry: { ...entry, report: path }, aside, succeeded: outcome.kind === 'ready' };
}

/** What led to where the database is, for the day on which something older is deployed. */
async function recordScripts(scope: Scope, operation: Operation, at: Date): Promise<void> {
  const { plan, failure, swapped, origin } = operation;
  // What ran from a recording is recorded; what is deployed beside it had no part in it.
  if (!('steps' in plan) || plan.scripts !== undefined || failure !== null || swapped) return;
  try {
    const session = await scope.alembic();
    const { digest, revisions } = await session.graph();
    await scope.store.recordScripts(origin.identity, {
      digest,
      revisions: revisions.map(({ id }) => id),
      reached: plan.desired,
      image: session.image,
      at: at.toISOString(),
      archive: await session.archive(),
    });
  } catch (thrown) {
    // The database is where it should be all the same.
    const message = `The migrations that led to ${formatHeads(plan.desired)} could not be kept for later: ${asFailure(thrown).message}`;
    scope.ports.observe(scope.key, operation.id, { kind: 'note', level: 'warn', message });
  }
}

/** The database is one thing, and the application another: Ready speaks of both. */
function withApplication({ application }: Operation, outcome: Outcome): Outcome {
  if (application?.health?.healthy !== false || outcome.kind !== 'ready') return outcome;
  return {
    kind: 'stalled',
    reason: 'ApplicationUnhealthy',
    message: `${outcome.message} Nothing of the database is undone by itself.`,
  };
}

/** It was tried on a copy, and the database itself was left as it is. */
const isOnlyRehearsed = ({ rehearsal, durations, begun, restore }: Operation): boolean =>
  (rehearsal !== null || durations.rehearse !== undefined) && !begun && restore === null;

/** The gate's refusal: nothing went wrong, and nothing was done. */
const isRefused = ({ gate, failure }: Operation): boolean =>
  gate === null && (failure?.reason === 'DataLossForbidden' || failure?.reason === 'RestoreForbidden');

function resultOf(operation: Operation, outcome: Outcome): HistoryEntry['result'] {
  if (isRefused(operation)) return 'refused';
  const { rehearsal, failure } = operation;
  if (isOnlyRehearsed(operation))
    return rehearsal?.fault === null && (failure === null || outcome.kind === 'awaitingApproval')
      ? 'success'
      : 'failure';
  return outcome.kind === 'ready' ? 'success' : 'failure';
}

function reasonOf(outcome: Outcome): Reason {
  switch (outcome.kind) {
    case 'ready':
    case 'working':
    case 'retrying':
    case 'stalled':
      return outcome.reason;
    case 'awaitingApproval':
      return 'ApprovalRequired';
    case 'suspended':
      return 'Suspended';
  }
}

function tellRefusal({ ports, key }: Scope, { id, plan, failure }: Operation): void {
  if (plan.kind === 'backup' || failure === null) return;
  ports.observe(key, id, { kind: 'refused', operation: plan.kind, reason: failure.reason });
}

function judge(scope: Scope, operation: Operation, aside: AsideDatabase | null): Outcome {
  const { plan, failure, restore, origin } = operation;
  const name = origin.identity.name;
  // What could not be told, or went otherwise than planned, belongs to the claim that all is well.
  const told = operation.notes.map((text) => ` ${text}`).join('');
  const kept = aside === null ? '' : ` The database as it was is kept as ${aside.name} until ${aside.keptUntil}.`;

  if (operation.gate?.waitsFor != null) return { kind: 'awaitingApproval', message: operation.gate.waitsFor };
  if (failure === null) {
    switch (plan.kind) {
      case 'upgrade':
        return {
          kind: 'ready',
          reason: 'Upgraded',
          message: `Database ${name} was upgraded from ${formatHeads(plan.current)} to ${formatHeads(plan.desired)} and verified.${told}`,
        };
      case 'downgrade':
        return {
          kind: 'ready',
          reason: 'Downgraded',
          message: `Database ${name} was downgraded from ${formatHeads(plan.current)} to ${formatHeads(plan.desired)} and verified.${told}`,
        };
      case 'switch':
        return {
          kind: 'ready',
          reason: 'BranchSwitched',
          message: `Database ${name} was taken from ${formatHeads(plan.current)} to ${formatHeads(plan.desired)}, another branch, and verified.${told}`,
        };
      case 'restore':
        return {
          kind: 'ready',
          reason: 'RestoredFromBackup',
          message: `${restoredText(operation, plan)}${kept} It was restored because ${plan.because}.`,
        };
      case 'backup':
        return {
          kind: 'ready',
          reason: 'BackupVerified',
          message: `Backup ${operation.backup?.id ?? ''} of database ${name}, at ${formatRevisions(origin.revisions)}, was taken, restored once and found equal.`,
        };
    }
  }
  if (operation.swapped && restore?.goal === 'desired' && 'fallback' in plan && plan.fallback.kind === 'restore') {
    return {
      kind: 'ready',
      reason: 'RestoredFromBackup',
      message: `${restoredText(operation, plan.fallback)}${kept} The ${plan.kind} could not be trusted: ${failure.message}`,
    };
  }
  const back = operation.swapped
    ? `Database ${name} is back at ${formatRevisions(origin.revisions)}, restored from the backup taken before. What others wrote since that backup is only in the database that is kept.${kept}`
    : `Database ${name} is at ${formatRevisions(origin.revisions)}, as before.`;
  const because = plan.kind === 'downgrade' && !failure.passing ? noOtherWay(operation, plan) : '';
  return {
    kind: 'stalled',
    reason: failure.reason,
    message: `${asSentence(failure.message)} ${back}${because}${nextCommand(failure.message, scope.key.name)}`,
  };
}

/** What ends with a command to type, or a field to declare, ends without a stop. */
const asSentence = (text: string): string => (/[.!?]$/.test(text) ? text : `${text}.`);

/** A message that says itself how to go on says it once. */
const nextCommand = (message: string, name: string): string =>
  message.includes(`migration-target reconcile ${name}`)
    ? ''
    : ` When the cause is mended: migration-target reconcile ${name}`;

/** Why nothing older was restored, though the way down could not be trusted. */
function noOtherWay({ gate }: Operation, { fallback }: ChangePlan): string {
  if (fallback.kind === 'origin') return ` There was no other way: ${fallback.because}.`;
  return gate?.coversFallback === true
    ? ''
    : ` Backup ${fallback.backup} was not restored: it would lose what was written since ${fallback.takenAt}, and nobody approved that. To restore it, declare spec.restoreFrom.`;
}

/** Where the database is now comes first, then what that cost. */
function restoredText(
  { origin, plan, rowChanges }: Operation,
  { backup, takenAt }: { readonly backup: string; readonly takenAt: string },
): string {
  return `Database ${origin.identity.name} was restored from backup ${backup} of ${takenAt}, at ${formatHeads(plan.desired)}, and verified. What was written since then is not in it${rowsText(rowChanges)}.`;
}

/** What a restore did to the rows, for the message; the report has all of them. */
function rowsText(changes: Operation['rowChanges']): string {
  const shown = changes.slice(0, 5).map(formatRowChange).join(', ');
  return changes.length === 0
    ? ''
    : ` (rows before → now: ${shown}${changes.length > 5 ? `, and ${changes.length - 5} more tables` : ''})`;
}
