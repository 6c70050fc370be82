import { describe, expect, test } from '@jest/globals';
import { readdir } from 'node:fs/promises';
import { environments, writeHistory } from '../../support/alembic.ts';
import { createDatabase } from '../../support/postgres.ts';
import { down, folder, major, openScene, openSceneOf, outputOf, up } from './scene.ts';

const revisions = [
  {
    id: 'a1',
    up: 'op.create_table("users", sa.Column("id", sa.Integer, primary_key=True))',
    downgrade: 'op.drop_table("users")',
  },
  {
    id: 'b2',
    up: 'op.add_column("users", sa.Column("email", sa.String))',
    downgrade: 'op.drop_column("users", "email")',
  },
];

describe('env.py as they come', () => {
  test.each(environments)('%s: upgrades, downgrades to base, and tells of each step', async (env) => {
    await using scene = await openScene({ env, revisions });
    const graph = await scene.session.graph();
    expect(graph.revisions.map(({ id }) => id)).toEqual(['a1', 'b2']);
    expect(await scene.migrate([], up('a1', 'b2'))).toEqual({ ok: true });
    expect(await scene.heads()).toEqual(['b2']);
    expect(await scene.migrate(['b2'], down('b2', 'a1'))).toEqual({ ok: true });
    expect(await scene.heads()).toEqual([]);
    const steps = scene.events.filter(({ kind }) => kind !== 'output');
    expect(steps).toEqual([
      { kind: 'started', step: up('a1')[0], index: 0, total: 2 },
      { kind: 'finished', step: up('a1')[0], index: 0, total: 2, ms: expect.any(Number) },
      { kind: 'started', step: up('b2')[0], index: 1, total: 2 },
      { kind: 'finished', step: up('b2')[0], index: 1, total: 2, ms: expect.any(Number) },
      { kind: 'started', step: down('b2')[0], index: 0, total: 2 },
      { kind: 'finished', step: down('b2')[0], index: 0, total: 2, ms: expect.any(Number) },
      { kind: 'started', step: down('a1')[0], index: 1, total: 2 },
      { kind: 'finished', step: down('a1')[0], index: 1, total: 2, ms: expect.any(Number) },
    ]);
  });

  test('what env.py prints is told line by line, cut where it is long, all of it before the answer', async () => {
    await using scene = await openScene({ env: 'noisy', revisions });
    expect(await scene.migrate([], up('a1', 'b2'))).toEqual({ ok: true });
    const lines = outputOf(scene.events);
    expect(lines).toContain('running b2');
    expect(lines).toContain('from a child');
    expect(lines.some((line) => line.startsWith('{"kind": "result"'))).toBe(true);
    expect(lines.at(-1)).toBe('env.py: done');
    expect(Math.max(...lines.map((line) => line.length))).toBe(2_000);
  });

  test('a migration that prints a line a row fills no report', async () => {
    await using scene = await openScene({ revisions: [{ id: 'a1', up: 'for i in range(3000): print(i)' }] });
    expect(await scene.migrate([], up('a1'))).toEqual({ ok: true });
    const lines = outputOf(scene.events);
    expect(lines).toHaveLength(1001);
    expect(lines.at(-1)).toBe('… more than 1000 lines: the rest is left out');
  });

  test('-x arguments and declared variables reach env.py', async () => {
    const envPy = `
from alembic import context
import os
from sqlalchemy import create_engine
print("tenant", context.get_x_argument(as_dictionary=True)["tenant"], os.environ["APP_ENV"], context.config.cmd_opts.revision)
with create_engine(os.environ["DATABASE_URL"]).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
`;
    const spec = { xArgs: { tenant: 'a=b' }, databaseUrl: { env: 'DATABASE_URL', driver: 'postgresql+psycopg' } };
    await using scene = await openScene({ revisions, envPy }, { env: { APP_ENV: 'production' }, spec });
    expect(await scene.migrate([], up('a1'))).toEqual({ ok: true });
    expect(outputOf(scene.events)).toEqual(['tenant a=b production a1']);
  });

  test('the URL is handed over as an option of the configuration, percent signs and all', async () => {
    const envPy = `
from alembic import context
from sqlalchemy import engine_from_config
engine = engine_from_config(context.config.get_section(context.config.config_ini_section), prefix="sqlalchemy.")
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
`;
    const spec = { databaseUrl: { option: 'sqlalchemy.url', driver: 'postgresql+pg8000' } };
    const database = await createDatabase(major, { password: 'p%40@:/ä' });
    await using scene = await openSceneOf(database, await writeHistory(await folder(), { revisions, envPy }), { spec });
    expect(await scene.migrate([], up('a1'))).toEqual({ ok: true });
  });

  test.each(['psycopg', 'psycopg2', 'asyncpg'] as const)(
    '%s: connections carry the operation and its lock_timeout, after a rollback too',
    async (env) => {
      const show =
        'print("settings", *op.get_bind().execute(sa.text("SELECT current_setting(\'application_name\'), current_setting(\'lock_timeout\')")).one())';
      await using scene = await openScene({
        env,
        transactionPerMigration: true,
        revisions: [
          { id: 'a1', up: show },
          { id: 'b2', up: show },
        ],
      });
      expect(await scene.migrate([], up('a1', 'b2'))).toEqual({ ok: true });
      expect(outputOf(scene.events)).toEqual([
        'settings migration-target/operation1 5s',
        'settings migration-target/operation1 5s',
      ]);
    },
  );

  test('nothing is written into the tree of the project', async () => {
    await using scene = await openScene({ revisions });
    await scene.migrate([], up('a1'));
    const files = await readdir(scene.project.dir, { recursive: true });
    expect(files.filter((file) => file.includes('__pycache__'))).toEqual([]);
  });
});
