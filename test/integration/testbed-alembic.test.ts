import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { parse } from 'yaml';

import { parseTarget } from '../../src/api/target.ts';
import {
  alembic,
  buildbotPython,
  environments,
  runAlembic,
  sql,
  writeHistory,
  writeTarget,
} from '../support/alembic.ts';
import { run } from '../../scripts/lib/run.ts';
import { createDatabase, majors, query } from '../support/postgres.ts';

const major = majors.at(-1) ?? 18;
const revisions = [
  { id: 'a1', up: sql("CREATE TABLE t (at time DEFAULT '10:11:12'::time)"), downgrade: sql('DROP TABLE t') },
  {
    id: 'b2',
    up: "op.add_column('t', sa.Column('name', sa.Text))\nop.execute('INSERT INTO t (name) VALUES (1)')",
    downgrade: "op.drop_column('t', 'name')",
  },
];

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'migration-target-test-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

test.each(environments)('a history with the env.py "%s" goes up and down', async (env) => {
  await using database = await createDatabase(major);
  const project = await writeHistory(join(dir, env), { revisions, env });
  const table = `${project.database.versionTableSchema ?? 'public'}.alembic_version`;
  await alembic(project, database.url, 'upgrade', 'head');
  expect(await query(database.url, `SELECT version_num FROM ${table}`)).toEqual([{ version_num: 'b2' }]);
  expect(await query(database.url, 'SELECT name FROM t')).toEqual([{ name: '1' }]);
  await alembic(project, database.url.replace('postgresql:', 'postgresql+psycopg2:'), 'downgrade', 'a1');
  expect(await query(database.url, 'SELECT * FROM t')).toEqual([{ at: '10:11:12' }]);
  await alembic(project, database.url, 'downgrade', 'base');
  expect(await query(database.url, `SELECT * FROM ${table}`)).toEqual([]);
});

test('branches, merges, dependencies and labels are as described', async () => {
  await using database = await createDatabase(major);
  const project = await writeHistory(join(dir, 'branches'), {
    versionTable: 'own_version',
    transactionPerMigration: true,
    revisions: [
      { id: 'r', down: null },
      { id: 'a', down: 'r', labels: ['left'] },
      { id: 'b', down: 'r' },
      { id: 'm', down: ['a', 'b'] },
      { id: 'x', down: null, dependsOn: 'a' },
    ],
  });
  await alembic(project, database.url, 'upgrade', 'left@head');
  await alembic(project, database.url, 'upgrade', 'heads');
  expect(await query(database.url, 'SELECT version_num FROM own_version ORDER BY 1')).toEqual([
    { version_num: 'm' },
    { version_num: 'x' },
  ]);
});

test('a migration that fails is told from one that works', async () => {
  await using database = await createDatabase(major);
  const project = await writeHistory(join(dir, 'failing'), {
    revisions: [{ id: 'a1', up: 'raise Exception("as it was told to")' }],
  });
  const { code, stderr } = await runAlembic(project, database.url, ['upgrade', 'head']);
  expect(code).toBe(1);
  expect(stderr).toContain('as it was told to');
});

test('a target written for a project and a database is a valid one', async () => {
  await using database = await createDatabase(major, { password: '@:/ %' });
  const project = await writeHistory(join(dir, 'target'), { revisions, env: 'sections' });
  const path = await writeTarget(dir, {
    name: 'unicorn',
    database,
    project,
    revision: 'a1',
    backups: join(dir, 'backups'),
    admin: true,
    spec: { policy: { dataLoss: 'Allow' } },
  });
  const document: unknown = parse(await readFile(path, 'utf8'));
  expect(parseTarget(document)).toMatchObject({
    ok: true,
    target: {
      spec: { revision: 'a1', alembic: { section: 'unicorn' }, policy: { dataLoss: 'Allow', downgrade: 'Allow' } },
    },
  });
  expect(await readFile(join(dir, 'secrets', 'unicorn', 'url'), 'utf8')).toBe(database.url);
  expect(await query(database.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
});

test.each(['4.2.1', '4.3.0'] as const)('Buildbot %s has its migrations', async (version) => {
  const script =
    'import buildbot, buildbot.db.model, glob, os, psycopg2, alembic; print(buildbot.version, sorted(glob.glob(os.path.dirname(buildbot.db.__file__) + "/migrations/versions/0*")).pop())';
  const { stdout, stderr } = await run(await buildbotPython(version), ['-c', script]);
  expect(`${stdout}${stderr}`).toMatch(new RegExp(`^${version} .*/${version === '4.2.1' ? '066' : '067'}_`));
});
