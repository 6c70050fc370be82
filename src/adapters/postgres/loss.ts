/**
 * What one database has and another has not. The work grows with what differs:
 *
 * 1. The catalogues tell which table has become which (loss-tables.ts).
 * 2. All tables are counted, and in a copy each heap's rows are looked at by place and transaction, unread.
 * 3. What may have changed is summed up on the servers' side, value by value, as hashes (loss-sql.ts).
 * 4. What differs by that is read row by row, as hashes (loss-read.ts, loss-rows.ts).
 */
import { retry } from '../../rollback/errors.ts';
import type { DataLoss, OwnDatabase, TableLoss } from '../../rollback/model.ts';
import type { Progress } from '../../rollback/ports.ts';
import type { Context } from './context.ts';
import { quoteName } from './identifiers.ts';
import { readRelations, readTypeFacts } from './loss-catalogue.ts';
import { compareLargeObjects } from './loss-large-objects.ts';
import { areFew, compareFewRows, compareRows, onBoth } from './loss-read.ts';
import type { Sides } from './loss-read.ts';
import { sumUp, tooManyRows } from './loss-report.ts';
import type { Judged } from './loss-report.ts';
import {
  columnSums,
  from,
  hasValue,
  hashedRows,
  physicalSum,
  sourcesAfter,
  sourcesBefore,
  valueSum,
} from './loss-sql.ts';
import type { Source } from './loss-sql.ts';
import { matchTables, mayBeUntouched } from './loss-tables.ts';
import type { MatchedTable } from './loss-tables.ts';
import { connectToOwn } from './restore.ts';
import { rowsOfAll } from './row-counts.ts';
import type { Session } from './session.ts';

export interface LossOptions {
  /** `after` was made by copyDatabase, and is compared by oid, so that what was only renamed is no loss. */
  readonly isCopy: boolean;
  /** Of one table, rows that are read one by one where they may differ. */
  readonly mostRows: number;
}

export async function findLoss(
  context: Context,
  before: OwnDatabase,
  after: OwnDatabase,
  options: LossOptions,
  progress: Progress,
  signal: AbortSignal = context.signal,
): Promise<DataLoss> {
  await using was = await connectToOwn(context, before);
  await using is = await connectToOwn(context, after);
  return await untilAborted(context, [was, is], AbortSignal.any([context.signal, signal]), (assertWanted) =>
    compare(context, { before: was, after: is, assertWanted }, options, progress),
  );
}

/** Ends the sessions at once where it is aborted: a statement on a large table would go on for long. */
async function untilAborted<T>(
  context: Context,
  sessions: readonly Session[],
  signal: AbortSignal,
  work: (assertWanted: () => void) => Promise<T>,
): Promise<T> {
  const interrupted = (cause?: unknown): Error =>
    retry(
      'OperationInterrupted',
      'The comparison of what would be lost was interrupted. It is made again by itself.',
      cause,
    );
  const assertWanted = (): void => {
    if (signal.aborted) throw interrupted();
  };
  const endAll = async (): Promise<void> => {
    const maintenance = await context.onMaintenance();
    for (const { pid } of sessions)
      await maintenance.rows('Ending a comparison', 'SELECT pg_terminate_backend($1)', [pid]);
  };
  const stop = (): void => {
    // Where the server can't be asked any more, leaving is all that can be done.
    void endAll()
      .catch(() => undefined)
      .finally(() => sessions.map((session) => session[Symbol.asyncDispose]()));
  };
  signal.addEventListener('abort', stop, { once: true });
  try {
    assertWanted();
    return await work(assertWanted);
  } catch (error) {
    throw signal.aborted ? interrupted(error) : error;
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

async function compare(
  { settings }: Context,
  sides: Sides,
  { isCopy, mostRows }: LossOptions,
  progress: Progress,
): Promise<DataLoss> {
  const [before, after] = await onBoth(sides, (session) => readRelations(session, settings.versionTable));
  const [typesBefore, typesAfter] = await onBoth(sides, readTypeFacts);
  const tables = matchTables(before, after, isCopy);
  const counted = await countAll(sides, tables, isCopy, typesBefore === typesAfter);

  let done = 0;
  const told = (judged: Judged): Judged => {
    done += 1;
    progress(done, tables.length, 'compared');
    return judged;
  };
  const equal = await findEqual(
    sides,
    counted.filter(({ rows }) => Math.min(rows.before, rows.after) > 0 && rows.before + rows.after <= fewRows),
  );
  const judged: Judged[] = [];
  for (const table of counted) {
    if (table.rows.before === 0 || equal.has(table)) judged.push(told(judge(table, untouched)));
    else if (table.rows.after === 0) judged.push(told(judge(table, allGone(table))));
    else judged.push(told(await judgeByRows(sides, table, mostRows)));
  }
  const objects = await compareLargeObjects(sides, isCopy, mostRows);
  return sumUp(objects === null ? judged : [...judged, objects]);
}

/** A table with its counts, and what of it has to be looked into. */
interface CountedTable {
  readonly table: MatchedTable;
  readonly rowsBefore: number;
  /** Rows that have a value of a column that goes. */
  readonly valued: number;
  readonly columnsGone: TableLoss['columnsGone'];
  /** What is not known to be the same. */
  readonly before: readonly Source[];
  readonly after: readonly Source[];
  readonly rows: { readonly before: number; readonly after: number };
  /** Of `before`. */
  readonly valuedBefore: number;
}

/** Tables of no more rows than this, on both sides together, are summed up many in a statement. */
const fewRows = 100_000;

interface Count extends Record<string, unknown> {
  readonly place: string;
  readonly count: string;
  readonly physical: string | null;
  readonly valued: string;
  readonly values: readonly string[];
}

async function countAll(
  sides: Sides,
  tables: readonly MatchedTable[],
  isCopy: boolean,
  sameTypes: boolean,
): Promise<readonly CountedTable[]> {
  const described = tables.map((table) => {
    const comparable = new Set(
      isCopy ? table.after.filter((leaf) => mayBeUntouched(table, leaf, sameTypes)).map(({ was }) => was) : [],
    );
    return {
      table,
      before: sourcesBefore(table).map((source) => ({ source, isComparable: comparable.has(source.relation) })),
      after: sourcesAfter(table).map((source, index) => {
        const was = table.after[index]?.was ?? null;
        return { source, was, isComparable: was !== null && comparable.has(was) };
      }),
    };
  });
  const [before, after] = await onBoth(sides, async (session, side) => {
    const selects = described.flatMap((entry, index) =>
      entry[side].map(({ source, isComparable }, leaf) => countOf(`${index} ${leaf}`, source, isComparable)),
    );
    const counts = await rowsOfAll<Count>(session, 'Counting rows', selects, sides.assertWanted);
    return new Map(counts.map((count) => [count.place, count]));
  });
  return described.map((entry, index) => {
    const were = entry.before.map(({ source }, leaf) => ({ source, count: before.get(`${index} ${leaf}`) }));
    const countWas = new Map(were.map(({ source, count }) => [source.relation, count]));
    const leaves = entry.after.map(({ source, was }, leaf) => ({
      source,
      was,
      count: after.get(`${index} ${leaf}`),
    }));
    const same = new Set(
      leaves.filter(({ was, count }) => was !== null && isUntouched(countWas.get(was), count)).map(({ was }) => was),
    );
    const changed = leaves.filter(({ was }) => was === null || !same.has(was));
    const differing = were.filter(({ source }) => !same.has(source.relation));
    return {
      table: entry.table,
      rowsBefore: sum(were, ({ count }) => count?.count),
      valued: sum(were, ({ count }) => count?.valued),
      columnsGone: entry.table.columnsGone
        .map(({ name }, column) => ({ column: name, values: sum(were, ({ count }) => count?.values[column]) }))
        .filter(({ values }) => values > 0),
      before: differing.map(({ source }) => source),
      after: changed.map(({ source }) => source),
      rows: { before: sum(differing, ({ count }) => count?.count), after: sum(changed, ({ count }) => count?.count) },
      valuedBefore: sum(differing, ({ count }) => count?.valued),
    };
  });
}

const isUntouched = (was: Count | undefined, is: Count | undefined): boolean =>
  was !== undefined &&
  is !== undefined &&
  was.physical !== null &&
  was.count === is.count &&
  was.physical === is.physical;

const sum = <T>(some: readonly T[], of: (one: T) => string | undefined): number =>
  some.reduce((total, one) => total + Number(of(one) ?? 0), 0);

function countOf(place: string, { relation, gone }: Source, isComparable: boolean): string {
  const values = gone.map(({ name }) => `count(t.${quoteName(name)})`);
  // An empty sum is NULL, as is one that is not wanted.
  const physical = isComparable ? `coalesce(${physicalSum}, 0)` : 'NULL::numeric';
  return `SELECT '${place}' AS place, count(*) AS count, ${physical} AS physical,
    count(*) FILTER (WHERE ${hasValue(gone)}) AS valued, ARRAY[${values.join(', ')}]::int8[] AS values FROM ${from(relation)}`;
}

/** Those whose rows are the same by the sum of all of their values. */
async function findEqual(sides: Sides, tables: readonly CountedTable[]): Promise<ReadonlySet<CountedTable>> {
  const candidates = tables.filter(({ rows }) => rows.before === rows.after);
  const [before, after] = await onBoth(sides, async (session, side) => {
    const selects = candidates.map(
      (entry, index) =>
        `SELECT ${index} AS place, ${valueSum} AS sum FROM (${hashedRows(entry[side], entry.table.keyLength)}) r`,
    );
    const rows = await rowsOfAll<{ place: number; sum: string }>(
      session,
      'Summing up rows',
      selects,
      sides.assertWanted,
    );
    return new Map(rows.map((row) => [row.place, row.sum]));
  });
  return new Set(candidates.filter((_, index) => before.get(index) === after.get(index)));
}

interface Verdict {
  readonly rowsGone: number | null;
  readonly rowsChanged: number | null;
  readonly columnsChanged: readonly string[];
  /** Rows that go or change, and have no value of a column that goes. */
  readonly withoutValues: number;
  readonly notCompared: string | null;
}

const untouched: Verdict = { rowsGone: 0, rowsChanged: 0, columnsChanged: [], withoutValues: 0, notCompared: null };

const allGone = ({ rows, valuedBefore }: CountedTable): Verdict => ({
  ...untouched,
  rowsGone: rows.before,
  withoutValues: rows.before - valuedBefore,
});

function judge(counted: CountedTable, { withoutValues, ...verdict }: Verdict): Judged {
  const { table, rowsBefore, valued, columnsGone } = counted;
  return {
    rows: verdict.notCompared === null ? valued + withoutValues : null,
    loss: {
      table: table.table,
      rowsBefore,
      gone: table.gone,
      columnsGone: table.gone ? [] : columnsGone,
      ...verdict,
    },
  };
}

async function judgeByRows(sides: Sides, counted: CountedTable, mostRows: number): Promise<Judged> {
  const { keyLength, common } = counted.table;
  const rows = { before: hashedRows(counted.before, keyLength), after: hashedRows(counted.after, keyLength) };
  const difference = areFew(counted.rows, mostRows)
    ? await compareFewRows(sides, rows)
    : await compareRows(sides, rows, mostRows);
  if ('tooMany' in difference) {
    const notCompared = tooManyRows(difference.tooMany, counted.rowsBefore, mostRows);
    return judge(counted, { ...untouched, rowsGone: null, rowsChanged: null, notCompared });
  }
  const { gone, changed, withoutValues, changedKeys } = difference;
  const columnsChanged =
    keyLength === null || changed === 0 ? [] : await findChangedColumns(sides, counted, keyLength, changedKeys);
  return judge(counted, {
    rowsGone: gone,
    rowsChanged: changed,
    columnsChanged: columnsChanged.flatMap((index) => common[index]?.name ?? []),
    withoutValues,
    notCompared: null,
  });
}

/** Indexes in `common` of the columns that differ over the rows of these keys. */
async function findChangedColumns(
  sides: Sides,
  { table, before, after }: CountedTable,
  keyLength: number,
  keys: readonly bigint[],
): Promise<readonly number[]> {
  const values = [`{${keys.join(',')}}`];
  const sources = { before, after };
  const [was, is] = await onBoth(sides, async (session, side) => {
    const sql = columnSums(sources[side], keyLength);
    const [row] = await session.rows<{ sums: readonly string[] }>('Summing up columns', sql, values);
    return row?.sums ?? [];
  });
  return Array.from({ length: table.common.length - keyLength }, (_, index) => index)
    .filter((index) => was[index] !== is[index])
    .map((index) => keyLength + index);
}
