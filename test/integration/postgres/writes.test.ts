import { join } from 'node:path';

import { describe, expect, test } from '@jest/globals';
import pg from 'pg';

import { createDatabase, majors, query, type TestDatabase } from '../../support/postgres.ts';
import { open, silent, temporaryFolder } from './open.ts';

const setUp = `
  CREATE TABLE t (i int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'v' FROM generate_series(1, 100) i;
  CREATE TABLE u (i int); INSERT INTO u VALUES (1);
  CREATE TABLE p (i int) PARTITION BY LIST (i); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
  CREATE TABLE e (); CREATE SEQUENCE s;`;

async function session(database: TestDatabase): Promise<pg.Client & AsyncDisposable> {
  const client = new pg.Client({ connectionString: database.url });
  await client.connect();
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() });
}

describe.each(majors)('PostgreSQL %i: since a dump', (major) => {
  test.each([
    ['an insert', 'INSERT INTO t VALUES (1000)', { table: 'public.t', written: 1, countBefore: 100, countNow: 101 }],
    [
      'an update',
      "UPDATE t SET v = 'w' WHERE i <= 2",
      { table: 'public.t', written: 2, countBefore: 100, countNow: 100 },
    ],
    [
      'an update that changes nothing',
      'UPDATE t SET v = v WHERE i = 1',
      { table: 'public.t', written: 1, countBefore: 100, countNow: 100 },
    ],
    ['a delete', 'DELETE FROM t WHERE i = 1', { table: 'public.t', written: 0, countBefore: 100, countNow: 99 }],
    [
      'a delete made up for by an insert',
      "DELETE FROM t WHERE i = 1; INSERT INTO t VALUES (1, 'v')",
      { table: 'public.t', written: 1, countBefore: 100, countNow: 100 },
    ],
    ['a truncate', 'TRUNCATE t', { table: 'public.t', written: 0, countBefore: 100, countNow: 0 }],
    [
      'a write in a partition',
      'INSERT INTO p VALUES (1)',
      { table: 'public.p1', written: 1, countBefore: 0, countNow: 1 },
    ],
    [
      'a write in a subtransaction',
      'BEGIN; SAVEPOINT a; UPDATE u SET i = 2; RELEASE a; COMMIT',
      { table: 'public.u', written: 1, countBefore: 1, countNow: 1 },
    ],
    ['a new table', 'CREATE TABLE n (i int)', { table: 'public.n', written: 0, countBefore: 0, countNow: 0 }],
    ['a dropped table', 'DROP TABLE e', { table: 'public.e', written: 0, countBefore: 0, countNow: 0 }],
    [
      'a large object',
      "SELECT lo_from_bytea(0, 'x')",
      { table: 'pg_catalog.pg_largeobject_metadata', written: 1, countBefore: 0, countNow: 1 },
    ],
  ])('%s is found', async (_, sql, expected) => {
    await using database = await createDatabase(major, { sql: setUp });
    await using folder = await temporaryFolder();
    await using live = await open(database);
    const { snapshot } = await live.dump({ kind: 'path', path: join(folder.path, 'dump') }, silent);
    expect(await live.writesSince(snapshot)).toEqual([]);
    await query(database.url, sql);
    expect(await live.writesSince(JSON.parse(JSON.stringify(snapshot)) as typeof snapshot)).toEqual([expected]);
  });

  test('a lock, a vacuum, an analyze, a rolled back write, a sequence and another database are no writes', async () => {
    await using database = await createDatabase(major, { sql: setUp });
    await using other = await createDatabase(major, { sql: setUp });
    await using folder = await temporaryFolder();
    await using live = await open(database);
    const { snapshot } = await live.dump({ kind: 'path', path: join(folder.path, 'dump') }, silent);
    await query(
      database.url,
      "BEGIN; SELECT * FROM t FOR UPDATE; COMMIT; BEGIN; DELETE FROM t; ROLLBACK; SELECT nextval('s')",
    );
    await query(database.url, 'VACUUM t');
    await query(database.url, 'VACUUM FREEZE u');
    await query(database.url, 'ANALYZE');
    await query(other.url, "UPDATE t SET v = 'w'");
    expect(await live.writesSince(snapshot)).toEqual([]);
  });

  test('what was under way at the dump is found once it commits, in a subtransaction too', async () => {
    await using database = await createDatabase(major, { sql: setUp });
    await using folder = await temporaryFolder();
    await using live = await open(database);
    await using top = await session(database);
    await using sub = await session(database);
    await top.query("BEGIN; UPDATE t SET v = 'w' WHERE i = 1");
    // The outer transaction writes first, so that the savepoint's id is another than its.
    await sub.query('BEGIN; SELECT pg_current_xact_id(); SAVEPOINT a; UPDATE u SET i = 2; RELEASE a');
    // A younger one that commits before the dump keeps the ids of both below the snapshot's end.
    await query(database.url, 'INSERT INTO p VALUES (1)');
    const { snapshot } = await live.dump({ kind: 'path', path: join(folder.path, 'dump') }, silent);
    expect(await live.writesSince(snapshot)).toEqual([]);
    await sub.query('COMMIT');
    expect((await live.writesSince(snapshot)).map(({ table }) => table)).toEqual(['public.u']);
    await top.query('COMMIT');
    expect((await live.writesSince(snapshot)).map(({ table }) => table)).toEqual(['public.t', 'public.u']);
  });

  test('the counts, revisions and properties are those of the very moment of the dump', async () => {
    await using database = await createDatabase(major, { sql: setUp });
    await using folder = await temporaryFolder();
    await using live = await open(database);
    await using writer = await session(database);
    let running = true;
    const writing = (async () => {
      for (let i = 1000; running; i += 1) await writer.query('INSERT INTO t VALUES ($1)', [i]);
    })();
    const dump = await live.dump({ kind: 'path', path: join(folder.path, 'dump') }, silent);
    running = false;
    await writing;
    const into = await live.newDatabase('restored', 'moment');
    await live.createDatabase(into, dump.properties);
    await live.restoreInto(
      into,
      { place: { kind: 'path', path: join(folder.path, 'dump') }, format: 'directory' },
      silent,
    );
    expect((await live.contents(into)).rowCounts).toEqual(dump.snapshot.rowCounts);
    expect(dump.revisions).toBeNull();
  });
});
