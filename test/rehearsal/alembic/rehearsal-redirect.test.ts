import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { describeInTurn } from '../../support/in-turn.ts';
import { environments, sql } from '../../support/alembic.ts';
import { databaseUrl, inTurn, query, startOwnServer } from '../../support/postgres.ts';
import type { Major } from '../../support/scene.ts';
import { envOf, openRehearsal, tablesOf, withDriver } from './rehearsal-scene.ts';
import { down, folder, outputOf, up } from '../../integration/alembic/scene.ts';

const tried = {
  id: 'a1',
  up: 'op.create_table("tried", sa.Column("x", sa.Integer))',
  downgrade: 'op.drop_table("tried")',
};
const b2 = { id: 'b2', up: sql('INSERT INTO tried VALUES (1)'), downgrade: sql('DELETE FROM tried') };

/** env.py files that know the live database by themselves, whatever they are handed. */
const asynchronous = (url: string): string => `
import asyncio
from alembic import context
from sqlalchemy import pool
from sqlalchemy.ext.asyncio import create_async_engine
def run(connection):
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
async def main():
    engine = create_async_engine(${JSON.stringify(url)}, poolclass=pool.NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(run)
    await engine.dispose()
asyncio.run(main())
`;

describe('a rehearsal', () => {
  test.each(inTurn(environments.map((env) => [env] as const)))(
    'PostgreSQL %i: %s: runs on the copy, down again and up again, and the live database is as it was',
    async (major, env) => {
      await using scene = await openRehearsal(major, () => ({ env, revisions: [tried, b2] }));
      expect(await scene.rehearse([], up('a1', 'b2'))).toEqual({ ok: true });
      expect(await tablesOf(scene.copy.url)).toEqual(['kept', 'tried']);
      expect(await scene.rehearse(['b2'], down('b2', 'a1'))).toEqual({ ok: true });
      expect(await tablesOf(scene.copy.url)).toEqual(['kept']);
      expect(await scene.rehearse([], up('a1'))).toEqual({ ok: true });
      expect(await tablesOf(scene.copy.url)).toEqual(['kept', 'tried']);
      await scene.expectLiveUnchanged();
    },
  );

  test.each(inTurn([['psycopg'], ['psycopg2'], ['pg8000']]))(
    'PostgreSQL %i: %s: an env.py that knows its URL by itself is led to the copy',
    async (major, driver) => {
      const engine = 'create_engine(URL, poolclass=pool.NullPool)';
      await using scene = await openRehearsal(major, (live) => ({
        revisions: [tried],
        envPy: envOf(withDriver(live.url, driver), engine),
      }));
      expect(await scene.rehearse([], up('a1'))).toEqual({ ok: true });
      expect(await tablesOf(scene.copy.url)).toEqual(['kept', 'tried']);
      await scene.expectLiveUnchanged();
    },
  );

  test.each(inTurn([['psycopg'], ['asyncpg']]))('PostgreSQL %i: %s, asynchronous: the same', async (major, driver) => {
    await using scene = await openRehearsal(major, (live) => ({
      revisions: [tried],
      envPy: asynchronous(withDriver(live.url, driver)),
    }));
    expect(await scene.rehearse([], up('a1'))).toEqual({ ok: true });
    expect(await tablesOf(scene.copy.url)).toEqual(['kept', 'tried']);
    await scene.expectLiveUnchanged();
  });

  test.each(inTurn([['psycopg'], ['psycopg2']]))(
    'PostgreSQL %i: %s: ?service= is led as well',
    async (major, driver) => {
      const file = join(await folder(), 'services.conf');
      const envPy = envOf(`postgresql+${driver}://?service=app`, 'create_engine(URL)');
      await using scene = await openRehearsal(major, () => ({ revisions: [tried], envPy }), {
        env: { PGSERVICEFILE: file },
      });
      const { hostname, port } = new URL(scene.live.url);
      await writeFile(
        file,
        `[app]\nhost=${hostname}\nport=${port}\nuser=${scene.live.owner}\npassword=${scene.live.password}\ndbname=${scene.live.name}\n`,
      );
      expect(await scene.rehearse([], up('a1'))).toEqual({ ok: true });
      expect(await tablesOf(scene.copy.url)).toEqual(['kept', 'tried']);
      await scene.expectLiveUnchanged();
    },
  );

  test.each(
    inTurn([
      ['creator=', 'create_engine("postgresql+psycopg://", creator=lambda: __import__("psycopg").connect(DSN))', ''],
      [
        'an own pool',
        'create_engine("postgresql+psycopg2://", pool=own)',
        'import psycopg2\nown = pool.QueuePool(lambda: psycopg2.connect(DSN))',
      ],
      [
        'an own do_connect listener that connects by itself',
        'listening',
        `
import psycopg
listening = create_engine(URL)
@event.listens_for(listening, "do_connect")
def connect(dialect, record, arguments, parameters):
    return psycopg.connect(DSN)
`,
      ],
      [
        'an own do_connect listener that puts the name back',
        'listening',
        `
listening = create_engine(URL)
@event.listens_for(listening, "do_connect")
def connect(dialect, record, arguments, parameters):
    parameters["dbname"] = URL.rpartition("/")[2]
`,
      ],
    ]),
  )('PostgreSQL %i: %s: led to the copy', async (major, _, engine, before) => {
    const dsn = 'DSN = URL.replace("+psycopg", "")\n';
    await using scene = await openRehearsal(major, (live) => ({
      revisions: [tried],
      envPy: envOf(withDriver(live.url, 'psycopg'), engine, dsn + before),
    }));
    expect(await scene.rehearse([], up('a1'))).toEqual({ ok: true });
    expect(await tablesOf(scene.copy.url)).toEqual(['kept', 'tried']);
    await scene.expectLiveUnchanged();
  });

  test.each(
    inTurn([
      ['psycopg', 'from psycopg import connect\nwith connect(URL) as c: c.execute(SQL)'],
      [
        'psycopg, by keywords',
        'import psycopg\nfrom urllib.parse import urlsplit\nu = urlsplit(URL)\nwith psycopg.Connection.connect(host=u.hostname, port=u.port, user=u.username, password=u.password, dbname=u.path[1:], autocommit=True) as c: c.execute(SQL)',
      ],
      [
        'psycopg, asynchronous',
        'import asyncio, psycopg\nasync def go():\n    async with await psycopg.AsyncConnection.connect(URL) as c: await c.execute(SQL)\nasyncio.run(go())',
      ],
      ['psycopg2', 'import psycopg2\nc = psycopg2.connect(URL)\nc.cursor().execute(SQL)\nc.commit()'],
      [
        'psycopg2, of a pool',
        'from psycopg2.pool import SimpleConnectionPool\np = SimpleConnectionPool(1, 1, URL)\nc = p.getconn()\nc.cursor().execute(SQL)\nc.commit()',
      ],
      [
        'asyncpg',
        'import asyncio, asyncpg\nasync def go():\n    c = await asyncpg.connect(URL)\n    await c.execute(SQL)\n    await c.close()\nasyncio.run(go())',
      ],
      [
        'asyncpg, of a pool',
        'import asyncio, asyncpg\nasync def go():\n    async with asyncpg.create_pool(URL, min_size=1) as p: await p.execute(SQL)\nasyncio.run(go())',
      ],
      [
        'pg8000',
        'import pg8000.dbapi\nfrom urllib.parse import urlsplit\nu = urlsplit(URL)\nc = pg8000.dbapi.connect(u.username, u.hostname, u.path[1:], u.port, u.password)\nc.cursor().execute(SQL)\nc.commit()',
      ],
      [
        'pg8000, native',
        'import pg8000.native\nfrom urllib.parse import urlsplit\nu = urlsplit(URL)\npg8000.native.Connection(u.username, host=u.hostname, database=u.path[1:], port=u.port, password=u.password).run(SQL)',
      ],
    ]),
  )(
    'PostgreSQL %i: a connection of its own, %s: led to the copy, and known by its name there',
    async (major, _, body) => {
      const raw = `URL = "LIVE"\nSQL = "CREATE TABLE by_hand AS SELECT current_setting('application_name') AS name"\n${body}`;
      // Asynchronous code runs in no other loop's thread.
      const alone = `import threading\ndef raw():\n${raw.replace(/^/gm, '    ')}\nt = threading.Thread(target=raw)\nt.start()\nt.join()`;
      await using scene = await openRehearsal(major, (live) => ({
        revisions: [{ id: 'a1', up: alone.replace('LIVE', live.url) }],
      }));
      expect(await scene.rehearse([], up('a1'))).toEqual({ ok: true });
      expect(await query(scene.copy.url, 'SELECT name FROM by_hand')).toEqual([
        { name: expect.stringMatching(/^migration-target\/operation1\/rehearsal@[0-9a-f]{10}$/) },
      ]);
      await scene.expectLiveUnchanged();
    },
  );

  /** A migration that env.py means for the live database runs in the one on another server, and nowhere else. */
  async function expectTriedOnAnotherServer(major: Major, envPy: (liveUrl: string) => string): Promise<void> {
    const other = await startOwnServer(major);
    try {
      await query(other.superuserUrl, 'CREATE DATABASE apart');
      const url = databaseUrl(other.superuserUrl, { database: 'apart' });
      const [row] = await query<{ oid: string }>(url, "SELECT oid::text FROM pg_database WHERE datname = 'apart'");
      await using scene = await openRehearsal(
        major,
        (live) => ({ revisions: [tried], envPy: envPy(live.url) }),
        (live) => ({ copy: { insteadOf: live.name, database: 'apart', url } }),
      );
      const database = { name: 'apart', oid: Number(row?.oid) };
      expect(await scene.session.migrate({ from: [], steps: up('a1'), database, lock: null }, () => {})).toEqual({
        ok: true,
      });
      expect(await tablesOf(url)).toEqual(['tried']);
      await scene.expectLiveUnchanged();
      expect(await tablesOf(scene.copy.url)).toEqual(['kept']);
    } finally {
      await other.stop();
    }
  }

  test.each(inTurn([['psycopg'], ['psycopg2'], ['pg8000']]))('PostgreSQL %i: %s: on another server', (major, driver) =>
    expectTriedOnAnotherServer(major, (url) =>
      envOf(withDriver(url, driver), 'create_engine(URL, poolclass=pool.NullPool)'),
    ),
  );

  test.each(inTurn([['psycopg'], ['asyncpg']]))('PostgreSQL %i: %s, asynchronous: on another server', (major, driver) =>
    expectTriedOnAnotherServer(major, (url) => asynchronous(withDriver(url, driver))),
  );
});

describeInTurn('a rehearsal', (major, testOnce) => {
  testOnce('?options= is kept', async () => {
    const envPy = (url: string): string =>
      envOf(withDriver(`${url}?options=-c%20work_mem%3D77MB`, 'psycopg'), 'create_engine(URL)');
    const show = 'print(op.get_bind().execute(sa.text("SHOW work_mem")).scalar())';
    await using scene = await openRehearsal(major, (live) => ({
      revisions: [{ id: 'a1', up: show }],
      envPy: envPy(live.url),
    }));
    expect(await scene.rehearse([], up('a1'))).toEqual({ ok: true });
    expect(outputOf(scene.events)).toEqual(['77MB']);
    await scene.expectLiveUnchanged();
  });

  testOnce(
    'a program finds the copy in the URL that is handed over, in a declared one, and in libpq’s variables',
    async () => {
      const body = `import os, subprocess
from urllib.parse import urlsplit
psql, u = os.path.join("BIN", "psql"), urlsplit(os.environ["APP_URL"])
subprocess.run([psql, "-c", "CREATE TABLE by_url ()", os.environ["DATABASE_URL"]], check=True)
subprocess.run([psql, "-c", "CREATE TABLE by_declared ()", os.environ["APP_URL"]], check=True)
os.environ.update(PGHOST=u.hostname, PGPORT=str(u.port), PGUSER=u.username, PGPASSWORD=u.password)
subprocess.run([psql, "-c", "CREATE TABLE by_variables ()"], check=True)
os.system(psql + ' "$DATABASE_URL" -c "CREATE TABLE by_shell ()"')`;
      await using scene = await openRehearsal(
        major,
        (live) => ({ revisions: [{ id: 'a1', up: body.replace('BIN', live.server.binDir) }] }),
        (live) => ({ env: { APP_URL: live.url } }),
      );
      expect(await scene.rehearse([], up('a1'))).toEqual({ ok: true });
      expect(await tablesOf(scene.copy.url)).toEqual(['by_declared', 'by_shell', 'by_url', 'by_variables', 'kept']);
      await scene.expectLiveUnchanged();
    },
  );

  testOnce('a probe reaches the copy', async () => {
    await using scene = await openRehearsal(major, () => ({ revisions: [tried] }));
    const database = { name: scene.copy.name, oid: scene.copy.oid, systemIdentifier: '' };
    const [row] = await query<{ id: string }>(
      scene.live.adminUrl,
      'SELECT system_identifier::text AS id FROM pg_control_system()',
    );
    expect(
      await scene.session.probe({ database: { ...database, systemIdentifier: row?.id ?? '' }, lock: scene.lock.token }),
    ).toEqual({ ok: true });
    expect(await scene.rehearse([], up('a1'))).toEqual({ ok: true });
  });
});
