import { describe, expect, test } from '@jest/globals';
import pg from 'pg';

import { applicationNameOfRehearsal } from '../../../src/adapters/postgres/identifiers.ts';
import { createDatabase, databaseUrl, majors, query, type TestDatabase } from '../../support/postgres.ts';
import { open } from '../../integration/postgres/open.ts';

/** A session as one of a rehearsal's Python, or of a program that it started. */
async function connected(url: string, applicationName: string, options = ''): Promise<pg.Client & AsyncDisposable> {
  const client = new pg.Client({ connectionString: url, application_name: applicationName, options });
  client.on('error', () => undefined);
  await client.connect();
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() });
}

const nameFor = (database: TestDatabase, operationId = 'abc123'): string =>
  applicationNameOfRehearsal(operationId, database.name);

const alive = (client: pg.Client): Promise<boolean> =>
  client.query('SELECT 1').then(
    () => true,
    () => false,
  );

describe.each(majors)('PostgreSQL %i: strays of a rehearsal', (major) => {
  test('on the live database and on any other are told of, with what they do; those in the copy are not', async () => {
    await using database = await createDatabase(major);
    await using live = await open(database);
    const copy = await live.newDatabase('scratch', 'copy');
    await live.createDatabase(copy, 'scratch');
    await using strays = await live.watchStrays(copy);
    await using inCopy = await connected(databaseUrl(database.url, { database: copy.name }), nameFor(database));
    await inCopy.query('SELECT 1');
    expect(await strays.found()).toEqual([]);
    await using onLive = await connected(database.url, nameFor(database));
    await onLive.query(`SELECT 'a stray',\n   ${'1 + '.repeat(60)}1`);
    await using elsewhere = await connected(database.maintenanceUrl, nameFor(database));
    await elsewhere.query('SELECT 2');
    const found = await strays.found();
    expect(found).toHaveLength(2);
    expect(found[0]).toMatch(
      new RegExp(`^user ${database.owner}, pid \\d+, database ${database.name}: SELECT 'a stray', 1 \\+ .{78}$`),
    );
    expect(found[1]).toMatch(new RegExp(`^user ${database.owner}, pid \\d+, database postgres: SELECT 2$`));
    // Left alone: that is for whoever ends the operation's sessions.
    expect(await Promise.all([inCopy, onLive, elsewhere].map(alive))).toEqual([true, true, true]);
  });

  test('are remembered once they have gone, and seen without asking', async () => {
    await using database = await createDatabase(major);
    await using live = await open(database);
    await using strays = await live.watchStrays({ name: 'nowhere', oid: 4_000_000_000 });
    const [before] = await query<{ n: number }>(database.server.adminUrl, polls(database));
    {
      await using stray = await connected(database.url, nameFor(database));
      await stray.query('SELECT 1');
      await untilPolledAfter(database, before?.n ?? 0);
    }
    expect(await strays.found()).toEqual([expect.stringContaining(`database ${database.name}: SELECT 1`)]);
  });

  test('are told of once it is known where they go, not while they connect', async () => {
    await using database = await createDatabase(major);
    await using live = await open(database);
    const copy = await live.newDatabase('scratch', 'copy');
    await live.createDatabase(copy, 'scratch');
    await using strays = await live.watchStrays(copy);
    // The server's own way to hold a session between its options and its database.
    const hold = '-c post_auth_delay=1';
    const connecting = connected(databaseUrl(database.url, { database: copy.name }), nameFor(database), hold);
    await untilListed(database, connecting);
    expect(await strays.found()).toEqual([]);
    await using inCopy = await connecting;
    expect(await alive(inCopy)).toBe(true);
    expect(await strays.found()).toEqual([]);
    await using onLive = await connected(database.url, nameFor(database), hold);
    expect(await alive(onLive)).toBe(true);
    expect(await strays.found()).toEqual([expect.stringContaining(`database ${database.name}: SELECT 1`)]);
  });

  test('are none of: the operation’s own sessions, another operation’s rehearsal, another target’s', async () => {
    await using database = await createDatabase(major);
    await using other = await createDatabase(major);
    await using live = await open(database);
    await using strays = await live.watchStrays({ name: 'nowhere', oid: 4_000_000_000 });
    await using own = await connected(database.url, 'migration-target/abc123');
    await using application = await connected(database.url, 'the application');
    await using another = await connected(database.url, nameFor(database, 'other1'));
    await using foreign = await connected(other.url, nameFor(other));
    expect(await Promise.all([own, application, another, foreign].map(alive))).toEqual([true, true, true, true]);
    expect(await strays.found()).toEqual([]);
  });

  test('who could not look can’t say that there were none', async () => {
    await using database = await createDatabase(major);
    await using live = await open(database);
    await using strays = await live.watchStrays({ name: 'nowhere', oid: 4_000_000_000 });
    await query(
      database.server.adminUrl,
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1 AND datname = 'postgres'",
      [database.owner],
    );
    await expect(strays.found()).rejects.toMatchObject({ reason: 'DatabaseUnreachable' });
  });

  test('whatever a dead operation’s rehearsal left is ended, in its copy as on the live database; another target’s is not', async () => {
    await using database = await createDatabase(major);
    await using other = await createDatabase(major);
    await using live = await open(database, { operationId: 'next' });
    const copy = await live.newDatabase('scratch', 'copy');
    await live.createDatabase(copy, 'scratch');
    await using inCopy = await connected(databaseUrl(database.url, { database: copy.name }), nameFor(database, 'dead'));
    await using onLive = await connected(database.url, nameFor(database, 'dead'));
    await using elsewhere = await connected(database.maintenanceUrl, nameFor(database, 'dead'));
    await using foreign = await connected(other.url, nameFor(other, 'dead'));
    await using application = await connected(database.url, 'the application');
    expect(await live.endOperationSessions()).toBe(3);
    expect(await Promise.all([inCopy, onLive, elsewhere, foreign, application].map(alive))).toEqual([
      false,
      false,
      false,
      true,
      true,
    ]);
  });
});

/** Until the server lists the session, as PostgreSQL 18 does at once, or it is connected. */
async function untilListed(database: TestDatabase, connecting: Promise<unknown>): Promise<void> {
  let isOver = false;
  const done = connecting.finally(() => (isOver = true));
  const listed = async (): Promise<boolean> => {
    const sql = 'SELECT 1 AS n FROM pg_stat_activity WHERE application_name = $1';
    return (await query(database.server.adminUrl, sql, [nameFor(database)])).length > 0;
  };
  while (!isOver && !(await listed()));
  if (isOver) await done;
}

/** How often the watcher has looked, as the server tells: each look is a transaction of its session. */
const polls = (database: TestDatabase): string =>
  `SELECT coalesce(max(extract(epoch FROM query_start) * 1e6), 0)::float8 AS n FROM pg_stat_activity
   WHERE usename = '${database.owner}' AND datname = 'postgres' AND query LIKE '%pg_stat_activity%' AND pid <> pg_backend_pid()`;

/** Until two more looks have begun: the first of them may have begun before. */
async function untilPolledAfter(database: TestDatabase, since: number): Promise<void> {
  let last = since;
  for (let looks = 0; looks < 3;) {
    const [row] = await query<{ n: number }>(database.server.adminUrl, polls(database));
    if (row !== undefined && row.n > last) {
      last = row.n;
      looks += 1;
    }
  }
}
