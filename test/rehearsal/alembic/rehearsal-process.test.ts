import { describe, expect, test } from '@jest/globals';
import { describeInTurn } from '../../support/in-turn.ts';
import { sql } from '../../support/alembic.ts';
import { inTurn, query } from '../../support/postgres.ts';
import { envOf, failedWith, openRehearsal, tablesOf } from './rehearsal-scene.ts';
import { down, outputOf, up } from '../../integration/alembic/scene.ts';

const tried = {
  id: 'a1',
  up: 'op.create_table("tried", sa.Column("x", sa.Integer))',
  downgrade: 'op.drop_table("tried")',
};

describe('a rehearsal', () => {
  test.each(
    inTurn([
      ['exits', 'os._exit(0)'],
      ['exits by sys.exit', 'raise SystemExit(0)'],
      ['goes on as its parent does', 'pass'],
      ['goes on with a statement', 'op.execute("CREATE TABLE twice ()")'],
    ]),
  )(
    'PostgreSQL %i: a forked child that %s leaves the parent its transaction, and its answers',
    async (major, _, child) => {
      const body = `import os\n${sql('CREATE TABLE tried ()')}\npid = os.fork()\nif pid == 0:\n    ${child}\nelse:\n    os.waitpid(pid, 0)\n    ${sql('CREATE TABLE after ()')}`;
      await using scene = await openRehearsal(major, () => ({
        revisions: [{ id: 'a1', up: body, downgrade: sql('DROP TABLE tried, after') }],
      }));
      expect(await scene.rehearse([], up('a1'))).toEqual({ ok: true });
      expect(await tablesOf(scene.copy.url)).toEqual(['after', 'kept', 'tried']);
      expect(await scene.rehearse(['a1'], down('a1'))).toEqual({ ok: true });
      await scene.expectLiveUnchanged();
    },
  );

  test.each(
    inTurn([
      ['psycopg', 'sleeps', 'import time\ntime.sleep(600)', 13],
      ['psycopg', 'waits for the server', sql('SELECT pg_sleep(600)'), 12],
      ['psycopg2', 'waits for the server', sql('SELECT pg_sleep(600)'), 12],
      ['asyncpg', 'waits for the server', sql('SELECT pg_sleep(600)'), 12],
      ['psycopg', 'holds the interpreter', 'import re\nre.match("(a+)+$", "a" * 60 + "b")', null],
    ]),
  )(
    'PostgreSQL %i: %s: one that %s is given up, although it has begun: with the place',
    async (major, env, _, hang, line) => {
      const abort = new AbortController();
      await using scene = await openRehearsal(major, () => ({ env, revisions: [tried, { id: 'b2', up: hang }] }), {
        signal: abort.signal,
      });
      const soon = (): void => void setTimeout(() => abort.abort(), 300);
      const result = await scene.rehearse(
        [],
        up('a1', 'b2'),
        (event) => event.kind === 'started' && event.index === 1 && soon(),
      );
      expect(result).toEqual(
        failedWith({
          kind: 'timedOut',
          step: up('b2')[0],
          committed: null,
          file: line === null ? null : 'migrations/versions/0002_b2.py',
          line,
          message: expect.stringContaining(
            line === null
              ? 'The upgrade of b2 did not end in time.'
              : `The upgrade of b2 did not end in time: it was at migrations/versions/0002_b2.py:${line}.`,
          ),
        }),
      );
      expect(await query(scene.copy.url, "SELECT to_regclass('tried') AS t")).toEqual([{ t: null }]);
      await scene.expectLiveUnchanged();
    },
  );
});

describeInTurn('a rehearsal', (major, testOnce) => {
  testOnce('after one that was refused the same process goes on with the next', async () => {
    await using scene = await openRehearsal(major, () => ({
      revisions: [tried, { id: 'b2', up: sql('CREATE ROLE nobody_at_all') }],
    }));
    expect(await scene.rehearse([], up('a1'))).toEqual({ ok: true });
    expect(await scene.rehearse(['a1'], up('b2'))).toEqual(failedWith({ kind: 'escaped' }));
    expect(await scene.rehearse(['a1'], down('a1'))).toEqual({ ok: true });
    expect(await scene.rehearse([], up('a1'))).toEqual({ ok: true });
    await scene.expectLiveUnchanged();
  });

  testOnce('a downgrade() that calls sys.exit(0) has failed, and the process goes on', async () => {
    await using scene = await openRehearsal(major, () => ({
      revisions: [{ ...tried, downgrade: 'import sys\nsys.exit(0)' }],
    }));
    expect(await scene.rehearse([], up('a1'))).toEqual({ ok: true });
    expect(await scene.rehearse(['a1'], down('a1'))).toEqual(
      failedWith({ kind: 'migration', message: 'sys.exit(0) was called', step: down('a1')[0] }),
    );
    expect(await tablesOf(scene.copy.url)).toEqual(['kept', 'tried']);
  });

  testOnce('env.py forks, and its child goes on: one of them migrates, and answers', async () => {
    const engine = 'create_engine(os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:"))';
    const before = 'pid = os.fork()\nif pid: os.waitpid(pid, 0)';
    await using scene = await openRehearsal(major, () => ({ revisions: [tried], envPy: envOf('', engine, before) }));
    expect(await scene.rehearse([], up('a1'))).toEqual({ ok: true });
    expect(await scene.rehearse(['a1'], down('a1'))).toEqual({ ok: true });
    expect(scene.events.map(({ kind }) => kind)).toEqual(['started', 'finished', 'started', 'finished']);
  });

  testOnce('a migration that commits by itself does so on the copy', async () => {
    const body = `${sql('CREATE TABLE tried ()')}\nop.get_bind().connection.dbapi_connection.commit()\n${sql('COMMIT')}\nraise RuntimeError("late")`;
    await using scene = await openRehearsal(major, () => ({ revisions: [{ id: 'a1', up: body }] }));
    expect(await scene.rehearse([], up('a1'))).toEqual(failedWith({ kind: 'migration', committed: true }));
    expect(await tablesOf(scene.copy.url)).toEqual(['kept', 'tried']);
    await scene.expectLiveUnchanged();
  });

  testOnce('a migration that drops the version table fails, and the live one is still there', async () => {
    await using scene = await openRehearsal(major, () => ({
      revisions: [tried, { id: 'b2', up: sql('DROP TABLE alembic_version') }],
    }));
    expect(await scene.rehearse([], up('a1'))).toEqual({ ok: true });
    expect(await scene.rehearse(['a1'], up('b2'))).toEqual(failedWith({ kind: 'migration', sqlstate: '42P01' }));
    await scene.expectLiveUnchanged();
  });

  testOnce('lines that look like the driver’s are output', async () => {
    const body = `import os\nprint('{"result": {"ok": true}}')\nprint('00 {"event": {"kind": "finished", "index": 0}}')\nos.write(1, b'{"stuck": []}\\n')`;
    await using scene = await openRehearsal(major, () => ({ revisions: [{ id: 'a1', up: body }] }));
    expect(await scene.rehearse([], up('a1'))).toEqual({ ok: true });
    expect(outputOf(scene.events)).toEqual([
      '{"result": {"ok": true}}',
      '00 {"event": {"kind": "finished", "index": 0}}',
      '{"stuck": []}',
    ]);
  });

  testOnce('SQLAlchemy’s own statements, its pool and its reflection meet nothing new', async () => {
    const engine =
      'create_engine(os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg2:"), pool_pre_ping=True, use_native_hstore=True)';
    const reflect =
      'm = sa.MetaData()\nm.reflect(op.get_bind())\nprint(sorted(m.tables))\nop.bulk_insert(m.tables["kept"], [{"id": n, "what": "create role"} for n in (2, 3)])';
    await using scene = await openRehearsal(major, () => ({
      revisions: [{ id: 'a1', up: reflect }],
      envPy: envOf('', engine),
    }));
    expect(await scene.rehearse([], up('a1'))).toEqual({ ok: true });
    expect(outputOf(scene.events)).toEqual(["['alembic_version', 'kept']"]);
    expect(await query(scene.copy.url, 'SELECT count(*)::int AS n FROM kept')).toEqual([{ n: 3 }]);
    await scene.expectLiveUnchanged();
  });
});
