import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

import {
  contentChecksum,
  createDatabase,
  databaseUrl,
  majors,
  query,
  startOwnServer,
  startReplica,
} from '../support/postgres.ts';
import type { TestDatabase } from '../support/postgres.ts';
import { startPooler } from '../support/pooler.ts';

describe.each(majors)('PostgreSQL %i of the test bed', (major) => {
  let database: TestDatabase;

  beforeAll(async () => {
    database = await createDatabase(major, {
      sql: 'CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t VALUES (1, $$a$$), (2, $$b$$)',
    });
  });
  afterAll(() => database.drop());

  test('is of that major version', async () => {
    const [row] = await query<{ version: number }>(
      database.url,
      "SELECT current_setting('server_version_num')::int / 10000 AS version",
    );
    expect(row?.version).toBe(major);
  });

  test('gives a database that belongs to an ordinary role', async () => {
    const [row] = await query(
      database.url,
      'SELECT current_user AS user, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, datdba = pg_roles.oid AS owns FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()',
    );
    expect(row).toEqual({
      user: database.owner,
      rolsuper: false,
      rolcreaterole: false,
      rolcreatedb: true,
      rolreplication: false,
      rolbypassrls: false,
      owns: true,
    });
  });

  test('asks for a password', async () => {
    await expect(query(databaseUrl(database.url, { password: 'wrong' }), 'SELECT 1')).rejects.toThrow(
      /password authentication failed/,
    );
  });

  test('takes any name for a database', async () => {
    const name = `it's "quoted" %d @:/ ${'é'.repeat(20)}`.slice(0, 40);
    await using odd = await createDatabase(major, { name });
    expect(await query(odd.url, 'SELECT current_database() AS name')).toEqual([{ name }]);
  });

  test('gives a checksum that changes with a row, and back with it', async () => {
    const before = await contentChecksum(database.adminUrl);
    await query(database.url, 'UPDATE t SET name = $1 WHERE id = 2', ['c']);
    expect(await contentChecksum(database.adminUrl)).not.toBe(before);
    await query(database.url, 'DELETE FROM t WHERE id = 1');
    await query(database.url, "UPDATE t SET name = 'b' WHERE id = 2; INSERT INTO t VALUES (1, 'a')");
    expect(await contentChecksum(database.adminUrl)).toBe(before);
  });

  test('gives a checksum that changes with a large object', async () => {
    const before = await contentChecksum(database.adminUrl);
    const [object] = await query<{ oid: number }>(database.url, "SELECT lo_from_bytea(0, 'x') AS oid");
    expect(await contentChecksum(database.adminUrl)).not.toBe(before);
    await query(database.url, 'SELECT lo_unlink($1)', [object?.oid]);
    expect(await contentChecksum(database.adminUrl)).toBe(before);
  });

  test('leaves nothing behind of a dropped database, a prepared transaction in it or not', async () => {
    const gone = await createDatabase(major, { sql: 'CREATE TABLE t (id int)' });
    await query(gone.url, "BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'left behind'");
    await query(gone.maintenanceUrl, `CREATE DATABASE ${gone.name}_restored`);
    await gone.drop();
    const left = await query(
      database.adminUrl,
      "SELECT datname FROM pg_database WHERE datname LIKE $1 || '%' UNION ALL SELECT rolname FROM pg_roles WHERE rolname = $2",
      [gone.name, gone.owner],
    );
    expect(left).toEqual([]);
  });

  test('starts servers that can be killed and started again, and read replicas of them', async () => {
    const server = await startOwnServer(major);
    try {
      await query(server.superuserUrl, 'CREATE TABLE survives (id int)');
      await server.kill();
      await expect(query(server.superuserUrl, 'SELECT 1')).rejects.toThrow('ECONNREFUSED');
      await server.start();
      expect(await query(server.superuserUrl, 'SELECT count(*)::int FROM survives')).toEqual([{ count: 0 }]);
      const replica = await startReplica(server);
      try {
        expect(await query(replica.superuserUrl, 'SELECT pg_is_in_recovery() AS replica')).toEqual([{ replica: true }]);
      } finally {
        await replica.stop();
      }
    } finally {
      await server.stop();
    }
  });
});

test('a pooler stands before a database', async () => {
  await using database = await createDatabase(majors[0] ?? 16);
  await using pooler = await startPooler(database, 'transaction');
  expect(await query(pooler.url, 'SELECT current_database() AS name')).toEqual([{ name: database.name }]);
  expect(pooler.url).not.toBe(database.url);
});

test('the libraries of the program can be imported in a test', async () => {
  const [pg, pino, kubernetes] = await Promise.all([import('pg'), import('pino'), import('@kubernetes/client-node')]);
  expect([typeof pg.default.Client, typeof pino.pino, typeof kubernetes.KubeConfig]).toEqual([
    'function',
    'function',
    'function',
  ]);
});
