import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, readdir, readFile, readlink, writeFile } from 'node:fs/promises';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';

import { describe, expect, test } from '@jest/globals';
import pg from 'pg';

import {
  createDatabase,
  databaseUrl,
  majors,
  query,
  startOwnServer,
  startReplica,
  testServer,
} from '../../support/postgres.ts';
import { canonicalSchema, failureOf, open, silent, temporaryFolder, versionTable } from './open.ts';

const copier = join(import.meta.dirname, 'copier.ts');

const named = async (url: string, applicationName: string): Promise<pg.Client> => {
  const client = new pg.Client({ connectionString: url, application_name: applicationName });
  client.on('error', () => undefined);
  await client.connect();
  return client;
};

const isAlive = (client: pg.Client) =>
  client.query('SELECT 1').then(
    () => true,
    () => false,
  );

describe.each(majors)('PostgreSQL %i: the lock', (major) => {
  test('is held by one at a time, by database, and shows in pg_locks as its token says', async () => {
    await using database = await createDatabase(major);
    await using other = await createDatabase(major);
    await using one = await open(database);
    await using two = await open(database, { operationId: 'two' });
    await using elsewhere = await open(other);
    {
      await using lock = await one.lock();
      expect(lock).not.toBeNull();
      expect(await two.lock()).toBeNull();
      expect(await one.lock()).toBeNull();
      await using otherLock = await elsewhere.lock();
      expect(otherLock).not.toBeNull();
      await lock?.assertHeld();
      const token = lock?.token;
      const held = await query(
        database.server.adminUrl,
        `SELECT datname FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE locktype = 'advisory' AND granted AND classid = $1::bigint::oid AND objid = $2::bigint::oid AND pid = $3`,
        [token?.classId, token?.objId, token?.pid],
      );
      expect(held).toEqual([{ datname: 'postgres' }]);
    }
    await using again = await two.lock();
    expect(again).not.toBeNull();
  });

  test('is one and the same whichever maintenance database is declared', async () => {
    await using database = await createDatabase(major);
    await using one = await open(database);
    await using two = await open(database, { operationId: 'two', maintenanceDatabase: 'template1' });
    await using lock = await one.lock();
    expect(lock).not.toBeNull();
    expect(await two.lock()).toBeNull();
    await lock?.[Symbol.asyncDispose]();
    await using again = await two.lock();
    expect(again).not.toBeNull();
  });

  test('is known to be lost when its session is ended, and is not taken again behind the back', async () => {
    await using database = await createDatabase(major);
    await using live = await open(database);
    await using lock = await live.lock();
    await query(database.server.adminUrl, 'SELECT pg_terminate_backend($1)', [lock?.token.pid]);
    for (let i = 0; i < 2; i += 1) {
      expect(await failureOf(lock?.assertHeld() ?? Promise.resolve())).toMatchObject({
        reason: 'DatabaseUnreachable',
        kind: 'retry',
      });
    }
    await using again = await live.lock();
    await again?.assertHeld();
  });

  test("outlives the server's idle and transaction time-outs", async () => {
    await using database = await createDatabase(major);
    await query(
      database.server.adminUrl,
      `ALTER ROLE ${database.owner} SET idle_in_transaction_session_timeout = '50ms'; ALTER ROLE ${database.owner} SET statement_timeout = '50ms'`,
    );
    if (major >= 17)
      await query(database.server.adminUrl, `ALTER ROLE ${database.owner} SET transaction_timeout = '50ms'`);
    await using live = await open(database);
    await using lock = await live.lock();
    // Longer than each of them, spent in the server.
    await query(database.server.adminUrl, 'SELECT pg_sleep(0.3)');
    await expect(lock?.assertHeld()).resolves.toBeUndefined();
    expect(lock).not.toBeNull();
  });
});

test('a look that was ended with the sessions of others looks once more', async () => {
  await using database = await createDatabase(16);
  await query(database.url, 'CREATE TABLE alembic_version (version_num varchar(32) NOT NULL)');
  await using live = await open(database);
  const other = await named(database.url, 'application');
  await other.query('BEGIN; LOCK TABLE alembic_version');
  const looking = live.read();
  const waiting = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${database.name}' AND wait_event_type = 'Lock'`;
  while ((await query(database.server.adminUrl, waiting)).length === 0);
  await other.end();
  expect((await looking).versionTable).toEqual({ kind: 'present', revisions: [] });
});

describe.each(majors)("PostgreSQL %i: a dead operation's sessions", (major) => {
  test("are ended on the live database, on what was made of it and in the maintenance database; others' are not", async () => {
    await using database = await createDatabase(major);
    await using neighbour = await createDatabase(major);
    await using live = await open(database);
    await using neighbours = await open(neighbour);
    await using neighbourLock = await neighbours.lock();
    const scratch = await live.newDatabase('scratch', 'dead');
    await live.createDatabase(scratch, 'scratch');

    const [mine] = await query<{ name: string }>(
      database.server.adminUrl,
      `SELECT application_name AS name FROM pg_stat_activity WHERE datname = 'postgres' AND usename = '${database.owner}'`,
    );
    const elsewhere = mine?.name.replace('abc123', 'dead') ?? '';
    expect(elsewhere).toMatch(/^migration-target\/dead@/);
    const dead = await Promise.all([
      named(database.url, 'migration-target/dead'),
      named(databaseUrl(database.url, { database: scratch.name }), elsewhere),
      named(databaseUrl(database.url, { database: 'postgres' }), elsewhere),
    ]);
    const bystanders = await Promise.all([
      named(database.url, 'application'),
      named(neighbour.url, 'migration-target/dead'),
    ]);

    expect(await live.endOperationSessions()).toBe(3);
    expect(await Promise.all(dead.map(isAlive))).toEqual([false, false, false]);
    expect(await Promise.all(bystanders.map(isAlive))).toEqual([true, true]);
    await neighbourLock?.assertHeld();
    expect((await live.read()).identity.name).toBe(database.name);
    await Promise.all(bystanders.map((client) => client.end()));
  });

  test('of the application are ended by its own role where the administrator may not', async () => {
    await using database = await createDatabase(major, { sql: versionTable('a1') });
    await using server = {
      url: database.server.adminUrl,
      [Symbol.asyncDispose]: () =>
        query(database.server.adminUrl, `DROP ROLE admin_${database.owner}`).then(() => undefined),
    };
    await query(server.url, `CREATE ROLE admin_${database.owner} LOGIN CREATEDB PASSWORD 'x'`);
    const dead = await named(database.url, 'migration-target/dead');
    await using live = await open(database, {
      adminUrl: databaseUrl(database.url, { user: `admin_${database.owner}`, password: 'x' }),
    });
    expect(await live.endOperationSessions()).toBe(1);
    expect(await isAlive(dead)).toBe(false);
  });
});

describe.each(majors)('PostgreSQL %i: the tools', (major) => {
  test('are of the server’s major', async () => {
    await using database = await createDatabase(major);
    await using live = await open(database);
    expect((await live.tools()).version).toContain(`pg_dump (PostgreSQL) ${major}.`);
  });

  test('get the password in a private file, never in arguments or environment, and nothing of it stays', async () => {
    await using database = await createDatabase(major, { password: 'p:\\s3cret', sql: versionTable('a1') });
    await using folder = await temporaryFolder();
    const { binDir } = await testServer(major);
    await mkdir(join(folder.path, 'bin'));
    for (const tool of ['pg_dump', 'pg_restore', 'psql']) {
      const wrapper = join(folder.path, 'bin', tool);
      await writeFile(
        wrapper,
        `#!/bin/sh\nif [ "$1" != --version ]; then { echo "$@"; env; stat -L -c '%a' "$PGSERVICEFILE"; stat -L -c '%a' "$PGPASSFILE"; } >> ${folder.path}/seen; fi\nexec ${binDir}/${tool} "$@"\n`,
      );
      await chmod(wrapper, 0o755);
    }
    process.env['PGPASSWORD'] = 'of the controller';
    try {
      await using live = await open(database, { toolDirectories: [join(folder.path, 'bin')] });
      await live.dump({ kind: 'path', path: join(folder.path, 'dump') }, silent);
      await canonicalSchema(live);
    } finally {
      delete process.env['PGPASSWORD'];
    }
    const seen = await readFile(join(folder.path, 'seen'), 'utf8');
    expect(seen).toContain('--snapshot=');
    expect(seen).toContain('PGAPPNAME=migration-target/abc123');
    expect(seen).not.toContain('s3cret');
    expect(seen).not.toContain('PGPASSWORD');
    // Both files of each run, and of no run other rights.
    expect(seen.match(/^\d{3}$/gm)).toEqual(
      Array.from({ length: 2 * (seen.match(/--dbname=/g)?.length ?? 0) }, () => '600'),
    );
    const opened = await Promise.all(
      (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => 'closed meanwhile')),
    );
    expect(opened.filter((path) => path.includes('/migration-target-'))).toEqual([]);
  });

  test.each(['pg_dump', 'pg_restore'])(
    'leave no secret behind where the program is killed over %s, which lives on and can still connect',
    async (killer) => {
      await using database = await createDatabase(major, { password: 'p:\\s3cret', sql: versionTable('a1') });
      await using folder = await temporaryFolder();
      const { binDir } = await testServer(major);
      const at = (name: string): string => join(folder.path, name);
      for (const directory of ['tmp', 'bin']) await mkdir(at(directory));
      // Once it runs it has been given everything; whoever gave it is killed then. A pipe, so that the end is waited for.
      spawnSync('mkfifo', [at('told')]);
      const kill = `if [ "$1" != --version ]; then kill -9 $PPID; { ls -A ${at('tmp')}; for i in 1 2; do ${binDir}/psql "$1" "$2" -XAtc 'SELECT current_user'; done; } > ${at('told')} 2>&1; exit; fi\n`;
      for (const tool of ['pg_dump', 'pg_restore', 'psql']) {
        await writeFile(at(`bin/${tool}`), `#!/bin/sh\n${tool === killer ? kill : ''}exec ${binDir}/${tool} "$@"\n`);
        await chmod(at(`bin/${tool}`), 0o755);
      }
      const controller = spawn(process.execPath, [copier, database.url, at('bin'), at('dump')], {
        stdio: ['ignore', 'ignore', 'inherit'],
        env: { ...process.env, NODE_OPTIONS: '', TMPDIR: at('tmp') },
      });
      const [, signal] = (await once(controller, 'exit')) as [number | null, string | null];
      expect(signal).toBe('SIGKILL');
      expect(await readFile(at('told'), 'utf8')).toBe(`${database.owner}\n${database.owner}\n`);
    },
  );
});

describe.each(majors)('PostgreSQL %i: a URL', (major) => {
  test('of a replica is told, and nothing is changed there', async () => {
    const primary = await startOwnServer(major);
    try {
      await query(primary.superuserUrl, 'CREATE DATABASE app');
      await query(primary.url('app'), versionTable('a1'));
      const replica = await startReplica(primary);
      try {
        await using database = await createDatabase(major);
        await using live = await open(database, { url: replica.url('app') });
        const state = await live.read();
        expect(state.versionTable).toEqual({ kind: 'present', revisions: ['a1'] });
        expect(state.blockers).toMatchObject([{ reason: 'DatabaseReadOnly', blocks: 'change' }]);
        expect(await failureOf(live.createDatabase(await live.newDatabase('scratch', 'x'), 'scratch'))).toMatchObject({
          reason: 'DatabaseReadOnly',
        });
      } finally {
        await replica.stop();
      }
    } finally {
      await primary.stop();
    }
  });

  test('of a pooler, which hands out process ids of its own, is refused', async () => {
    await using database = await createDatabase(major);
    const { host, port } = database.server;
    const sockets = new Set<Socket>();
    const pooler = createServer((client) => {
      const server = connect(port, host);
      for (const socket of [client, server]) {
        sockets.add(socket);
        socket.on('error', () => socket.destroy());
      }
      client.pipe(server);
      // BackendKeyData: 'K', length 12, process id, secret.
      server.on('data', (data) => {
        const at = data.indexOf(Buffer.from([0x4b, 0, 0, 0, 12]));
        if (at !== -1) data.writeInt32BE(1_234_567, at + 5);
        client.write(data);
      });
    });
    await new Promise<void>((resolve) => pooler.listen(0, '127.0.0.1', resolve));
    try {
      const url = new URL(database.url);
      url.port = `${(pooler.address() as AddressInfo).port}`;
      const failure = await failureOf(open(database, { url: url.href }));
      expect(failure).toMatchObject({ reason: 'PoolerRefused', kind: 'stalled' });
      expect(failure.message).toContain("server's own host and port");
    } finally {
      for (const socket of sockets) socket.destroy();
      pooler.close();
    }
  });
});
