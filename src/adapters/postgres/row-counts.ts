import type { RowCounts, Snapshot } from '../../rollback/model.ts';
import type { TableWrites } from '../../rollback/ports.ts';
import { qualified, quoteText } from './identifiers.ts';
import type { Statements } from './session.ts';

/** Large objects live in one table of the system's, and are an application's data all the same. */
const largeObjects = 'pg_catalog.pg_largeobject';

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

async function tablesOf(session: Statements): Promise<readonly Table[]> {
  const rows = await session.rows<{ schema: string; name: string }>('Listing the tables', userTables);
  return rows.map(({ schema, name }) => ({ key: `${schema}.${name}`, sql: qualified(schema, name) }));
}

/** Statements of some size each, so that a thousand tables are neither a thousand round trips nor one endless plan. */
const tablesPerStatement = 100;

async function perTable<Row extends { key: string }>(session: Statements, doing: string, tables: readonly Table[], columns: string): Promise<Row[]> {
  const all: Row[] = [];
  for (let index = 0; index < tables.length; index += tablesPerStatement) {
    const selects = tables.slice(index, index + tablesPerStatement).map(({ key, sql }) => `SELECT ${quoteText(key)} AS key, ${columns} FROM ONLY ${sql}`);
    all.push(...(await session.rows<Row>(doing, selects.join('\nUNION ALL\n'))));
  }
  return all;
}

/** Exact counts, in whatever snapshot the session is in. */
export async function countRows(session: Statements): Promise<RowCounts> {
  const rows = await perTable<{ key: string; count: string }>(session, 'Counting rows', await tablesOf(session), 'count(*) AS count');
  return Object.fromEntries(rows.map(({ key, count }) => [key, Number(count)]));
}

/*
 * How writes are found. Every row carries in xmin the transaction that made this version of it. Against a snapshot:
 *
 * - An insert or an update makes a version whose xmin is that of a transaction not visible in the snapshot: either
 *   begun after it (xmin >= its xmax), or under way at it (xmin between its xmin and its xmax).
 * - A delete or a truncate makes none, but the count falls; and if rows were inserted to make up for it, those are new
 *   versions. So writes are missed only if no version is new and no count differs, which is to say: if there are none.
 * - A lock (SELECT FOR UPDATE), a vacuum, an analyze sets other fields, and is no write. What was rolled back is not
 *   seen by count(*), nor are its versions.
 *
 * Between the snapshot's xmin and xmax lie transactions that had ended and some that had not; which is which can't be
 * told afterwards for subtransactions (the snapshot lists top-level ids only). So a fingerprint of those few rows (where
 * each is and who made it) is taken with the snapshot, and must still be the same.
 *
 * Ids are 32 bits wide and wrap around, so they are compared by age(), which is relative to the present. A negative age is
 * that of a row frozen so long ago that its id seems to lie ahead: no visible row is from the future.
 */

/** Rows not older than the age `limit`: made by transactions that began at or after the one of that age. */
const since = (limit: bigint): string => `age(xmin) BETWEEN 0 AND ${limit}`;
const fingerprint = 'sum(hash_record_extended(ROW(ctid, xmin), 0))';

/** Ids of ages beyond this have wrapped around: then nothing can be told any more, and everything counts as written. */
const oldestComparableAge = 2_000_000_000n;

/** The ages now, within this transaction, of a snapshot's oldest transaction under way and of the first that came after it. */
async function agesOf(session: Statements, snapshot: Pick<Snapshot, 'xmax' | 'inProgress'>): Promise<{ readonly oldest: bigint; readonly after: bigint } | null> {
  const xmax = BigInt(snapshot.xmax);
  const oldest = snapshot.inProgress.map(BigInt).reduce((least, id) => (id < least ? id : least), xmax);
  const [row] = await session.rows<{ now: string; age: string }>(
    'Reading the present transaction',
    'SELECT pg_snapshot_xmax(pg_current_snapshot())::text AS now, age(xid(pg_snapshot_xmax(pg_current_snapshot()))) AS age',
  );
  if (!row) throw new Error('pg_current_snapshot() gave nothing');
  const distance = BigInt(row.now) - oldest;
  if (distance > oldestComparableAge) return null;
  const present = BigInt(row.age);
  return { oldest: present + distance, after: present + BigInt(row.now) - xmax };
}

/** Large objects can be read table-wise by superusers only; others' roles own none of the system's. */
async function withLargeObjects(session: Statements, tables: readonly Table[]): Promise<readonly Table[]> {
  const [row] = await session.rows<{ readable: boolean }>('Reading a right', `SELECT has_table_privilege('pg_largeobject', 'SELECT') AS readable`);
  return row?.readable ? [...tables, { key: largeObjects, sql: largeObjects }] : tables;
}

/** The snapshot that the session's transaction is in, with the counts that it sees. */
export async function takeSnapshot(session: Statements): Promise<Snapshot> {
  const [row] = await session.rows<{ xmax: string; xip: string[] }>(
    'Reading the snapshot',
    'SELECT pg_snapshot_xmax(s)::text AS xmax, ARRAY(SELECT x::text FROM pg_snapshot_xip(s) x) AS xip FROM pg_current_snapshot() s',
  );
  if (!row) throw new Error('pg_current_snapshot() gave nothing');
  const identity = { xmax: row.xmax, inProgress: row.xip };
  const ages = await agesOf(session, identity);
  if (!ages) throw new Error('A snapshot is older than its own transaction');
  const tables = await withLargeObjects(session, await tablesOf(session));
  const rows = await perTable<{ key: string; count: string; recent: string | null }>(
    session,
    'Counting rows',
    tables,
    `count(*) AS count, ${fingerprint} FILTER (WHERE ${since(ages.oldest)})::text AS recent`,
  );
  const recent = rows.flatMap(({ key, count, recent: mark }) =>
    key === largeObjects ? [[key, `${count}:${mark ?? ''}`] as const] : mark === null ? [] : [[key, mark] as const],
  );
  return {
    ...identity,
    rowCounts: Object.fromEntries(rows.filter(({ key }) => key !== largeObjects).map(({ key, count }) => [key, Number(count)])),
    recent: Object.fromEntries(recent),
  };
}

/** Tables that somebody wrote to, made or dropped since the snapshot. The session is in a snapshot of its own. */
export async function findWrites(session: Statements, then: Snapshot): Promise<readonly TableWrites[]> {
  const ages = await agesOf(session, then);
  const marks = then.recent ?? {};
  const tables = await tablesOf(session);
  const looked = marks[largeObjects] === undefined ? tables : await withLargeObjects(session, tables);
  const rows = await perTable<{ key: string; count: string; written: string; recent: string | null }>(
    session,
    'Looking for writes',
    looked,
    ages === null
      ? 'count(*) AS count, count(*) AS written, NULL AS recent'
      : `count(*) AS count, count(*) FILTER (WHERE ${since(ages.after)}) AS written,
         ${fingerprint} FILTER (WHERE (${since(ages.oldest)}) AND NOT (${since(ages.after)}))::text AS recent`,
  );
  const writes = rows.flatMap((row): readonly TableWrites[] => {
    const countNow = Number(row.count);
    const written = Number(row.written);
    if (row.key === largeObjects) {
      const before = marks[largeObjects] ?? '';
      const countBefore = Number(before.split(':')[0]);
      return written === 0 && `${row.count}:${row.recent ?? ''}` === before ? [] : [{ table: row.key, written, countBefore, countNow }];
    }
    const countBefore = then.rowCounts[row.key];
    const same = countBefore === countNow && written === 0 && (row.recent ?? null) === (marks[row.key] ?? null);
    return same ? [] : [{ table: row.key, written, countBefore: countBefore ?? 0, countNow }];
  });
  const present = new Set(rows.map(({ key }) => key));
  const dropped = Object.entries(then.rowCounts)
    .filter(([key]) => !present.has(key))
    .map(([table, countBefore]): TableWrites => ({ table, written: 0, countBefore, countNow: 0 }));
  return [...writes, ...dropped];
}
