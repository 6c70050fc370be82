import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import pg from 'pg';
import type { MigrationError } from '../../../src/rollback/ports.ts';
import { sql, writeHistory, type Revision } from '../../support/alembic.ts';
import { createDatabase, databaseUrl, query } from '../../support/postgres.ts';
import { down, folder, major, openScene, openSceneOf, outputOf, until, untilActive, up } from './scene.ts';

const users: Revision = {
  id: 'a1',
  up: 'op.create_table("users", sa.Column("id", sa.Integer, primary_key=True))',
  downgrade: 'op.drop_table("users")',
};

const failed = (error: Partial<Record<keyof MigrationError, unknown>>): unknown => ({
  ok: false,
  error: expect.objectContaining(error),
});

describe('a migration that fails', () => {
  test.each([
    ['psycopg', 'nothing', '', false],
    ['asyncpg', 'nothing', '', false],
    ['psycopg', 'to the driver', 'op.get_bind().connection.dbapi_connection.commit()', true],
    ['asyncpg', 'to the driver', 'op.get_bind().connection.dbapi_connection.commit()', true],
    ['psycopg', 'among other statements', sql('SELECT 1; COMMIT; SELECT 2'), true],
  ] as const)('%s: says whether anything was committed: %s', async (env, _, commit, committed) => {
    const body = `${sql('CREATE TABLE early (x int)')}\n${commit}\nraise RuntimeError('late')`;
    await using scene = await openScene({ env, revisions: [{ id: 'a1', up: body }] });
    expect(await scene.migrate([], up('a1'))).toEqual(failed({ message: 'RuntimeError: late', committed }));
  });

  test.each(['psycopg', 'psycopg2', 'asyncpg'] as const)(
    '%s: the statement, its SQLSTATE, file and line',
    async (env) => {
      await using scene = await openScene({
        env,
        revisions: [users, { id: 'b2', up: `x = 1\n${sql('ALTER TABLE nothing ADD COLUMN x int')}` }],
      });
      expect(await scene.migrate([], up('a1', 'b2'))).toEqual(
        failed({
          kind: 'migration',
          step: up('b2')[0],
          sqlstate: '42P01',
          statement: 'ALTER TABLE nothing ADD COLUMN x int',
          file: 'migrations/versions/0002_b2.py',
          line: 13,
          message: expect.stringContaining('relation "nothing" does not exist'),
          blockedBy: null,
        }),
      );
      expect(await scene.heads()).toBeNull();
    },
  );

  test('raises: the exception and its place', async () => {
    await using scene = await openScene({ revisions: [{ id: 'a1', up: 'raise NotImplementedError("no way back")' }] });
    expect(await scene.migrate([], up('a1'))).toEqual(
      failed({
        kind: 'migration',
        message: 'NotImplementedError: no way back',
        file: 'migrations/versions/0001_a1.py',
        line: 12,
        statement: null,
      }),
    );
  });

  test('sys.exit() in a migration is an error, not an end', async () => {
    await using scene = await openScene({ revisions: [{ id: 'a1', up: 'import sys\nsys.exit(0)' }] });
    expect(await scene.migrate([], up('a1'))).toEqual(
      failed({ kind: 'migration', message: 'sys.exit(0) was called', step: up('a1')[0] }),
    );
    expect(await scene.heads()).toBeNull();
  });

  test('no downgrade() at all is told before anything runs', async () => {
    await using scene = await openScene({ revisions: [users] });
    await writeFile(
      join(scene.project.versionsDir, 'b2.py'),
      'revision = "b2"\ndown_revision = "a1"\ndef upgrade(): pass\n',
    );
    expect((await scene.session.graph()).revisions[1]?.downgrade).toEqual({ shape: 'missing', risks: [] });
    await scene.migrate([], up('a1', 'b2'));
    expect(await scene.migrate(['b2'], down('b2', 'a1'))).toEqual(
      failed({ kind: 'environment', message: expect.stringContaining('downgrade') }),
    );
  });

  test('a constraint that is deferred to the commit: no step, but a migration’s failure', async () => {
    const deferred =
      'CREATE TABLE t (id int, UNIQUE (id) DEFERRABLE INITIALLY DEFERRED); INSERT INTO t VALUES (1), (1)';
    await using scene = await openScene({ revisions: [{ id: 'a1', up: sql(deferred) }] });
    expect(await scene.migrate([], up('a1'))).toEqual(failed({ kind: 'migration', step: null, sqlstate: '23505' }));
    expect(await scene.heads()).toBeNull();
  });

  test('an error that the migration swallows can’t pass for a success', async () => {
    await using scene = await openScene({
      revisions: [users, { id: 'b2', up: `try:\n    ${sql('SELECT 1/0')}\nexcept Exception:\n    pass` }],
    });
    expect(await scene.migrate([], up('a1', 'b2'))).toEqual(
      failed({ kind: 'migration', step: up('b2')[0], sqlstate: '25P02' }),
    );
    expect(await scene.heads()).toBeNull();
  });

  test('an error that is swallowed at the end is seen at the commit', async () => {
    const envPy = `
import os
from alembic import context
from sqlalchemy import create_engine, text
with create_engine(os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:")).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
        try:
            connection.execute(text("SELECT 1/0"))
        except Exception:
            pass
`;
    await using scene = await openScene({ revisions: [users], envPy });
    expect(await scene.migrate([], up('a1'))).toEqual(
      failed({ kind: 'migration', message: expect.stringContaining('swallowed') }),
    );
    expect(await scene.heads()).toBeNull();
  });

  test('the data of a failing statement is not in the message, and the password nowhere', async () => {
    const revisions = [
      {
        id: 'a1',
        up: 'import os\nprint("url", os.environ["DATABASE_URL"])\nraise RuntimeError("at " + os.environ["DATABASE_URL"])',
      },
    ];
    const database = await createDatabase(major, { password: 'p%40@:/ä' });
    await using scene = await openSceneOf(database, await writeHistory(await folder(), { revisions }));
    const result = await scene.migrate([], up('a1'));
    const said = JSON.stringify([result, scene.events]);
    expect(said).toContain('***');
    expect(said).not.toContain('p%40@:/ä');
    expect(said).not.toContain(new URL(database.url).password);
  });
});

describe('env.py that fails', () => {
  const ran = async (envPy: string): Promise<unknown> => {
    await using scene = await openScene({ revisions: [users], envPy });
    const result = await scene.migrate([], up('a1'));
    expect(await scene.heads()).toBeNull();
    return result;
  };

  test('raises at import: environment, with the place', async () => {
    expect(await ran('\nimport nowhere_to_be_found\n')).toEqual(
      failed({
        kind: 'environment',
        step: null,
        file: 'migrations/env.py',
        line: 2,
        message: expect.stringContaining('nowhere_to_be_found'),
      }),
    );
  });

  test('sys.exit(): environment', async () => {
    expect(await ran('import sys\nsys.exit(0)\n')).toEqual(
      failed({ kind: 'environment', message: 'sys.exit(0) was called' }),
    );
  });

  test('exits 0 having done nothing: nothingDone', async () => {
    expect(await ran('from alembic import context\n')).toEqual(
      failed({ kind: 'nothingDone', message: expect.stringContaining('0 of 1') }),
    );
  });

  test('os._exit(0): died, with the last words', async () => {
    expect(await ran('import os\nprint("bye")\nos._exit(0)\n')).toEqual(
      failed({ kind: 'died', message: expect.stringMatching(/exit code 0 outside of any migration.*bye/s) }),
    );
  });

  test('reads from standard input: an end of file, not a hang', async () => {
    expect(await ran('input("sure?")\n')).toEqual(
      failed({ kind: 'environment', message: expect.stringContaining('EOF') }),
    );
  });

  test('can’t log in: environment, in the server’s words', async () => {
    const database = await createDatabase(major);
    const project = await writeHistory(await folder(), { revisions: [users] });
    await using scene = await openSceneOf(database, project, {
      databaseUrl: databaseUrl(database.url, { password: 'wrong' }),
    });
    expect(await scene.migrate([], up('a1'))).toEqual(
      failed({ message: expect.stringContaining('password authentication failed') }),
    );
  });

  test('hides the exception of a migration: still that migration’s failure', async () => {
    const envPy = `
import os
from alembic import context
from sqlalchemy import create_engine
with create_engine(os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:")).connect() as connection:
    context.configure(connection=connection)
    try:
        with context.begin_transaction():
            context.run_migrations()
    except Exception:
        print("never mind")
`;
    await using scene = await openScene({ revisions: [{ id: 'a1', up: sql('SELECT 1/0') }], envPy });
    expect(await scene.migrate([], up('a1'))).toEqual(
      failed({ kind: 'migration', sqlstate: '22012', step: up('a1')[0], line: 12 }),
    );
    expect(outputOf(scene.events)).toEqual(['never mind']);
  });

  test('keeps its revisions elsewhere than declared: refused before a table is made there', async () => {
    // Where each statement commits by itself, a table that is made stays.
    const envPy = `
import os
from alembic import context
from sqlalchemy import create_engine
url = os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:")
with create_engine(url, isolation_level="AUTOCOMMIT").connect() as connection:
    context.configure(connection=connection, version_table="versions")
    context.run_migrations()
`;
    await using scene = await openScene({ revisions: [users], envPy });
    expect(await scene.migrate([], up('a1'))).toEqual(
      failed({ kind: 'environment', message: expect.stringContaining('public.versions') }),
    );
    expect(
      await query(scene.database.url, "SELECT relname FROM pg_class WHERE relname IN ('versions', 'users')"),
    ).toEqual([]);
  });

  test('follows a search_path to another schema: refused', async () => {
    await using scene = await openScene({ revisions: [users] });
    await query(
      scene.database.adminUrl,
      `CREATE SCHEMA tenant; ALTER ROLE ${scene.database.owner} SET search_path = tenant, public; GRANT ALL ON SCHEMA tenant TO ${scene.database.owner}`,
    );
    expect(await scene.migrate([], up('a1'))).toEqual(
      failed({ kind: 'environment', message: expect.stringContaining('tenant.alembic_version') }),
    );
  });

  test('runs the migrations twice, as on several databases: refused', async () => {
    const envPy = `
import os
from alembic import context
from sqlalchemy import create_engine
with create_engine(os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:")).connect() as connection:
    with connection.begin():
        for _ in range(2):
            context.configure(connection=connection)
            context.run_migrations()
`;
    expect(await ran(envPy)).toEqual(failed({ message: expect.stringContaining('more than once') }));
  });
});

describe('another database', () => {
  const envPy = (url: string, catchIt: boolean): string => `
from alembic import context
from sqlalchemy import create_engine, text
try:
    with create_engine(${JSON.stringify(url.replace('postgresql:', 'postgresql+psycopg:'))}).connect() as connection:
        connection.execute(text("CREATE TABLE stray ()"))
        connection.commit()
except ${catchIt ? 'Exception' : 'ZeroDivisionError'}:
    pass
`;
  test.each([[false], [true]])(
    'is refused before the first statement, whether env.py catches the error (%s) or not',
    async (catchIt) => {
      await using other = await createDatabase(major);
      await using scene = await openScene({ revisions: [users], envPy: envPy(other.url, catchIt) });
      const result = await scene.migrate([], up('a1'));
      expect(result).toEqual(
        failed({
          kind: 'wrongDatabase',
          message: `env.py reaches the database '${other.name}', not the declared '${scene.database.name}'`,
          step: null,
          sqlstate: null,
        }),
      );
      expect(await query(other.url, "SELECT 1 FROM pg_class WHERE relname = 'stray'")).toEqual([]);
      expect(JSON.stringify(result)).not.toContain(other.password);
    },
  );

  test('of the same name, but not the same one: refused', async () => {
    await using scene = await openScene({ revisions: [users] });
    const request = {
      from: [],
      steps: up('a1'),
      database: { name: scene.database.name, oid: 1 },
      lock: scene.lock.token,
    };
    expect(await scene.session.migrate(request, () => {})).toEqual(failed({ kind: 'wrongDatabase' }));
    expect(await scene.heads()).toBeNull();
  });

  test('on another server, though name and oid are the same: refused', async () => {
    await using scene = await openScene({ revisions: [users] });
    const [row] = await query<{ oid: string }>(
      scene.database.url,
      'SELECT oid::text FROM pg_database WHERE datname = current_database()',
    );
    const database = { name: scene.database.name, oid: Number(row?.oid), systemIdentifier: '1' };
    expect(
      await scene.session.migrate({ from: [], steps: up('a1'), database, lock: scene.lock.token }, () => {}),
    ).toEqual(failed({ kind: 'wrongDatabase', message: expect.stringContaining('another server') }));
  });

  test('of another kind: refused', async () => {
    await using scene = await openScene({
      revisions: [users],
      envPy: 'from sqlalchemy import create_engine\ncreate_engine("sqlite://").connect()\n',
    });
    expect(await scene.migrate([], up('a1'))).toEqual(
      failed({ kind: 'wrongDatabase', message: expect.stringContaining('sqlite') }),
    );
  });
});

describe('the fence', () => {
  const wait = sql('SELECT pg_sleep(1.5)');

  test.each(['psycopg', 'psycopg2', 'asyncpg'] as const)(
    '%s: nothing is committed once the lock is gone',
    async (env) => {
      await using scene = await openScene({ env, revisions: [users, { id: 'b2', up: wait }] });
      const migrating = scene.migrate([], up('a1', 'b2'));
      await untilActive(scene.database, 'pg_sleep');
      await scene.lock.release();
      expect(await migrating).toEqual(failed({ kind: 'fenced' }));
      expect(await scene.heads()).toBeNull();
    },
  );

  test('nor by a statement that commits by itself', async () => {
    const block = `${wait}\nwith op.get_context().autocommit_block():\n    ${sql('CREATE TABLE stray ()')}`;
    await using scene = await openScene({ revisions: [users, { id: 'b2', up: block }] });
    const migrating = scene.migrate([], up('a1', 'b2'));
    await untilActive(scene.database, 'pg_sleep');
    await scene.lock.release();
    expect(await migrating).toEqual(failed({ kind: 'fenced' }));
    expect(await query(scene.database.url, "SELECT relname FROM pg_class WHERE relname IN ('stray', 'users')")).toEqual(
      [],
    );
  });

  test.each([' commit', '/* by hand */ -- now\n COMMIT'])('nor by COMMIT as a statement: %j', async (commit) => {
    await using scene = await openScene({ revisions: [users, { id: 'b2', up: `${wait}\n${sql(commit)}` }] });
    const migrating = scene.migrate([], up('a1', 'b2'));
    await untilActive(scene.database, 'pg_sleep');
    await scene.lock.release();
    expect(await migrating).toEqual(failed({ kind: 'fenced' }));
    expect(await scene.heads()).toBeNull();
  });

  test('nor on an engine that commits each statement', async () => {
    const envPy = `
import os
from alembic import context
from sqlalchemy import create_engine
with create_engine(os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT").connect() as connection:
    context.configure(connection=connection)
    context.run_migrations()
`;
    await using scene = await openScene({
      envPy,
      revisions: [{ id: 'a1', up: wait }, users].map((one, index) => ({ ...one, id: `r${index}` })),
    });
    const migrating = scene.migrate([], up('r0', 'r1'));
    await untilActive(scene.database, 'pg_sleep');
    await scene.lock.release();
    expect(await migrating).toEqual(failed({ kind: 'fenced', step: up('r0')[0] }));
    expect(await scene.heads()).toEqual([]);
  });

  test('with the lock gone from the start nothing runs', async () => {
    await using scene = await openScene({ revisions: [users] });
    await scene.lock.release();
    expect(await scene.migrate([], up('a1'))).toEqual(failed({ kind: 'fenced', step: null }));
  });
});

describe('what passes by itself', () => {
  test.each(['psycopg', 'psycopg2', 'asyncpg'] as const)(
    '%s: a lock time-out, with who holds the lock',
    async (env) => {
      await using scene = await openScene(
        { env, revisions: [users, { id: 'b2', up: 'op.add_column("users", sa.Column("x", sa.Integer))' }] },
        { lockTimeoutSeconds: 0.3 },
      );
      await scene.migrate([], up('a1'));
      const blocker = new pg.Client({ connectionString: scene.database.url, application_name: 'long report' });
      await blocker.connect();
      try {
        await blocker.query('BEGIN; SELECT * FROM users');
        expect(await scene.migrate(['a1'], up('b2'))).toEqual(
          failed({
            kind: 'lockTimeout',
            sqlstate: '55P03',
            step: up('b2')[0],
            blockedBy: expect.stringMatching(
              /^pid \d+ \(user owner_\w+, application 'long report', idle in transaction, .*\) holds AccessShareLock on users$/,
            ),
          }),
        );
      } finally {
        await blocker.end();
      }
      expect(await scene.heads()).toEqual(['a1']);
      expect(await scene.migrate(['a1'], up('b2'))).toEqual({ ok: true });
    },
  );

  test.each(['psycopg', 'psycopg2', 'asyncpg'] as const)('%s: a session that the server ends', async (env) => {
    await using scene = await openScene({ env, revisions: [users, { id: 'b2', up: sql('SELECT pg_sleep(60)') }] });
    const migrating = scene.migrate([], up('a1', 'b2'));
    await untilActive(scene.database, 'pg_sleep');
    await query(
      scene.database.adminUrl,
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'migration-target/operation1' AND datname = $1",
      [scene.database.name],
    );
    expect(await migrating).toEqual(failed({ kind: 'connectionLost', step: up('b2')[0] }));
    expect(await scene.heads()).toBeNull();
  });

  test('the server’s memory', async () => {
    await using scene = await openScene({
      revisions: [{ id: 'a1', up: sql("DO $$ BEGIN RAISE EXCEPTION 'out of memory' USING ERRCODE = '53200'; END $$") }],
    });
    expect(await scene.migrate([], up('a1'))).toEqual(failed({ kind: 'outOfMemory', sqlstate: '53200' }));
  });

  test('a server that is not there, when the URL is the declared one', async () => {
    const database = await createDatabase(major);
    const project = await writeHistory(await folder(), { revisions: [users] });
    await using scene = await openSceneOf(database, project, { databaseUrl: 'postgresql://a:b@127.0.0.1:1/nothing' });
    expect(await scene.migrate([], up('a1'))).toEqual(failed({ kind: 'connectionLost', step: null }));
  });
});

describe('time, and the end of processes', () => {
  test('env.py hangs: ended at the time-out, with the place, and with what it had started', async () => {
    const envPy = 'import subprocess, time\nprint("child", subprocess.Popen(["sleep", "600"]).pid)\ntime.sleep(600)\n';
    const signal = AbortSignal.timeout(3_000);
    await using scene = await openScene({ revisions: [users], envPy }, { signal });
    expect(await scene.migrate([], up('a1'))).toEqual(
      failed({
        kind: 'timedOut',
        step: null,
        file: 'migrations/env.py',
        line: 3,
        message: expect.stringContaining('migrations/env.py:3'),
      }),
    );
    await untilGone(Number(outputOf(scene.events)[0]?.split(' ')[1]));
  });

  test('a migration that has started is not interrupted', async () => {
    const abort = new AbortController();
    await using scene = await openScene(
      { revisions: [users, { id: 'b2', up: sql('SELECT pg_sleep(1)') }] },
      { signal: abort.signal },
    );
    expect(await scene.migrate([], up('a1', 'b2'), (event) => event.kind === 'started' && abort.abort())).toEqual({
      ok: true,
    });
    expect(await scene.heads()).toEqual(['b2']);
  });

  test('an abort before the start: timedOut, nothing done', async () => {
    const abort = new AbortController();
    await using scene = await openScene({ revisions: [users] }, { signal: abort.signal });
    abort.abort();
    expect(await scene.migrate([], up('a1'))).toEqual(failed({ kind: 'timedOut' }));
    expect(await scene.heads()).toBeNull();
  });

  // A migration that runs a program of its own, as some run psql.
  const waits = `import os, subprocess, time
print("pid", os.getpid(), subprocess.Popen(["sleep", "600"]).pid)
while True: time.sleep(0.1)`;

  test('kill -9 in a migration: died, and with it the transaction, and what the migration had started', async () => {
    await using scene = await openScene({ revisions: [users, { id: 'b2', up: waits }] });
    const migrating = scene.migrate([], up('a1', 'b2'));
    await until('the migration waits', () => Promise.resolve(outputOf(scene.events).length > 0));
    const [, pid, child] = outputOf(scene.events)[0]?.split(' ') ?? [];
    process.kill(Number(pid), 'SIGKILL');
    const message = expect.stringMatching(/killed by SIGKILL in the upgrade of b2.*pid \d+/s);
    expect(await migrating).toEqual(failed({ kind: 'died', step: up('b2')[0], message }));
    await untilGone(Number(child));
    expect(await scene.heads()).toBeNull();
  });

  test('the controller is gone: so is Python, in the middle of a migration too, and commits nothing', async () => {
    await using scene = await openScene({ revisions: [users, { id: 'b2', up: waits }] });
    const migrating = scene.migrate([], up('a1', 'b2'));
    await until('the migration waits', () => Promise.resolve(outputOf(scene.events).length > 0));
    const [, pid, child] = outputOf(scene.events)[0]?.split(' ') ?? [];
    // What the kernel does to the pipe when the controller is killed.
    await scene.session[Symbol.asyncDispose]();
    expect(await migrating).toEqual(failed({ kind: 'died', step: up('b2')[0] }));
    await untilGone(Number(pid));
    await untilGone(Number(child));
    expect(await scene.heads()).toBeNull();
  });
});

/** A process that nobody waits for stays as a zombie where the container has no init: that is gone, too. */
async function untilGone(pid: number): Promise<void> {
  await until(`process ${pid} is gone`, async () => {
    const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => 'State:\tX');
    return /^State:\t[XZ]/m.test(status);
  });
}
