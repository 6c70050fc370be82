import type { HistoryEntry } from '../../api/target.ts';
import type { Outcome } from '../../api/conditions.ts';
import { formatRevisions, formatRowChange } from '../compare.ts';
import { formatHeads } from '../graph.ts';
import type { AsideDatabase, Operation } from '../model.ts';
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
  await scope.scratch.clear();
  const finishedAt = scope.ports.clock.now();
  const aside: AsideDatabase | null =
    operation.swapped && operation.restore !== null
      ? {
          ...operation.restore.aside,
          systemIdentifier: operation.origin.identity.systemIdentifier,
          keptUntil: keptUntil(scope.target, finishedAt),
        }
      : null;
  const outcome = withNextCommand(judge(scope, operation, aside), scope.key.name);
  const entry: HistoryEntry = {
    operationId: operation.id,
    kind: operation.plan.kind,
    from: operation.plan.current === null ? null : [...operation.plan.current],
    to: [...operation.plan.desired],
    result: outcome.kind === 'ready' ? 'success' : 'failure',
    reason:
      outcome.kind === 'ready' || outcome.kind === 'stalled' || outcome.kind === 'retrying'
        ? outcome.reason
        : 'InternalError',
    startedAt: operation.startedAt,
    finishedAt: finishedAt.toISOString(),
    message: outcome.message,
    report: null,
  };
  const path = await scope.ports.home.saveReport(
    scope.key,
    operation.id,
    renderReport(scope.key, operation, entry, aside),
  );
  return { outcome, entry: { ...entry, report: path }, aside, succeeded: outcome.kind === 'ready' };
}

function judge(scope: Scope, operation: Operation, aside: AsideDatabase | null): Outcome {
  const { plan, failure, restore, origin } = operation;
  const name = origin.identity.name;
  // What could not be told, or went otherwise than planned, belongs to the claim that all is well.
  const told = operation.notes.map((text) => ` ${text}`).join('');
  const kept = aside === null ? '' : ` The database as it was is kept as ${aside.name} until ${aside.keptUntil}.`;

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
          message: `${restoredText(operation, plan)}${kept}`,
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
    ? `Database ${name} is back at ${formatRevisions(origin.revisions)}, restored from the backup taken before.${kept}`
    : `Database ${name} is at ${formatRevisions(origin.revisions)}, as before.`;
  const because =
    plan.kind === 'downgrade' && plan.fallback.kind === 'origin' && !failure.passing
      ? ` There was no other way: ${plan.fallback.because}.`
      : '';
  return {
    kind: 'stalled',
    reason: failure.reason,
    message: `${failure.message} ${back}${because} When the cause is mended: migration-target reconcile ${scope.key.name}`,
  };
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
