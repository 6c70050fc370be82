import {
  compareCounts,
  compareSchemas,
  describeDifference,
  formatRevisions,
  formatRowChange,
  maxRowChanges,
  revisionsOf,
  sameRevisions,
} from '../compare.ts';
import { judgeSchema, type SchemaVerdict } from '../expected-schema.ts';
import { formatHeads } from '../graph.ts';
import type { ChangePlan, Operation, OwnDatabase, RowChange, SchemaFacts } from '../model.ts';
import type { LiveDatabase } from '../ports.ts';
import { unforeseenChanges } from '../rehearsed-rows.ts';
import { findBackup, note, type Scope, withScratch } from '../scope.ts';

/** Reads the database again: version table, schema, rows, the user's queries. Never an exit code. */
export async function verify(scope: Scope, operation: Operation): Promise<Operation> {
  const { plan } = operation;
  if (plan.kind === 'restore' || plan.kind === 'backup') throw new Error(`a ${plan.kind} is verified before its swap`);
  // Beside one another, since one waits for PostgreSQL's tools. Of what they find or fail with the first is told.
  const looking = findRevisionFault(scope, plan);
  const reading = readSchema(scope, operation);
  const counting = rowChangesSinceBackup(scope, operation);
  await Promise.allSettled([looking, reading, counting]);
  const revisionFault = await looking;
  if (revisionFault !== null) return refuted(operation, plan, revisionFault);
  const schema = await checkSchema(scope, operation, plan, await reading);
  if (schema.fault !== null) return refuted(operation, plan, schema.fault);
  const changes = await counting;
  const rows = await checkRows(scope, operation, changes);
  const fault = rows.fault ?? (await findQueryFault(scope, scope.database));
  if (fault !== null) return refuted(operation, plan, fault);
  const told = [schema.note, rows.note].filter((text): text is string => text !== null);
  const verified = told.reduce<Operation>((so, text) => note(scope, so, text), operation);
  return { ...verified, rowChanges: (changes ?? []).slice(0, maxRowChanges), step: 'report' };
}

const refuted = (operation: Operation, plan: ChangePlan, fault: string): Operation => ({
  ...operation,
  step: 'restore',
  failure: {
    reason: 'VerificationFailed',
    message: `The ${plan.kind} to ${formatHeads(plan.desired)} ran, but ${fault}.`,
    passing: false,
    committed: true,
  },
});

async function findRevisionFault(scope: Scope, plan: ChangePlan): Promise<string | null> {
  const { versionTable } = await scope.database.read();
  const now = revisionsOf(versionTable);
  return sameRevisions(now ?? [], plan.desired) ? null : `the version table says ${formatRevisions(now)}`;
}

const readSchema = (scope: Scope, operation: Operation): Promise<SchemaFacts> =>
  withScratch(scope, operation, ({ database, created }) => scope.database.canonicalSchema(database, created));

/** Against the one that the rehearsal led to, which was judged then; without a rehearsal it is judged now. */
async function checkSchema(
  scope: Scope,
  operation: Operation,
  plan: ChangePlan,
  present: SchemaFacts,
): Promise<Pick<SchemaVerdict, 'fault' | 'note'>> {
  const { store } = scope;
  const { rehearsal } = operation;
  if (rehearsal !== null && rehearsal.schema !== null && rehearsal.schema !== present.digest) {
    const rehearsed = await store.rehearsedSchema();
    const difference =
      rehearsed?.digest === rehearsal.schema
        ? ` (${describeDifference(compareSchemas(rehearsed.lines, present.lines))})`
        : '';
    return { fault: `the schema is not the one that the same change led to on a copy${difference}`, note: null };
  }
  // The application may be waiting by now.
  const judged = await judgeSchema(scope, operation, plan, present, { mayBuild: false });
  if (judged.isFirst) await store.recordSchema(operation.origin.identity, plan.desired, present);
  // Equal to what was judged, and told of, on the copy.
  return rehearsal?.schema === present.digest ? { fault: null, note: null } : judged;
}

/** null: the backup has gone. */
async function rowChangesSinceBackup(scope: Scope, operation: Operation): Promise<readonly RowChange[] | null> {
  const manifest = operation.backup === null ? undefined : await findBackup(scope.store, operation.backup.id);
  if (manifest === undefined) return null;
  return compareCounts(manifest.rowCounts, await scope.database.rowCounts());
}

/**
 * Every table should have as many rows as the backup, and as many more or fewer as on the copy. Others who write at the
 * same time can't be told from the change, so where somebody else is connected it is said, and no fault.
 */
async function checkRows(
  scope: Scope,
  { rehearsal, backup }: Operation,
  changes: readonly RowChange[] | null,
): Promise<{ readonly fault: string | null; readonly note: string | null }> {
  if (rehearsal === null || changes === null) return { fault: null, note: null };
  const { rowChanges } = rehearsal;
  if (rowChanges === null)
    return { fault: null, note: 'The numbers of rows of so many tables change that they were not compared.' };
  // Where it was backed up again, rows that the copy did not have went through the change as well.
  const isSameState = rehearsal.backup === backup?.id;
  const unforeseen = unforeseenChanges(rowChanges, changes, isSameState);
  const [first] = unforeseen;
  if (first === undefined) return { fault: null, note: null };
  const more = unforeseen.length > 1 ? `, and ${unforeseen.length - 1} more tables` : '';
  const what = `the rows are not those that the same change left on a copy (${formatRowChange(first)}${more})`;
  const others = await scope.database.otherSessions();
  return others.length === 0
    ? { fault: what, note: null }
    : {
        fault: null,
        note: `After the change ${what}. Others were connected meanwhile (${others.join(', ')}), so it can't be told whose rows these are.`,
      };
}

/** The user's own queries, in the live database or in one about to take its place. */
export async function findQueryFault(
  { target }: Scope,
  server: Pick<LiveDatabase, 'query'>,
  database?: OwnDatabase,
): Promise<string | null> {
  for (const { name, sql, expect } of target.spec.verify.queries) {
    const answer = await server.query(sql, database);
    if (answer !== expect)
      return `the query '${name}' gave ${answer === null ? 'NULL' : `'${answer}'`} and not '${expect}'`;
  }
  return null;
}
