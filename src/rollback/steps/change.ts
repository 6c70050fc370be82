import { formatRevisions, revisionsOf, sameRevisions } from '../compare.ts';
import { formatHeads } from '../graph.ts';
import type { ChangePlan, Operation, OperationFailure, Rehearsal } from '../model.ts';
import type { ExpectedTimes, MigrationError, MigrationEvent } from '../ports.ts';
import { describe, failureReason, reasonFor } from '../migration-errors.ts';
import { findBackup, note, type Scope } from '../scope.ts';
import { hasSameScripts } from '../same-scripts.ts';

/** However often a change was cut off or met a lock, it is started this often at most. */
export const maxAttempts = 3;

/**
 * Alembic on the live database: exactly the planned steps. What happened is read from the database, never from an
 * exit code. Entered again after a crash, it first finds out how far the last try came.
 */
export async function change(scope: Scope, operation: Operation): Promise<Operation> {
  const plan = changePlan(operation);
  const place = await locate(scope, operation, plan);
  if (place.kind !== 'origin') return elsewhere(scope, operation, plan, place);
  if (operation.attempts >= maxAttempts) {
    return giveUp(operation, {
      reason: failureReason(plan),
      passing: true,
      committed: null,
      message: `The ${plan.kind} was started ${operation.attempts} times and never finished; each time the database was as before. Read the controller's log, then: migration-target reconcile ${scope.key.name}`,
    });
  }
  // What another process planned and tried may be others by now.
  if (scope.journal() === null && !(await hasSameScripts(scope, operation))) {
    return giveUp(operation, {
      reason: 'MigrationsChanged',
      passing: true,
      committed: false,
      message: `The migrations of ${scope.target.spec.alembic.workingDir} are others than those that the ${plan.kind} was planned and tried with; it was not begun.`,
    });
  }
  const session = await scope.alembic();
  await scope.scratch.reserve(1);
  const started = await scope.save({ ...operation, attempts: operation.attempts + 1, begun: true });
  await scope.lock.assertHeld();
  scope.scratch.createAhead(); // verification needs it
  const migrating = session.migrate(
    {
      from: started.origin.revisions ?? [],
      steps: plan.steps,
      database: started.origin.identity,
      lock: scope.lock.token,
    },
    (event) =>
      scope.ports.observe(scope.key, started.id, {
        kind: 'migration',
        event,
        ...expectedTimes(started.rehearsal, event),
      }),
  );
  const result = await migrating.catch(async (thrown: unknown) => {
    // Python itself did not come up, so no migration has started.
    if (scope.signal.aborted) scope.stopIfAsked(await scope.save(operation));
    throw thrown;
  });
  if (result.ok) return { ...started, step: 'verify' };
  if (result.error.kind === 'timedOut' && scope.signal.aborted) {
    // Stopped before its first migration: an interruption, which the next start goes on from as if it had not been.
    scope.stopIfAsked(await scope.save(operation));
  }
  return afterFailure(scope, started, plan, result.error);
}

/** How long it took on the copy, so that whoever watches knows how long it will take. */
function expectedTimes(rehearsal: Rehearsal | null, event: MigrationEvent): { readonly expected?: ExpectedTimes } {
  if (rehearsal === null || event.kind !== 'started' || rehearsal.stepMs.length !== event.total) return {};
  const sum = (all: readonly number[]): number => all.reduce((so, ms) => so + ms, 0);
  const { stepMs } = rehearsal;
  return {
    expected: { totalMs: sum(stepMs), beforeMs: sum(stepMs.slice(0, event.index)), stepMs: stepMs[event.index] ?? 0 },
  };
}

/** No migration is begun where the database is not at the origin, or no longer as the backup has it. */
function elsewhere(
  scope: Scope,
  operation: Operation,
  plan: ChangePlan,
  place: Exclude<Place, { readonly kind: 'origin' }>,
): Operation {
  switch (place.kind) {
    case 'arrived':
      return { ...operation, step: 'verify' };
    case 'between':
      // Cut off is not refuted: back to the origin, never on to an older backup.
      return giveUp(operation, {
        reason: failureReason(plan),
        passing: true,
        committed: true,
        message: `The ${plan.kind} was cut off half-way: ${place.found}.`,
      });
    case 'written':
      // Somebody wrote after the backup's snapshot: it is no longer a backup of this very state.
      return operation.attempts + 1 >= maxAttempts
        ? giveUp(operation, {
            reason: 'WritersActive',
            passing: true,
            committed: false,
            message: `Other sessions kept writing between the backup and the change (${place.what}). Stop the application, then: migration-target reconcile ${scope.key.name}`,
          })
        : note(
            scope,
            { ...operation, step: 'backup', attempts: operation.attempts + 1 },
            `Other sessions wrote after the backup (${place.what}); it is taken again.`,
          );
  }
}

type Place =
  | { readonly kind: 'origin' }
  | { readonly kind: 'arrived' }
  | { readonly kind: 'between'; readonly found: string }
  | { readonly kind: 'written'; readonly what: string };

/** Where the live database is, between the origin and the desired revisions. */
async function locate(scope: Scope, operation: Operation, plan: ChangePlan): Promise<Place> {
  const { versionTable } = await scope.database.read();
  const now = revisionsOf(versionTable);
  // Before alembic began nothing but others can have moved it: that is theirs, and is not undone.
  const { begun } = operation;
  if (begun && sameRevisions(now, plan.desired)) return { kind: 'arrived' };
  if (!sameRevisions(now ?? [], operation.origin.revisions ?? [])) {
    if (!begun) return { kind: 'written', what: 'the version table' };
    return {
      kind: 'between',
      found: `the version table says ${formatRevisions(now)}, neither ${formatRevisions(operation.origin.revisions)} nor ${formatHeads(plan.desired)}`,
    };
  }
  if ((await scope.database.liveSchema()).digest !== operation.origin.schema) {
    if (!begun) return { kind: 'written', what: 'the schema' };
    return { kind: 'between', found: `the version table says ${formatRevisions(now)}, but the schema moved` };
  }
  const writes = await writesSinceBackup(scope, operation);
  return writes === null ? { kind: 'origin' } : { kind: 'written', what: writes };
}

/** Names the tables that anybody wrote to since the backup's snapshot, or null where nobody did. */
export async function writesSinceBackup(scope: Scope, operation: Operation): Promise<string | null> {
  if (operation.backup === null) return null;
  const manifest = await findBackup(scope.store, operation.backup.id);
  if (manifest === undefined) return `its backup ${operation.backup.id} has gone`;
  const writes = await scope.database.writesSince({
    xmax: operation.backup.xmax,
    inProgress: operation.backup.inProgress,
    rowCounts: manifest.rowCounts,
  });
  if (writes.length === 0) return null;
  const shown = writes
    .slice(0, 3)
    .map(({ table }) => table)
    .join(', ');
  return writes.length > 3 ? `${shown} and ${writes.length - 3} more` : shown;
}

/** A failure that left the origin as it was is met again later or given up; anything else is undone. */
async function afterFailure(
  scope: Scope,
  started: Operation,
  plan: ChangePlan,
  error: MigrationError,
): Promise<Operation> {
  // Who lost the lock has no say any more, and no sessions of the next holder's to end.
  await scope.lock.assertHeld();
  // Whatever of that process still runs must not commit while the database is read.
  await scope.database.endOperationSessions();
  const operation = { ...started, begun: error.committed !== false };
  const place = await locate(scope, operation, plan);
  if (place.kind === 'arrived') {
    return note(
      scope,
      { ...operation, step: 'verify' },
      `alembic ended with an error after its last commit: ${describe(error)}`,
    );
  }
  if (error.kind === 'lockTimeout' && place.kind !== 'between' && operation.attempts < maxAttempts) {
    return note(
      scope,
      { ...operation, step: place.kind === 'written' ? 'backup' : 'change' },
      `${describe(error)} Nothing was changed; it is tried again.`,
    );
  }
  // With another process, and so by another visit. What was written since the backup may be its own: not once more on that.
  if (error.lost?.kind === 'retry' && place.kind === 'origin' && operation.attempts < maxAttempts) throw error.lost;
  return giveUp(operation, {
    reason: reasonFor(error, plan),
    // Only a migration that failed by itself tells that the way down can't be trusted; an env.py that can't run, a Python
    // that was killed, a lock say nothing of it, and are no reason to give up what was written since an older backup.
    passing: error.kind !== 'migration',
    committed: error.committed,
    message: describe(error),
  });
}

const giveUp = (operation: Operation, failure: OperationFailure): Operation => ({
  ...operation,
  step: 'restore',
  failure,
});

function changePlan({ plan }: Operation): ChangePlan {
  if (plan.kind === 'restore' || plan.kind === 'backup') throw new Error(`a ${plan.kind} has no change to run`);
  return plan;
}
