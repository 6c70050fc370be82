/** What a rehearsal found: the loss, what goes besides data, and how many rows there are afterwards. */
import { compareCounts, compareSchemas } from '../compare.ts';
import {
  mostRowChangesKept,
  type DataLoss,
  type Operation,
  type Rehearsal,
  type SchemaFacts,
  type WayBack,
} from '../model.ts';
import type { Contents } from '../ports.ts';
import { findBackup, progressOf, requireWholeBackup, type Scope, withCopy } from '../scope.ts';
import type { Comparison } from './stage.ts';

/** Rows of one table that are compared one by one; beyond it only their number and their columns' sums are. */
export const mostRowsCompared = 1_000_000;
const mostObjectsTold = 100;

const notTriedBack: WayBack = { kind: 'notTried', because: 'the change itself did not go through' };

export async function blank(scope: Scope, { backup }: Operation): Promise<Rehearsal> {
  if (backup === null) throw new Error('a rehearsal without a backup');
  const manifest = await findBackup(scope.store, backup.id);
  return {
    backup: backup.id,
    xmax: backup.xmax,
    inProgress: backup.inProgress,
    origin: manifest?.schema?.digest ?? '',
    finishedAt: '',
    route: 'none',
    fault: null,
    notTried: null,
    loss: null,
    objectsGone: [],
    moreObjects: 0,
    atRisk: [],
    schema: null,
    rowChanges: null,
    wayBack: notTriedBack,
    stepMs: [],
    restoreMs: null,
    tookMs: 0,
  };
}

export async function untried(scope: Scope, operation: Operation, notTried: string): Promise<Rehearsal> {
  return { ...(await blank(scope, operation)), route: 'planned', notTried };
}

/** The loss, and what goes besides: lines of the schema of before that are not in that of after, but for what belongs to tables and columns that go. */
export async function takenAway(
  scope: Scope,
  operation: Operation,
  after: SchemaFacts,
  loss: DataLoss,
): Promise<Pick<Rehearsal, 'loss' | 'objectsGone' | 'moreObjects' | 'atRisk'>> {
  const before = operation.backup === null ? null : await scope.store.schema(operation.backup.id);
  const missing = before === null ? [] : compareSchemas(before.lines, after.lines).missing;
  const gone = missing.filter((line) => !isOfLost(loss, line));
  const going = [...loss.tables.map(({ table }) => table), ...tablesOf(missing, after.lines)];
  const atRisk = [...new Set(going)];
  return {
    loss,
    objectsGone: gone.slice(0, mostObjectsTold),
    moreObjects: Math.max(0, gone.length - mostObjectsTold),
    atRisk: loss.moreTables > 0 || atRisk.length > mostRowChangesKept ? null : atRisk,
  };
}

/** Tables that are no more, or have a column no more, whatever was in it; one that only got another type is there. */
function tablesOf(missing: readonly string[], after: readonly string[]): readonly string[] {
  const subject = (line: string): string => line.split(' ').slice(0, 2).join(' ');
  const there = new Set(after.map(subject));
  return missing
    .filter((line) => /^(table|column) /.test(line) && !there.has(subject(line)))
    .map((line) => {
      const [kind, name = ''] = line.split(' ');
      return (kind === 'table' ? name : name.slice(0, name.lastIndexOf('.'))).replaceAll('"', '');
    });
}

/** Whether a line of the schema tells of a table, or a column, that the loss names already. */
const isOfLost = ({ tables }: DataLoss, line: string): boolean =>
  tables.some(
    ({ table, gone, columnsGone }) =>
      (gone && line.split(/[ :]/).some((word) => word === table || word.startsWith(`${table}.`))) ||
      columnsGone.some(({ column }) => line.startsWith(`column ${table}.${column} `)),
  );

export async function rowChangesOf(
  scope: Scope,
  { backup }: Operation,
  { rowCounts }: Contents,
): Promise<Rehearsal['rowChanges']> {
  const manifest = backup === null ? undefined : await findBackup(scope.store, backup.id);
  if (manifest === undefined) return null;
  const changes = compareCounts(manifest.rowCounts, rowCounts);
  return changes.length > mostRowChangesKept ? null : changes;
}

export async function lossOfRestore(
  scope: Scope,
  operation: Operation,
  backup: string,
  { stage: { server }, before, deadline }: Comparison,
): Promise<{
  readonly loss: DataLoss;
  readonly objects: Pick<Rehearsal, 'objectsGone' | 'moreObjects' | 'atRisk' | 'restoreMs'>;
}> {
  const { store } = scope;
  const manifest = await requireWholeBackup(scope, backup);
  const progress = progressOf(scope, operation, 'rehearse');
  return withCopy(scope, operation, async ({ database: restored, created }) => {
    await created;
    const startedAt = performance.now();
    await server.restoreInto(restored, { place: store.dumpOf(manifest), format: manifest.format }, progress, deadline);
    const restoreMs = Math.round(performance.now() - startedAt);
    const loss = await server.findLoss(
      before,
      restored,
      { isCopy: false, mostRows: mostRowsCompared },
      progress,
      deadline,
    );
    const { schema } = await server.contents(restored);
    const present = operation.backup === null ? null : await store.schema(operation.backup.id);
    const { objectsGone, moreObjects } =
      present === null || present.major !== schema.major
        ? { objectsGone: [], moreObjects: 0 }
        : await takenAway(scope, operation, schema, loss);
    // Whatever is written from now on is not in it.
    return { loss, objects: { objectsGone, moreObjects, atRisk: null, restoreMs } };
  });
}
