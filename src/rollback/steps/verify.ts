import {
  beyondDrift,
  compareCounts,
  compareSchemas,
  describeDifference,
  formatRevisions,
  isSame,
  maxRowChanges,
  revisionsOf,
  sameRevisions,
} from '../compare.ts';
import { formatHeads } from '../graph.ts';
import type { ChangePlan, Operation, OwnDatabase, SchemaFacts } from '../model.ts';
import { chooseFallback } from '../retention.ts';
import { findBackup, note, type Scope, withScratch } from '../scope.ts';

/** Reads the database again: version table, schema, the user's queries. Row counts go into the report. */
export async function verify(scope: Scope, operation: Operation): Promise<Operation> {
  const { plan } = operation;
  if (plan.kind === 'restore' || plan.kind === 'backup') throw new Error(`a ${plan.kind} is verified before its swap`);
  const revisionFault = await findRevisionFault(scope, plan);
  const schema = revisionFault === null ? await checkSchema(scope, operation, plan) : { fault: null, drift: null };
  const fault = revisionFault ?? schema.fault ?? (await findQueryFault(scope));
  if (fault !== null) {
    return {
      ...operation,
      step: 'restore',
      failure: {
        reason: 'VerificationFailed',
        message: `The ${plan.kind} to ${formatHeads(plan.desired)} ran, but ${fault}.`,
        passing: false,
        committed: true,
      },
    };
  }
  const verified = schema.drift === null ? operation : note(scope, operation, schema.drift);
  return { ...(await withRowChanges(scope, verified)), step: 'report' };
}

async function findRevisionFault(scope: Scope, plan: ChangePlan): Promise<string | null> {
  const { versionTable } = await scope.database.read();
  const now = revisionsOf(versionTable);
  return sameRevisions(now ?? [], plan.desired) ? null : `the version table says ${formatRevisions(now)}`;
}

/**
 * Against the schema that the database had when it was at that revision before. Where it never was, the present
 * one is recorded: the way back will be measured by it. But not one that a downgrade() of nothing has led to.
 */
async function checkSchema(
  scope: Scope,
  operation: Operation,
  plan: ChangePlan,
): Promise<{ readonly fault: string | null; readonly drift: string | null }> {
  const { store, database } = scope;
  const { identity, server } = operation.origin;
  const expected = await findExpectedSchema(scope, operation, plan.desired);
  const present = await withScratch(scope, operation, ({ database: scratch, created }) =>
    database.canonicalSchema(scratch, created),
  );
  if (expected === null) {
    const idle = await idleDowngrades(scope, plan);
    if (idle.length > 0) {
      return {
        fault: null,
        drift: `downgrade() of ${idle.join(', ')} does nothing, and the database was never seen at ${formatHeads(plan.desired)} before: whether its schema is the one of that revision can't be told. Compare it by hand.`,
      };
    }
    await store.recordSchema(identity, plan.desired, present);
    return { fault: null, drift: null };
  }
  const difference = compareSchemas(expected.lines, present.lines);
  if (isSame(difference)) return { fault: null, drift: null };

  const found = operation.backup === null ? null : await store.schema(operation.backup.id);
  if (found !== null && found.digest === present.digest) {
    return {
      fault: `the schema did not move at all, and is not the one of ${formatHeads(plan.desired)} (${describeDifference(difference)})`,
      drift: null,
    };
  }
  const recorded = await store.recordedSchema(identity, plan.current, server.major);
  const beyond = beyondDrift(difference, { found: found?.lines ?? [], recorded: recorded?.lines ?? null });
  return isSame(beyond)
    ? {
        fault: null,
        drift: `The schema differs from that of ${formatHeads(plan.desired)} by what had drifted before: ${describeDifference(difference)}.`,
      }
    : {
        fault: `the schema is not the one of ${formatHeads(plan.desired)} (${describeDifference(beyond)})`,
        drift: null,
      };
}

/** The steps down that were taken by a downgrade() that is `pass`, though the upgrade() is not. */
async function idleDowngrades(scope: Scope, plan: ChangePlan): Promise<readonly string[]> {
  const down = new Set(plan.steps.filter(({ direction }) => direction === 'down').map(({ revision }) => revision));
  if (down.size === 0) return [];
  const { revisions } = await (await scope.alembic()).graph();
  return revisions
    .filter(({ id, upgrade, downgrade }) => down.has(id) && upgrade.shape === 'code' && downgrade.shape === 'pass')
    .map(({ id }) => id);
}

/** The schema recorded when the revision was last reached, or else that of the newest backup at it. */
async function findExpectedSchema(
  scope: Scope,
  operation: Operation,
  revisions: readonly string[],
): Promise<SchemaFacts | null> {
  const { identity, server } = operation.origin;
  const recorded = await scope.store.recordedSchema(identity, revisions, server.major);
  if (recorded !== null) return recorded;
  const { backups } = await scope.store.list();
  const choice = chooseFallback(backups, revisions, identity, server.major);
  return choice.kind === 'none' ? null : scope.store.schema(choice.backup.id);
}

/** The user's own queries, in the live database or in one about to take its place. */
export async function findQueryFault(scope: Scope, database?: OwnDatabase): Promise<string | null> {
  for (const { name, sql, expect } of scope.target.spec.verify.queries) {
    const answer = await scope.database.query(sql, database);
    if (answer !== expect)
      return `the query '${name}' gave ${answer === null ? 'NULL' : `'${answer}'`} and not '${expect}'`;
  }
  return null;
}

async function withRowChanges(scope: Scope, operation: Operation): Promise<Operation> {
  const manifest = operation.backup === null ? undefined : await findBackup(scope.store, operation.backup.id);
  if (manifest === undefined) return operation;
  const changes = compareCounts(manifest.rowCounts, await scope.database.rowCounts());
  return { ...operation, rowChanges: changes.slice(0, maxRowChanges) };
}
