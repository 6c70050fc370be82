import { expect } from '@jest/globals';

import type { TableLoss } from '../../../src/rollback/model.ts';
import { describeInTurn } from '../../support/in-turn.ts';
import { loses, none, rehearse } from './rehearse.ts';

/** Five rows: `a` is in all of them, `b` in two. */
const sql = `CREATE TABLE t (id int PRIMARY KEY, a text NOT NULL, b int);
  INSERT INTO t VALUES (1, 'x', 10), (2, 'y', NULL), (3, 'z', NULL), (4, 'é', 40), (5, '', NULL);
  CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY); INSERT INTO alembic_version VALUES ('a1');
  CREATE TABLE other AS SELECT 1 AS i; CREATE TABLE nothing (i int);`;

type Case = readonly [what: string, change: string, loss: Partial<TableLoss>, rows: number];
const t = (rows: number, loss: Partial<TableLoss>): Parameters<typeof expect>[0] => ({
  tables: [loses('public.t', 5, loss)],
  moreTables: 0,
  rows,
});

const both: readonly Case[] = [
  ['a dropped table', 'DROP TABLE t', { gone: true, rowsGone: 5 }, 5],
  ['a dropped column', 'ALTER TABLE t DROP COLUMN b', { columnsGone: [{ column: 'b', values: 2 }] }, 2],
  [
    'dropped columns, a row that had values in both once',
    'ALTER TABLE t DROP a, DROP b',
    {
      columnsGone: [
        { column: 'a', values: 5 },
        { column: 'b', values: 2 },
      ],
    },
    5,
  ],
  ['deleted rows', 'DELETE FROM t WHERE id > 3', { rowsGone: 2 }, 2],
  ['all rows', 'TRUNCATE t', { rowsGone: 5 }, 5],
  ['updated rows', "UPDATE t SET a = 'new' WHERE b IS NULL", { rowsChanged: 3, columnsChanged: ['a'] }, 3],
  ['a value set to NULL', 'UPDATE t SET b = NULL WHERE id = 1', { rowsChanged: 1, columnsChanged: ['b'] }, 1],
  [
    'deleted and updated rows',
    "DELETE FROM t WHERE id = 1; UPDATE t SET a = 'new', b = 7 WHERE id IN (2, 3); INSERT INTO t VALUES (6, 'x', 10)",
    { rowsGone: 1, rowsChanged: 2, columnsChanged: ['a', 'b'] },
    3,
  ],
  [
    'values that changed places',
    'UPDATE t SET b = 50 - b WHERE b IS NOT NULL',
    { rowsChanged: 2, columnsChanged: ['b'] },
    2,
  ],
  [
    'rows that changed places with all but their keys',
    "UPDATE t SET a = CASE a WHEN 'x' THEN 'é' ELSE 'x' END, b = 50 - b WHERE b IS NOT NULL",
    { rowsChanged: 2, columnsChanged: ['a', 'b'] },
    2,
  ],
  [
    'a row that changes and has a value in a column that goes, once',
    "UPDATE t SET a = 'new' WHERE id IN (1, 2); ALTER TABLE t DROP b",
    { rowsChanged: 2, columnsChanged: ['a'], columnsGone: [{ column: 'b', values: 2 }] },
    3,
  ],
  [
    'a row that goes and has a value in a column that goes, once',
    'DELETE FROM t WHERE id IN (1, 2); ALTER TABLE t DROP b',
    { rowsGone: 2, columnsGone: [{ column: 'b', values: 2 }] },
    3,
  ],
  ['a new key', 'UPDATE t SET id = id + 100 WHERE id < 3', { rowsGone: 2 }, 2],
  [
    'a smaller type that fits not',
    'ALTER TABLE t ALTER b TYPE text USING left(b::text, 1)',
    { rowsChanged: 2, columnsChanged: ['b'] },
    2,
  ],
  [
    'a key that goes, so that rows are known by the rest alone',
    "ALTER TABLE t DROP id; UPDATE t SET a = 'new' WHERE b = 10",
    { rowsGone: 1, columnsGone: [{ column: 'id', values: 5 }] },
    5,
  ],
];

const harmless: readonly (readonly [what: string, change: string])[] = [
  ['nothing', 'SELECT 1'],
  ['a dropped column without values', 'ALTER TABLE t ADD c int; ALTER TABLE t DROP c'],
  [
    'new rows, columns and tables',
    "INSERT INTO t VALUES (6, 'w'); ALTER TABLE t ADD c int DEFAULT 7; CREATE TABLE n (i int)",
  ],
  ['a wider type', 'ALTER TABLE t ALTER b TYPE bigint, ALTER id TYPE bigint, ALTER a TYPE varchar(10)'],
  ['another scale', 'ALTER TABLE t ALTER b TYPE numeric(10, 3)'],
  [
    'a truncate made up for',
    'CREATE TEMP TABLE k AS SELECT * FROM t; TRUNCATE t; INSERT INTO t SELECT * FROM k ORDER BY id DESC',
  ],
  ['an update that changes nothing', 'UPDATE t SET a = a'],
  [
    'a column made anew with the same values',
    'ALTER TABLE t ADD n int; UPDATE t SET n = b; ALTER TABLE t DROP b; ALTER TABLE t RENAME n TO b',
  ],
  [
    'a table made anew with the same rows',
    'CREATE TABLE n AS SELECT a, id, b FROM t; DROP TABLE t; ALTER TABLE n RENAME TO t',
  ],
  ['another revision', "UPDATE alembic_version SET version_num = 'b2'"],
  ['no version table', 'DROP TABLE alembic_version'],
  ['a dropped table without rows', 'DROP TABLE nothing'],
  ['another primary key', 'ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ADD PRIMARY KEY (a)'],
];

describeInTurn('of a change in a copy', (major, testOnce) => {
  testOnce.each(both)('%s is told', async (_, change, loss, rows) => {
    expect(await rehearse({ major, sql, change })).toEqual(t(rows, loss));
  });

  testOnce.each(harmless)('%s loses nothing', async (_, change) => {
    expect(await rehearse({ major, sql, change })).toEqual(none);
  });

  testOnce.each([
    ['a table', 'ALTER TABLE t RENAME TO u; CREATE TABLE t (id int)'],
    ['a schema', 'CREATE SCHEMA s; ALTER TABLE t SET SCHEMA s; ALTER SCHEMA s RENAME TO z'],
    ['columns', 'ALTER TABLE t RENAME id TO k; ALTER TABLE t RENAME a TO c; ALTER TABLE t RENAME b TO a'],
    [
      'columns, and rewriting all of it',
      'ALTER TABLE t RENAME a TO c; ALTER TABLE t ALTER b TYPE bigint; ALTER TABLE t RENAME TO u',
    ],
  ])('renaming %s loses nothing', async (_, change) => {
    expect(await rehearse({ major, sql, change })).toEqual(none);
  });

  testOnce('a table is told by the name that it had, whatever it is called by then', async () => {
    expect(
      await rehearse({
        major,
        sql,
        change:
          'ALTER TABLE t RENAME a TO c; DELETE FROM t WHERE id = 1; UPDATE t SET c = c || 1; ALTER TABLE t RENAME TO u',
      }),
    ).toEqual(t(5, { rowsGone: 1, rowsChanged: 4, columnsChanged: ['a'] }));
  });
});

describeInTurn('of an older state', (major, testOnce) => {
  testOnce.each(both)('%s is told', async (_, change, loss, rows) => {
    expect(await rehearse({ major, sql, change, how: 'apart' })).toEqual(t(rows, loss));
  });

  testOnce.each(harmless)('%s loses nothing', async (_, change) => {
    expect(await rehearse({ major, sql, change, how: 'apart' })).toEqual(none);
  });

  testOnce('what goes by a name that is not there counts as gone', async () => {
    expect(await rehearse({ major, sql, change: 'ALTER TABLE t RENAME TO u', how: 'apart' })).toEqual(
      t(5, { gone: true, rowsGone: 5 }),
    );
  });
});
