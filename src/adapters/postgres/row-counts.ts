import type { QueryResultRow } from 'pg';
import type { RowCounts, Snapshot } from '../../rollback/model.ts';
import type { TableWrites } from '../../rollback/ports.ts';
import { qualified, quoteText } from './identifiers.ts';
import type { Statements } from './session.ts';

/** Tables with storage of their own, outside the system's schemas: partitions, not their parents; no views. */
const userTables = `
  SELECT n.nspname AS schema, c.relname AS name
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_toast'
  ORDER BY 1, 2`;

interface Table {
  readonly key: string;
  readonly sql: string;
}

/** Large objects live in the system's own tables, and are an application's data all the same. */
export const largeObjects: Table = {
  key: 'pg_catalog.pg_largeobject_metadata',
  sql: 'ONLY pg_catalog.pg_largeobject_metadata',
};
export const largeObjectPages: Table = { key: 'pg_catalog.pg_largeobject', sql: 'ONLY pg_catalog.pg_largeobject' };

async function tablesOf(session: Statements): Promise<readonly Table[]> {
  const rows = await session.rows<{ schema: string; name: string }>('Listing the tables', userTables);
  return rows.map(({ schema, name }) => ({ key: `${schema}.${name}`, sql: `ONLY ${qualified(schema, name)}` }));
}

/** Statements of some size each, so that a thousand tables are neither a thousand round trips nor one endless plan. */
const tablesPerStatement = 100;

/** The rows of all of them, which have the same columns. `before` is called before each statement: where it throws, no more are run. */
export async function rowsOfAll<Row extends QueryResultRow>(
  session: Statements,
  doing: string,
  selects: readonly string[],
  before: () => void = () => undefined,
): Promise<Row[]> {
  const all: Row[] = [];
  for (let index = 0; index < selects.length; index += tablesPerStatement) {
    before();
    const some = selects.slice(index, index + tablesPerStatement);
    all.push(...(await session.rows<Row>(doing, some.join('\nUNION ALL\n'))));
  }
  return all;
}

const perTable = <Row extends { key: string }>(
  session: Statements,
  doing: string,
  tables: readonly Table[],
  columns: string,
): Promise<Row[]> =>
  rowsOfAll<Row>(
    session,
    doing,
    tables.map(({ key, sql }) => `SELECT ${quoteText(key)} AS key, ${columns} FROM ${sql}`),
  );

/** Exact counts, in whatever snapshot the session is in. Large objects are counted where there are any. */
export async function countRows(session: Statements): Promise<RowCounts> {
  const rows = await perTable<{ key: string; count: string }>(
    session,
    'Counting rows',
    [...(await tablesOf(session)), largeObjects],
    'count(*) AS count',
  );
  return Object.fromEntries(
    rows
      .filter(({ key, count }) => key !== largeObjects.key || count !== '0')
      .map(({ key, count }) => [key, Number(count)]),
  );
}

/*
 * How writes are found. Every row carries in xmin the transaction that made this version of it. Against a snapshot:
 *
 * - An insert or an update makes a version whose xmin is that of a transaction not visible in the snapshot: either it
 *   began after (xmin >= the snapshot's xmax), or it was under way (it is in the list).
 * - A delete or a truncate makes none, but the count falls; and if rows were inserted to make up for it, those are new
 *   versions. So nothing is missed: without a new version and without a difference in the count, nobody wrote.
 * - A lock (SELECT FOR UPDATE), a vacuum, an analyze set other fields, and are no writes. What was rolled back is
 *   neither counted nor seen.
 *
 * Ids are 32 bits wide and wrap around, so they are compared by age(), which is relative to the present. A negative age
 * is that of a row frozen so long ago that its id seems to lie ahead: no visible row is from the future.
 */

/** Ids of ages beyond this have wrapped around: then nothing can be told any more, and everything counts as written. */
const oldestComparableAge = 2_000_000_000n;

/**
 * Beyond so many ids between the oldest transaction under way and the newest, its subtransactions are not looked for:
 * each costs about a microsecond. (A transaction that writes, in this or another database, would have to be open for
 * hours, and an update of its subtransaction's be committed between a backup and the change.)
 */
const mostIdsLookedAt = 2_000_000n;

/** 32 bits of it are in xmin. */
const asXid = (id: string): string => `${BigInt(id) & 0xffff_ffffn}`;

interface Position {
  /** The first id not yet given out, and those below it that are under way: subtransactions too. */
  readonly next: bigint;
  readonly underWay: readonly string[];
}

/**
 * Which transactions are under way, for `takeSnapshot`. To be read before its transaction begins: a snapshot lists
 * top-level ids only, and what is under way can be told of the present alone.
 */
export async function readPosition(session: Statements): Promise<Position> {
  const [row] = await session.rows<{ next: string; under_way: string[] }>(
    'Reading the transactions under way',
    `SELECT pg_snapshot_xmax(s)::text AS next, ARRAY(
       SELECT id::text FROM generate_series(oldest, CASE WHEN next - oldest <= $1 THEN next - 1 ELSE oldest - 1 END) id
       WHERE pg_xact_status(id::text::xid8) = 'in progress') AS under_way
     FROM pg_current_snapshot() s, LATERAL (SELECT pg_snapshot_xmin(s)::text::int8 AS oldest, pg_snapshot_xmax(s)::text::int8 AS next) AS ids`,
    [mostIdsLookedAt],
  );
  if (!row) throw new Error('pg_current_snapshot() gave nothing');
  return { next: BigInt(row.next), underWay: row.under_way };
}

/** The snapshot that the session's transaction is in, with the counts that it sees. */
export async function takeSnapshot(session: Statements, before: Position): Promise<Snapshot> {
  const [row] = await session.rows<{ xmin: string; xmax: string; xip: string[] }>(
    'Reading the snapshot',
    `SELECT pg_snapshot_xmin(s)::text AS xmin, pg_snapshot_xmax(s)::text AS xmax, ARRAY(SELECT x::text FROM pg_snapshot_xip(s) x) AS xip
     FROM pg_current_snapshot() s`,
  );
  if (!row) throw new Error('pg_current_snapshot() gave nothing');
  const oldest = BigInt(row.xmin);
  const xmax = BigInt(row.xmax);
  // Given out since `before` was read: whether each had ended at the snapshot is not known, so it counts as under way.
  const since: string[] = [];
  for (let id = before.next > oldest ? before.next : oldest; id < xmax; id += 1n) since.push(`${id}`);
  const underWay = before.underWay.filter((id) => BigInt(id) >= oldest);
  return {
    xmax: row.xmax,
    inProgress: [...new Set([...row.xip, ...underWay, ...since])],
    rowCounts: await countRows(session),
  };
}

/** Tables that somebody wrote to, made or dropped since the snapshot. The session is in a snapshot of its own. */
export async function findWrites(session: Statements, then: Snapshot): Promise<readonly TableWrites[]> {
  const tables = [...(await tablesOf(session)), ...(await largeObjectTables(session))];
  const columns = `count(*) AS count, count(*) FILTER (WHERE ${await isNewer(session, then)}) AS written`;
  const rows = await perTable<{ key: string; count: string; written: string }>(
    session,
    'Looking for writes',
    tables,
    columns,
  );
  const found = new Map(
    rows.map(({ key, count, written }) => [key, { countNow: Number(count), written: Number(written) }]),
  );

  return [...new Set([...Object.keys(then.rowCounts), ...found.keys()])].flatMap((table): readonly TableWrites[] => {
    const now = found.get(table);
    // Pages are no rows of the user's: their number was not kept, and each that was written is new.
    const countBefore =
      table === largeObjectPages.key
        ? now?.countNow
        : (then.rowCounts[table] ?? (table === largeObjects.key ? 0 : undefined));
    // Made or dropped since, be it empty: somebody was there.
    const isSame = now !== undefined && now.countNow === countBefore && now.written === 0;
    return isSame
      ? []
      : [{ table, written: now?.written ?? 0, countBefore: countBefore ?? 0, countNow: now?.countNow ?? 0 }];
  });
}

/** A condition on a row: its transaction was not visible in the snapshot. Holds within the session's transaction. */
async function isNewer(session: Statements, then: Snapshot): Promise<string> {
  const [row] = await session.rows<{ next: string; age: string }>(
    'Reading the present transaction',
    'SELECT pg_snapshot_xmax(s)::text AS next, age(xid(pg_snapshot_xmax(s))) AS age FROM pg_current_snapshot() s',
  );
  if (!row) throw new Error('pg_current_snapshot() gave nothing');
  const oldest = [...then.inProgress, then.xmax].map(BigInt).reduce((least, id) => (id < least ? id : least));
  const ageOf = (id: bigint): bigint => BigInt(row.age) + BigInt(row.next) - id;
  if (ageOf(oldest) > oldestComparableAge) return 'true';
  const began = `age(xmin) BETWEEN 0 AND ${ageOf(BigInt(then.xmax))}`;
  if (then.inProgress.length === 0) return began;
  return `${began} OR (age(xmin) BETWEEN 0 AND ${ageOf(oldest)} AND xmin = ANY ('{${then.inProgress.map(asXid).join(',')}}'::xid[]))`;
}

/** An object's content is in pages of their own, which superusers and pg_read_all_data may read. */
export async function mayReadPages(session: Statements): Promise<boolean> {
  const [row] = await session.rows<{ readable: boolean }>(
    'Reading a right',
    `SELECT has_table_privilege('pg_largeobject', 'SELECT') AS readable`,
  );
  return row?.readable === true;
}

const largeObjectTables = async (session: Statements): Promise<readonly Table[]> =>
  (await mayReadPages(session)) ? [largeObjects, largeObjectPages] : [largeObjects];
