/** What says nothing of the downgrade itself never leads to an older backup: docs/procedure.md. */
import { writeFile, readFile } from 'node:fs/promises';

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import pg from 'pg';

import { contentChecksum, createDatabase } from '../../support/postgres.ts';
import { createScene, said, type Scene } from '../../support/scene.ts';

const major = 16;

/** What the downgrade of a3 does is read from a file when it runs. */
const history = {
  revisions: [
    { id: 'a1', up: `op.create_table('users', sa.Column('id', sa.Integer, primary_key=True))` },
    {
      id: 'a2',
      up: `op.add_column('users', sa.Column('email', sa.Text))`,
      downgrade: `op.drop_column('users', 'email')`,
    },
    {
      id: 'a3',
      up: `op.create_index('users_email', 'users', ['email'])`,
      downgrade: `import pathlib
exec(pathlib.Path(__file__).with_name("fault").read_text())
op.drop_index('users_email')`,
    },
  ],
};

let scene: Scene;
let envPy: string;
let content: string;
beforeAll(async () => {
  scene = await createScene(major, { history, spec: { database: { lockTimeout: '1s' } } });
  await scene.goTo('a1');
  await scene.goTo('a3');
  await scene.query('INSERT INTO users (id) VALUES (1)');
  content = await contentChecksum(scene.database.adminUrl);
  envPy = await readFile(scene.project.envPyPath, 'utf8');
});
afterAll(async () => scene[Symbol.asyncDispose]());

let declared = 0;
/** Declares a1, of which there is a verified backup without the row; the fault is gone afterwards. */
async function goDown(fault: { readonly migration?: string; readonly env?: string }): Promise<string> {
  await writeFile(`${scene.project.versionsDir}/fault`, fault.migration ?? '');
  await writeFile(scene.project.envPyPath, fault.env ?? envPy);
  declared += 1;
  const { outcome } = await scene.goTo('a1', { interval: `${declared}m` });
  await writeFile(scene.project.envPyPath, envPy);
  return said(outcome);
}

async function expectUntouched(): Promise<void> {
  expect(await scene.version()).toBe('a3');
  expect(await contentChecksum(scene.database.adminUrl)).toBe(content);
  expect(await scene.databases()).toEqual([scene.database.name]);
}

describe('with a verified backup at the desired revision, the database stays as it is, with what was written since, after', () => {
  test.each([
    ['an env.py that raises', { env: 'import nowhere_to_be_found\n' }, 'AlembicFailed'],
    ['an env.py that does nothing', { env: 'from alembic import context\n' }, 'DowngradeFailed'],
    ['a Python that ends', { env: 'import os\nos._exit(0)\n' }, 'DowngradeFailed'],
    [
      'a Python that is killed in the migration',
      { migration: 'import os\nos.kill(os.getpid(), 9)' },
      'DowngradeFailed',
    ],
    [
      'a connection that is lost',
      { migration: `op.execute("SELECT pg_terminate_backend(pg_backend_pid())")` },
      'DatabaseUnreachable',
    ],
    [
      'a statement that somebody cancels',
      { migration: `op.execute("SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(60)")` },
      'TimedOut',
    ],
    [
      'a statement that the role’s statement_timeout ends',
      { migration: `op.execute("SET LOCAL statement_timeout = 50"); op.execute("SELECT pg_sleep(60)")` },
      'TimedOut',
    ],
    [
      'a server that is out of memory',
      { migration: `op.execute("DO $$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = '53200'; END $$")` },
      'DowngradeFailed',
    ],
  ])('%s', async (_, fault, reason) => {
    expect(await goDown(fault)).toMatch(new RegExp(`^stalled ${reason}: .* is at a3, as before`, 's'));
    await expectUntouched();
  });

  test('an env.py that reaches another database', async () => {
    await using other = await createDatabase(major);
    const env = envPy.replace('os.environ["DATABASE_URL"]', JSON.stringify(other.url));
    expect(await goDown({ env })).toMatch(/^stalled WrongDatabase: .* is at a3, as before/s);
    await expectUntouched();
  });

  test('a lock that somebody holds', async () => {
    const holder = new pg.Client({ connectionString: scene.database.url });
    await holder.connect();
    await holder.query('BEGIN; LOCK TABLE users IN ACCESS SHARE MODE');
    try {
      expect(await goDown({})).toMatch(/^stalled LockTimedOut: .*Blocked by pid \d+.* is at a3, as before/s);
    } finally {
      await holder.end();
    }
    await expectUntouched();
  });
});

test('a migration that fails by itself does lead there', async () => {
  expect(await goDown({ migration: `raise RuntimeError('no way back')` })).toMatch(/^ready RestoredFromBackup: /);
  expect(await scene.version()).toBe('a1');
});
