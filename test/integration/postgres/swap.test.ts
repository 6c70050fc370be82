import { describe, expect, test } from '@jest/globals';
import pg from 'pg';

import { createDatabase, databaseUrl, majors, query, type TestDatabase } from '../../support/postgres.ts';
import type { LiveDatabase } from '../../../src/rollback/ports.ts';
import type { OwnDatabase } from '../../../src/rollback/model.ts';
import { failureOf, identify, open, restoreCopy, temporaryFolder, versionTable } from './open.ts';

const q = pg.escapeIdentifier;
const admin = (database: TestDatabase, sql: string) => query(database.server.adminUrl, sql);

interface Stage extends AsyncDisposable {
  readonly database: TestDatabase;
  readonly live: LiveDatabase;
  readonly origin: OwnDatabase;
  readonly into: OwnDatabase;
  readonly aside: OwnDatabase;
}

/** A live database with one row, and a restored copy in which that row says so. */
async function stage(major: (typeof majors)[number]): Promise<Stage> {
  const database = await createDatabase(major, { sql: `${versionTable('a1')} CREATE TABLE t AS SELECT 'origin' AS v` });
  await using folder = await temporaryFolder();
  const live = await open(database);
  const origin = await identify(database);
  const into = await restoreCopy(live, folder.path);
  await query(databaseUrl(database.url, { database: into.name }), "UPDATE t SET v = 'restored'");
  const aside = { name: (await live.newDatabase('old', 'copy')).name, oid: origin.oid };
  return {
    database,
    live,
    origin,
    into,
    aside,
    async [Symbol.asyncDispose]() {
      await live[Symbol.asyncDispose]();
      await database.drop();
    },
  };
}

const content = async (database: TestDatabase, name = database.name) =>
  (await query<{ v: string }>(databaseUrl(database.url, { database: name }), 'SELECT v FROM t'))[0]?.v;

describe.each(majors)('PostgreSQL %i: a swap', (major) => {
  test('gives the restored database the live name, and is nothing when asked for again', async () => {
    await using scene = await stage(major);
    const { live, origin, into, aside, database } = scene;
    expect(await live.swapState(origin, into, aside)).toEqual({
      kind: 'notSwapped',
      liveClosed: false,
      intoExists: true,
    });
    expect((await live.swap(origin, into, aside)).closedMs).toBeGreaterThan(0);
    expect(await live.swapState(origin, into, aside)).toEqual({ kind: 'swapped' });
    expect(await content(database)).toBe('restored');
    expect(await live.swap(origin, into, aside)).toEqual({ closedMs: 0 });
    expect(await identify(database)).toEqual({ name: database.name, oid: into.oid });
  });

  test('keeps the old database open to its owner, and to nobody whom it was granted', async () => {
    await using scene = await stage(major);
    const { live, origin, into, aside, database } = scene;
    await admin(
      database,
      `CREATE ROLE other_${database.owner} LOGIN PASSWORD 'x'; GRANT CONNECT ON DATABASE ${q(database.name)} TO other_${database.owner}`,
    );
    try {
      const asOther = databaseUrl(database.url, { user: `other_${database.owner}`, password: 'x' });
      await query(asOther, 'SELECT 1');
      await live.swap(origin, into, aside);
      expect(await content(database, aside.name)).toBe('origin');
      await expect(query(databaseUrl(asOther, { database: aside.name }), 'SELECT 1')).rejects.toThrow(
        'permission denied for database',
      );
    } finally {
      await admin(database, `DROP OWNED BY other_${database.owner}; DROP ROLE other_${database.owner}`).catch(
        async () => {
          await admin(
            database,
            `REVOKE ALL ON DATABASE ${q(database.name)}, ${q(aside.name)} FROM other_${database.owner}`,
          );
          await admin(database, `DROP ROLE other_${database.owner}`);
        },
      );
    }
  });

  test('ends the sessions of others first, also such as are in a transaction', async () => {
    await using scene = await stage(major);
    const { live, origin, into, aside, database } = scene;
    const clients = [new pg.Client(database.url), new pg.Client(databaseUrl(database.url, { database: into.name }))];
    const ended = clients.map(async (client) => {
      client.on('error', () => undefined);
      await client.connect();
      await client.query('BEGIN; SELECT 1');
      await new Promise((resolve) => client.once('end', resolve));
    });
    while (
      (
        await admin(
          database,
          `SELECT FROM pg_stat_activity WHERE state = 'idle in transaction' AND usename = '${database.owner}'`,
        )
      ).length < 2
    );
    await live.swap(origin, into, aside);
    await Promise.all(ended);
    expect(await content(database)).toBe('restored');
  });

  test('is given up, with the live database open, where sessions cannot be ended', async () => {
    await using scene = await stage(major);
    const { live, origin, into, aside, database } = scene;
    const superuser = new pg.Client(database.adminUrl);
    await superuser.connect();
    try {
      const failure = await failureOf(live.swap(origin, into, aside));
      expect(failure).toMatchObject({
        reason: 'SwapBlocked',
        kind: 'stalled',
        message: expect.stringContaining('postgres (pid'),
      });
      expect(await live.swapState(origin, into, aside)).toEqual({
        kind: 'notSwapped',
        liveClosed: false,
        intoExists: true,
      });
      expect(await content(database)).toBe('origin');
    } finally {
      await superuser.end();
    }
  });

  test('is refused for prepared transactions and replication slots, before anything is closed', async () => {
    await using scene = await stage(major);
    const { live, origin, into, aside, database } = scene;
    // The slot first: making one waits for the transactions under way.
    await query(database.adminUrl, `SELECT pg_create_logical_replication_slot('slot_${database.owner}', 'pgoutput')`);
    await query(database.url, `BEGIN; UPDATE t SET v = v; PREPARE TRANSACTION 'gid_${database.owner}'`);
    const failure = await failureOf(live.swap(origin, into, aside));
    expect(failure.reason).toBe('SwapBlocked');
    expect(failure.message).toContain(`gid_${database.owner}`);
    expect(failure.message).toContain(`slot_${database.owner}`);
    expect(await content(database)).toBe('origin');
    await query(database.url, `ROLLBACK PREPARED 'gid_${database.owner}'`);
  });

  test('that was cut off between closing and renaming is told, opened again, and done', async () => {
    await using scene = await stage(major);
    const { origin, into, aside, database } = scene;
    await scene.live[Symbol.asyncDispose]();
    await admin(database, `ALTER DATABASE ${q(database.name)} ALLOW_CONNECTIONS false`);

    // As the next start does it: nothing can be read, but the lock is taken and the database put right.
    await using live = await open(database);
    expect(await failureOf(live.read())).toMatchObject({ reason: 'DatabaseUnreachable', kind: 'retry' });
    await using lock = await live.lock();
    expect(lock).not.toBeNull();
    expect(await live.endOperationSessions()).toBe(0);
    expect(await live.swapState(origin, into, aside)).toEqual({
      kind: 'notSwapped',
      liveClosed: true,
      intoExists: true,
    });
    await live.reopen(origin);
    expect((await live.read()).identity.oid).toBe(origin.oid);

    await admin(database, `ALTER DATABASE ${q(database.name)} ALLOW_CONNECTIONS false`);
    await live.swap(origin, into, aside);
    expect(await content(database)).toBe('restored');
  });

  test.each([
    [
      'the restored database is missing',
      (s: Stage) => `DROP DATABASE ${q(s.into.name)}`,
      { kind: 'notSwapped', liveClosed: false, intoExists: false },
    ],
    [
      'another has the name of the old one',
      (s: Stage) => `CREATE DATABASE ${q(s.aside.name)} OWNER ${s.database.owner}`,
      { kind: 'unknown', found: expect.stringContaining('__ocopy') },
    ],
    [
      'the live name is taken by another',
      (s: Stage) => `ALTER DATABASE ${q(s.database.name)} RENAME TO ${q(`${s.database.name}_x`)}`,
      { kind: 'unknown', found: expect.stringContaining('__rcopy') },
    ],
  ])('is not begun where %s', async (_, sql, expected) => {
    await using scene = await stage(major);
    const { live, origin, into, aside, database } = scene;
    await live[Symbol.asyncDispose]();
    await admin(database, sql(scene));
    await using again = await open(database, { url: databaseUrl(database.url, { database: into.name }) }).catch(() =>
      open(database),
    );
    expect(await again.swapState(origin, into, aside)).toEqual(expected);
    expect((await failureOf(again.swap(origin, into, aside))).reason).toBe('RecoveryFailed');
  });

  test('is known as done after the old database was dropped', async () => {
    await using scene = await stage(major);
    const { live, origin, into, aside } = scene;
    await live.swap(origin, into, aside);
    expect(await live.dropDatabase(aside)).toBe(true);
    expect(await live.swapState(origin, into, aside)).toEqual({ kind: 'swapped' });
  });
});

describe.each(majors)('PostgreSQL %i: dropping', (major) => {
  test('takes the database of that name and oid, with the sessions on it, and no other', async () => {
    await using scene = await stage(major);
    const { live, into, database } = scene;
    expect(await live.dropDatabase({ ...into, oid: into.oid + 1 })).toBe(false);
    expect(await live.dropDatabase({ ...into, name: 'nowhere' })).toBe(false);
    await expect(live.dropDatabase(await identify(database))).rejects.toThrow('never dropped');
    expect(await content(database, into.name)).toBe('restored');

    const client = new pg.Client(databaseUrl(database.url, { database: into.name }));
    client.on('error', () => undefined);
    await client.connect();
    expect(await live.dropDatabase(into)).toBe(true);
    expect(await live.dropDatabase(into)).toBe(false);
  });
});
