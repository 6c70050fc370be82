/** Kinds of tables, columns and values. */
import { expect } from '@jest/globals';
import pg from 'pg';

import { describeInTurn } from '../../support/in-turn.ts';
import { createDatabase, query } from '../../support/postgres.ts';
import { copy, loses, none, rehearse, restoreScratch, within } from './rehearse.ts';
import { failureOf, open, silent } from '../../integration/postgres/open.ts';

const values: readonly (readonly [type: string, was: string, is: string])[] = [
  ['bool', 'true', 'false'],
  ['float8', "'NaN'", "'Infinity'"],
  ['float8', "'-0'", "'0'"],
  ['float8', '0.1', '0.1 + 1e-17 * 2'],
  ['numeric', "'NaN'", "'-Infinity'"],
  ['numeric', '1.0', '1.00'],
  ['char(3)', "'a'", "'b'"],
  ['text', "''", 'NULL'],
  ['text', "'NULL'", 'NULL'],
  ['text', "U&'\\00e9'", "U&'e\\0301'"],
  ['text', "'a, b'", "'a,b'"],
  ['sorted', "'A'", "'a'"],
  ['date', "'infinity'", "'-infinity'"],
  ['timestamptz', "'2024-03-31 01:00+00'", "'2024-03-31 01:00+01'"],
  ['interval', "'1 day'", "'24 hours'"],
  ['json', '\'{"a": 1, "a": 2}\'', '\'{"a": 2}\''],
  ['jsonb', "'1'", '\'"1"\''],
  ['bytea', "'\\x00'", "'\\x0000'"],
  ['point', "'(1,2)'", "'(2,1)'"],
  ['int4range', "'[1,2)'", "'empty'"],
  ['int4multirange', "'{[1,2)}'", "'{}'"],
  ['mood', "'glad'", "'sad'"],
  ['mood[]', "'{glad}'", "'{glad,NULL}'"],
  ['text[]', "'{NULL}'", '\'{"NULL"}\''],
  ['int[]', "'[2:2]={1}'", "'{1}'"],
  ['positive', '1', '2'],
  ['pair', "ROW(1, 'x')", "ROW(1, 'y')"],
  ['pair', 'NULL', 'ROW(NULL, NULL)'],
  ['uuid', "'00000000-0000-0000-0000-000000000001'", "'00000000-0000-0000-0000-000000000002'"],
  ['inet', "'10.0.0.1/8'", "'10.0.0.1'"],
  ['bit varying', "B'0'", "B'00'"],
  ['tsvector', "'a:1'", "'a'"],
  ['oid', '1', '2'],
  ['money', '1', '2'],
];

/** `odd`: of another order than bytes have, where the server has such a one. */
const oddCollation = `DO $$ BEGIN EXECUTE format('CREATE COLLATION odd FROM %I', coalesce((SELECT collname FROM pg_collation
  WHERE collprovider = 'c' AND collname NOT IN ('C', 'POSIX') AND collencoding IN (-1, 6) ORDER BY collname DESC LIMIT 1), 'C')); END $$;`;

describeInTurn('by its kind', (major, testOnce) => {
  testOnce('a value of any type that changes is told, and one that does not is not', async () => {
    const column = (index: number): string => `"C ""${index}"`;
    const sql = `CREATE TYPE mood AS ENUM ('glad', 'sad'); CREATE DOMAIN positive AS int CHECK (VALUE > 0);
      ${oddCollation}
      CREATE DOMAIN sorted AS text COLLATE odd; CREATE TYPE pair AS (i int, t text);
      CREATE TABLE t (k int PRIMARY KEY, ${values.map(([type], index) => `${column(index)} ${type}`).join(', ')});
      INSERT INTO t VALUES ${[1, 2].map((key) => `(${[key, ...values.map(([, was]) => was)].join(', ')})`).join(', ')}`;
    const everything = {
      tables: [loses('public.t', 2, { rowsChanged: 1, columnsChanged: values.map((_, index) => `C "${index}`) })],
      moreTables: 0,
      rows: 1,
    };
    const change = `UPDATE t SET ${values.map(([, , is], index) => `${column(index)} = ${is}`).join(', ')} WHERE k = 1`;
    const rewritten = 'CREATE TABLE u AS SELECT * FROM t; TRUNCATE t; INSERT INTO t SELECT * FROM u; DROP TABLE u';
    for (const how of ['copy', 'apart'] as const) {
      expect(await rehearse({ major, sql, change, how })).toEqual(everything);
      expect(await rehearse({ major, sql, change: rewritten, how })).toEqual(none);
    }
  });

  testOnce.each([
    ['an enum label', "ALTER TYPE mood RENAME VALUE 'glad' TO 'happy'", ['m', 'c']],
    ['an attribute of a composite type', 'ALTER TYPE pair DROP ATTRIBUTE i', ['p', 'c']],
    ['a column of a table whose rows are values elsewhere', 'ALTER TABLE r DROP COLUMN i', ['r']],
  ])('values change with %s, without a write', async (_, change, columnsChanged) => {
    const sql = `CREATE TYPE mood AS ENUM ('glad'); CREATE TYPE pair AS (i int, t mood); CREATE TABLE r (i int, j int);
      CREATE TABLE t (k int PRIMARY KEY, m mood, p pair, c pair[], r r); INSERT INTO t VALUES (1, 'glad', '(1,)', '{"(1,glad)"}', '(1,2)')`;
    expect(await rehearse({ major, sql, change })).toEqual({
      tables: [loses('public.t', 1, { rowsChanged: 1, columnsChanged })],
      moreTables: 0,
      rows: 1,
    });
  });

  testOnce.each([
    ['numeric', '1.5', 'int', 'b::int', 1],
    ['numeric', '2', 'int', 'b::int', 0],
    ['numeric(10,2)', '1.50', 'numeric(12,4)', 'b', 0],
    ['real', '0.1', 'float8', 'b', 0],
    ['float8', '0.123456789', 'real', 'b', 1],
    ['timestamp', "'2024-01-01'", 'timestamptz', "b AT TIME ZONE 'UTC'", 0],
    ['timestamp', "'2024-01-01'", 'timestamptz', "b AT TIME ZONE 'America/New_York'", 1],
    ['date', "'2024-01-01'", 'timestamp', 'b', 0],
    ['timestamp', "'2024-01-01 10:00'", 'date', 'b::date', 1],
    ['varchar(5)', "'abcde'", 'varchar(3)', 'left(b, 3)', 1],
    ['varchar(5)', "'abc'", 'varchar(3)', 'b', 0],
    ['int', '-1', 'oid', 'b::oid', 1],
  ])('from %s (%s) to %s USING %s, %i rows change', async (type, value, to, using, rows) => {
    const { rows: lost, tables } = await rehearse({
      major,
      sql: `CREATE TABLE t (k int PRIMARY KEY, b ${type}); INSERT INTO t VALUES (1, ${value}), (2, NULL)`,
      change: `ALTER TABLE t ALTER b TYPE ${to} USING ${using}`,
    });
    expect([lost, tables]).toEqual([
      rows,
      rows === 0 ? [] : [loses('public.t', 2, { rowsChanged: rows, columnsChanged: ['b'] })],
    ]);
  });

  testOnce('what is generated or an identity is no loss by itself', async () => {
    const sql = `CREATE TABLE t (k int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int, s int GENERATED ALWAYS AS (a + 1) STORED,
        x int GENERATED ALWAYS AS (a * 2) STORED ${major >= 18 ? ', v int GENERATED ALWAYS AS (a * 3) VIRTUAL' : ''});
      INSERT INTO t (a) VALUES (1), (2)`;
    const change =
      'ALTER TABLE t DROP s; ALTER TABLE t DROP x; ALTER TABLE t ADD x int GENERATED ALWAYS AS (a * 5) STORED';
    for (const how of ['copy', 'apart'] as const) expect(await rehearse({ major, sql, change, how })).toEqual(none);
    expect(await rehearse({ major, sql, change: `${change}; UPDATE t SET a = 3 WHERE k = 1` })).toMatchObject({
      tables: [{ columnsChanged: ['a'], rowsChanged: 1 }],
      rows: 1,
    });
  });

  const parts = `CREATE TABLE p (i int, v text) PARTITION BY RANGE (i); CREATE TABLE p1 (gone int, v text, i int); ALTER TABLE p1 DROP gone;
    ALTER TABLE p ATTACH PARTITION p1 FOR VALUES FROM (0) TO (10); CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20) PARTITION BY LIST (i);
    CREATE TABLE p2a PARTITION OF p2 DEFAULT; CREATE TABLE q (i int NOT NULL, v text); INSERT INTO q VALUES (25, 'q'), (26, 'q');
    INSERT INTO p SELECT i, 'v' || i FROM generate_series(0, 14) i;`;
  const alwaysHarmless = [
    ['a detached partition', 'ALTER TABLE p DETACH PARTITION p1'],
    [
      'a split partition',
      `CREATE TABLE n (LIKE p); INSERT INTO n SELECT i, v FROM p1; DROP TABLE p1; CREATE TABLE p1a PARTITION OF p FOR VALUES FROM (0) TO (5);
       CREATE TABLE p1b PARTITION OF p FOR VALUES FROM (5) TO (10); INSERT INTO p SELECT * FROM n`,
    ],
    [
      'a table that becomes a partitioned one',
      `ALTER TABLE q RENAME TO q0; CREATE TABLE q (v text, i int) PARTITION BY LIST (i); CREATE TABLE q1 PARTITION OF q DEFAULT;
       INSERT INTO q SELECT v, i FROM q0; DROP TABLE q0`,
    ],
  ] as const;
  const harmlessByOid = [
    [
      'a detached partition that is renamed',
      'ALTER TABLE p DETACH PARTITION p1; ALTER TABLE p1 RENAME TO z; ALTER TABLE z RENAME v TO w',
    ],
    ['an attached partition', 'ALTER TABLE p ATTACH PARTITION q FOR VALUES FROM (20) TO (30)'],
    ['renamed columns of a partitioned table', 'ALTER TABLE p RENAME i TO j; ALTER TABLE p RENAME v TO i'],
    [
      'renamed columns of a partitioned table with a new partition',
      `ALTER TABLE p RENAME i TO j; ALTER TABLE p RENAME v TO i; ALTER TABLE p DETACH PARTITION p2; CREATE TABLE n (i text, x int, j int);
       ALTER TABLE n DROP x; INSERT INTO n (j, i) SELECT j, i FROM p2; DROP TABLE p2; ALTER TABLE p ATTACH PARTITION n FOR VALUES FROM (10) TO (20)`,
    ],
  ] as const;
  testOnce.each([...alwaysHarmless, ...harmlessByOid])('partitions: %s loses nothing in a copy', async (_, change) => {
    expect(await rehearse({ major, sql: parts, change })).toEqual(none);
  });
  testOnce.each(alwaysHarmless)('partitions: %s loses nothing of an older state', async (_, change) => {
    expect(await rehearse({ major, sql: parts, change, how: 'apart' })).toEqual(none);
  });
  testOnce.each([
    ['a dropped partition', 'DROP TABLE p1', { rowsGone: 10 }],
    ['all partitions', 'DROP TABLE p1; DROP TABLE p2', { rowsGone: 15 }],
    ['the whole table', 'DROP TABLE p', { gone: true, rowsGone: 15 }],
    ['a row of a detached partition', 'ALTER TABLE p DETACH PARTITION p1; DELETE FROM p1 WHERE i = 3', { rowsGone: 1 }],
    ['a column', 'ALTER TABLE p DROP v', { columnsGone: [{ column: 'v', values: 15 }] }],
  ] as const)('partitions: %s is told', async (_, change, loss) => {
    for (const how of ['copy', 'apart'] as const)
      expect(await rehearse({ major, sql: parts, change, how })).toMatchObject({
        tables: [loses('public.p', 15, loss)],
        moreTables: 0,
      });
  });

  testOnce('a partition that was moved into another table loses what is lost there', async () => {
    const change = 'ALTER TABLE p ATTACH PARTITION q FOR VALUES FROM (20) TO (30); DELETE FROM p WHERE i IN (1, 25)';
    expect(await rehearse({ major, sql: parts, change })).toEqual({
      tables: [loses('public.p', 15, { rowsGone: 1 }), loses('public.q', 2, { rowsGone: 1 })],
      moreTables: 0,
      rows: 2,
    });
  });

  testOnce('tables that inherit are told by themselves', async () => {
    const sql = `CREATE TABLE a (i int PRIMARY KEY, v text); CREATE TABLE b (w text) INHERITS (a);
      INSERT INTO a VALUES (1, 'a'); INSERT INTO b VALUES (1, 'b', 'w'), (2, 'b', 'w')`;
    expect(await rehearse({ major, sql, change: 'DELETE FROM ONLY a; DELETE FROM b WHERE i = 2' })).toEqual({
      tables: [loses('public.a', 1, { rowsGone: 1 }), loses('public.b', 2, { rowsGone: 1 })],
      moreTables: 0,
      rows: 2,
    });
  });

  testOnce('without a key, each of several equal rows counts', async () => {
    const sql = `CREATE TABLE t (a int, b int); INSERT INTO t SELECT 1, 1 FROM generate_series(1, 5); INSERT INTO t VALUES (1, NULL), (NULL, 1), (NULL, NULL);
      CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES; INSERT INTO nothing DEFAULT VALUES`;
    const change = `DELETE FROM t WHERE ctid IN (SELECT ctid FROM t WHERE a = 1 AND b = 1 LIMIT 2); UPDATE t SET b = 2 WHERE a IS NULL AND b IS NULL;
      DELETE FROM nothing WHERE ctid IN (SELECT ctid FROM nothing LIMIT 1)`;
    for (const how of ['copy', 'apart'] as const)
      expect(await rehearse({ major, sql, change, how })).toEqual({
        tables: [loses('public.t', 8, { rowsGone: 3 }), loses('public.nothing', 2, { rowsGone: 1 })],
        moreTables: 0,
        rows: 4,
      });
  });

  testOnce('a key of several columns, in collations of different order, and of odd names', async () => {
    const name = 'é'.repeat(31);
    const sql = `CREATE SCHEMA "S ""."; ${oddCollation}
      CREATE TABLE "S "".".${name} ("K'1" text COLLATE odd, "k.2" text COLLATE "C", "g""" int GENERATED ALWAYS AS (1) STORED, "V V" int, PRIMARY KEY ("K'1", "k.2"));
      INSERT INTO "S "".".${name} VALUES ('a', 'x', DEFAULT, 1), ('B', 'x', DEFAULT, 2), ('a', E'\\U0001F984', DEFAULT, 3), ('a', '｡', DEFAULT, 4), ('a', '', DEFAULT, 5)`;
    const change = `UPDATE "S "".".${name} SET "V V" = 0 WHERE "k.2" IN (E'\\U0001F984', 'x') AND "K'1" = 'a'; UPDATE "S "".".${name} SET "K'1" = 'b' WHERE "K'1" = 'B'; DELETE FROM "S "".".${name} WHERE "k.2" = ''`;
    expect(await rehearse({ major, sql, change })).toEqual({
      tables: [loses(`S "..${'é'.repeat(31)}`, 5, { rowsGone: 2, rowsChanged: 2, columnsChanged: ['V V'] })],
      moreTables: 0,
      rows: 4,
    });
  });

  testOnce('a policy hides no row', async () => {
    const sql = `CREATE TABLE t (i int PRIMARY KEY); INSERT INTO t VALUES (1), (2); ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (i = 2)`;
    expect(await rehearse({ major, sql, change: 'DELETE FROM t WHERE i = 1', as: 'admin' })).toEqual({
      tables: [loses('public.t', 2, { rowsGone: 1 })],
      moreTables: 0,
      rows: 1,
    });
  });

  testOnce(
    'views, foreign and temporary tables and what an extension made are not compared, unlogged tables are',
    async () => {
      const sql = `CREATE TABLE t AS SELECT 1 AS i; CREATE MATERIALIZED VIEW m AS SELECT * FROM t; CREATE VIEW v AS SELECT * FROM t;
      CREATE UNLOGGED TABLE u AS SELECT 1 AS i; CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE f (i int) SERVER s;
      CREATE TABLE p (i int) PARTITION BY LIST (i); CREATE FOREIGN TABLE p1 PARTITION OF p FOR VALUES IN (1) SERVER s; CREATE TABLE p2 PARTITION OF p DEFAULT; INSERT INTO p VALUES (2)`;
      const change =
        'DROP MATERIALIZED VIEW m; DROP VIEW v; DROP FOREIGN TABLE f; DROP FOREIGN TABLE p1; TRUNCATE u; DELETE FROM p2';
      expect(await rehearse({ major, sql, change: 'SELECT 1', as: 'admin' })).toEqual(none);
      expect(await rehearse({ major, sql, change, as: 'admin' })).toEqual({
        tables: [loses('public.p', 1, { rowsGone: 1 }), loses('public.u', 1, { rowsGone: 1 })],
        moreTables: 0,
        rows: 2,
      });
    },
  );

  testOnce.each(['owner', 'admin'] as const)('large objects, as %s', async (as) => {
    const sql = `SELECT lo_from_bytea(100, 'a'), lo_from_bytea(200, decode(repeat('ab', 5000), 'hex')), lo_from_bytea(300, 'c'), lo_create(400)`;
    const change = `SELECT lo_unlink(100), lo_put(200, 4000, 'x'), lo_put(300, 0, 'c')`;
    for (const how of ['copy', 'apart'] as const) {
      expect(await rehearse({ major, sql, change, how, as })).toEqual({
        tables: [
          loses('pg_catalog.pg_largeobject_metadata', 4, { rowsGone: 1, rowsChanged: 1, columnsChanged: ['data'] }),
        ],
        moreTables: 0,
        rows: 2,
      });
      expect(await rehearse({ major, sql, change: 'SELECT lo_put(300, 0, $$c$$)', how, as })).toEqual(none);
    }
  });

  testOnce('beyond so many rows that may differ nothing is told row by row, and nobody knows the sum', async () => {
    const sql = `CREATE TABLE t (i int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'v' FROM generate_series(1, 20000) i; CREATE TABLE u AS SELECT 1 AS i;`;
    const change = "UPDATE t SET v = 'w'; DELETE FROM t WHERE i = 1; DELETE FROM u";
    expect(await rehearse({ major, sql, change, mostRows: 5000 })).toEqual({
      tables: [
        loses('public.t', 20_000, {
          rowsGone: null,
          rowsChanged: null,
          notCompared: 'it has 20,000 rows, more than the 5,000 that are compared one by one',
        }),
        loses('public.u', 1, { rowsGone: 1 }),
      ],
      moreTables: 0,
      rows: null,
    });
    // What the sums show to be the same needs no comparison, nor does where few of many differ.
    expect(await rehearse({ major, sql, change: 'UPDATE t SET v = v', mostRows: 1 })).toEqual(none);
    expect(await rehearse({ major, sql, change: 'DELETE FROM t WHERE i = 1', mostRows: 5000 })).toMatchObject({
      tables: [{ rowsGone: 1 }],
      rows: 1,
    });
  });

  testOnce('many tables are compared, and the worst 256 are told', async () => {
    const sql = `DO $$ BEGIN FOR i IN 1..300 LOOP EXECUTE format('CREATE TABLE t%s (i int PRIMARY KEY)', i); EXECUTE format('INSERT INTO t%s SELECT generate_series(1, %s)', i, i); END LOOP; END $$`;
    const change = `DO $$ BEGIN FOR i IN 1..300 LOOP EXECUTE format('DELETE FROM t%s', i); END LOOP; END $$`;
    const { tables, moreTables, rows } = await rehearse({ major, sql, change });
    expect({ moreTables, rows, first: tables[0]?.table, last: tables.at(-1)?.table, count: tables.length }).toEqual({
      moreTables: 44,
      rows: (300 * 301) / 2,
      first: 'public.t300',
      last: 'public.t45',
      count: 256,
    });
  });

  testOnce('ten thousand tables take no more locks at once than a server has', async () => {
    await using database = await createDatabase(major);
    await using live = await open(database);
    const before = await restoreScratch(live, database);
    // Not through a dump: that locks all of them at once.
    for (let part = 0; part < 10; part += 1)
      await query(
        within(database, before),
        `DO $$ BEGIN FOR i IN 1..1000 LOOP EXECUTE format('CREATE TABLE t${part}_%s AS SELECT %s AS i', i, i); END LOOP; END $$`,
      );
    const after = await copy(live, before, database);
    await query(within(database, after), 'DELETE FROM t3_7; UPDATE t9_1000 SET i = 1; UPDATE t5_5 SET i = i');
    for (const isCopy of [true, false])
      expect(await live.findLoss(before, after, { isCopy, mostRows: 10 }, silent)).toEqual({
        tables: [loses('public.t3_7', 1, { rowsGone: 1 }), loses('public.t9_1000', 1, { rowsGone: 1 })],
        moreTables: 0,
        rows: 2,
      });
  });

  testOnce('half of many rows that change are told, over several reads', async () => {
    const sql = `CREATE TABLE t (i int PRIMARY KEY, v text, w text); INSERT INTO t SELECT i, 'v', i FROM generate_series(1, 30000) i`;
    const change =
      "UPDATE t SET v = 'w' WHERE i % 2 = 0; DELETE FROM t WHERE i > 29000; INSERT INTO t SELECT i FROM generate_series(40001, 60000) i";
    for (const how of ['copy', 'apart'] as const)
      expect(await rehearse({ major, sql, change, how, mostRows: 100_000 })).toEqual({
        tables: [loses('public.t', 30_000, { rowsGone: 1000, rowsChanged: 14_500, columnsChanged: ['v'] })],
        moreTables: 0,
        rows: 15_500,
      });
  });

  testOnce('tells how many tables are compared of how many', async () => {
    await using database = await createDatabase(major, {
      sql: 'CREATE TABLE a AS SELECT 1 AS i; CREATE TABLE b AS SELECT 1 AS i',
    });
    await using live = await open(database);
    const before = await restoreScratch(live, database);
    const after = await copy(live, before, database);
    const told: unknown[] = [];
    const options = { isCopy: true, mostRows: 10 };
    await live.findLoss(before, after, options, (...progress) => told.push(progress));
    expect(told).toEqual([
      [1, 2, 'compared'],
      [2, 2, 'compared'],
    ]);
    expect(await failureOf(live.findLoss(before, after, options, silent, AbortSignal.abort()))).toMatchObject({
      reason: 'OperationInterrupted',
      kind: 'retry',
    });
  });

  testOnce('ends what runs on the server where it is not wanted any more', async () => {
    await using database = await createDatabase(major, { sql: 'CREATE TABLE a AS SELECT 1 AS i' });
    await using live = await open(database, { lockTimeoutSeconds: 600 });
    const before = await restoreScratch(live, database);
    const after = await copy(live, before, database);
    const holder = new pg.Client({ connectionString: within(database, after) });
    await holder.connect();
    await holder.query('BEGIN; LOCK TABLE a');
    const abort = new AbortController();
    const compared = failureOf(live.findLoss(before, after, { isCopy: true, mostRows: 10 }, silent, abort.signal));
    const waiting = async (): Promise<number> =>
      (await holder.query(`SELECT FROM pg_locks WHERE NOT granted AND database = ${after.oid}::oid`)).rows.length;
    while ((await waiting()) === 0);
    abort.abort();
    expect(await compared).toMatchObject({ reason: 'OperationInterrupted', kind: 'retry' });
    while ((await waiting()) > 0);
    await holder.end();
  });
});
