/** New migrations, tried as a pipeline does: no target, no home, a server that holds nothing live. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

import { describe, expect, test } from '@jest/globals';

import { python, sql, writeHistory, type HistorySpec, type Revision } from '../../support/alembic.ts';
import { createDatabase, databaseUrl, inTurn, query, type Major, type TestDatabase } from '../../support/postgres.ts';
import { major, startProgram, until, type Ended, type Running } from '../../integration/cli/bench.ts';

interface Report {
  readonly ok: boolean;
  readonly since: readonly string[];
  readonly revisions: readonly {
    readonly id: string;
    readonly findings: readonly { readonly level: string; readonly kind: string; readonly message: string }[];
    readonly locks: readonly { readonly table: string; readonly mode: string; readonly rows: number }[];
  }[];
  readonly notChecked: readonly string[];
  readonly cleared: readonly string[];
}

interface Pipeline extends AsyncDisposable {
  readonly dir: string;
  readonly database: TestDatabase;
  start(...args: readonly string[]): Running;
  run(...args: readonly string[]): Promise<Ended>;
  report(...args: readonly string[]): Promise<Report & { readonly code: number | null }>;
  /** Databases on the server that a check made, and did not drop. */
  left(): Promise<string[]>;
}

/** A repository's folder, and a server by a role that may create databases; its own database is never touched. */
async function pipeline(
  revisions: readonly Revision[],
  spec: Partial<HistorySpec> = {},
  on: Major = major,
): Promise<Pipeline> {
  const dir = await mkdtemp(join(tmpdir(), 'mt-check-'));
  const database = await createDatabase(on);
  await writeHistory(dir, { ...spec, revisions });
  const interpreter = await python();
  const env = {
    ...process.env,
    PATH: [database.server.binDir, process.env['PATH']].join(delimiter),
    MIGRATION_TARGET_CHECK_SERVER: database.url,
    MIGRATION_TARGET_DIR: '',
    KUBECONFIG: '/nowhere',
    PYTHONDONTWRITEBYTECODE: '1',
  };
  const started: Running[] = [];
  const made: Pipeline = {
    dir,
    database,
    start: (...args) => {
      const running = startProgram(['check', '--working-dir', dir, '--python', interpreter, ...args], env);
      started.push(running);
      return running;
    },
    run: (...args) => made.start(...args).ended,
    async report(...args) {
      const { code, stdout, stderr } = await made.run(...args, '-o', 'json');
      if (stdout === '') throw new Error(stderr);
      return { code, ...(JSON.parse(stdout) as Report) };
    },
    async left() {
      const rows = await query<{ datname: string }>(
        database.adminUrl,
        `SELECT datname FROM pg_database WHERE datname LIKE 'mtcheck%' AND pg_get_userbyid(datdba) = $1 ORDER BY 1`,
        [database.owner],
      );
      return rows.map(({ datname }) => datname);
    },
    async [Symbol.asyncDispose]() {
      for (const { child } of started) child.kill('SIGKILL');
      await Promise.all(started.map(({ ended }) => ended));
      await database.drop();
      await rm(dir, { recursive: true, force: true });
    },
  };
  return made;
}

const users: Revision = {
  id: 'a1',
  up: `op.create_table('users', sa.Column('id', sa.Integer, primary_key=True), sa.Column('name', sa.Text))`,
  downgrade: `op.drop_table('users')`,
};
const email: Revision = {
  id: 'a2',
  up: `op.add_column('users', sa.Column('email', sa.Text))`,
  downgrade: `op.drop_column('users', 'email')`,
};
const kinds = ({ revisions }: Report): readonly string[] =>
  revisions.flatMap(({ id, findings }) => findings.map(({ level, kind }) => `${id} ${level} ${kind}`));

test('a migration that comes and goes ends with 0, with the lock that it holds; nothing is left on the server', async () => {
  await using repository = await pipeline([users, email]);
  const { code, ...report } = await repository.report();
  expect([code, kinds(report)]).toEqual([0, []]);
  expect(report).toMatchObject({
    ok: true,
    since: ['a1'],
    revisions: [{ id: 'a2', locks: [{ table: 'public.users', mode: 'AccessExclusiveLock', rows: 0 }] }],
  });
  expect(await repository.left()).toEqual([]);
  expect(await query(repository.database.adminUrl, `SELECT 1 FROM pg_tables WHERE schemaname = 'public'`)).toEqual([]);

  const shown = await repository.run();
  expect(shown.stdout).toMatch(
    /^✓ a2 .*up .*down .*up again .*\n {4}lock AccessExclusiveLock on public\.users: nobody reads or writes it until the migration has committed\n\n✓ 1 migration, 0 errors, 0 warnings, without a data sample\n$/,
  );
});

describe('what is found', () => {
  const rows = `INSERT INTO users SELECT g, 'user ' || g FROM generate_series(1, 100) g;`;
  interface Case {
    readonly revision: Partial<Revision>;
    readonly sample?: string;
    /** As kinds() has them, and each message. */
    readonly finds: readonly (readonly [kind: string, says: RegExp])[];
    /** By itself; and with --strict, where that is another run. */
    readonly ends: number;
    readonly strictly?: number;
  }
  const cases: readonly (readonly [string, Case])[] = [
    [
      'an upgrade that raises',
      {
        revision: { up: sql('ALTER TABLE nothing ADD COLUMN x int') },
        finds: [['error upFails', /^upgrade\(\) fails: .*"nothing" does not exist.*SQLSTATE 42P01.*0002_a2\.py/]],
        ends: 1,
      },
    ],
    [
      'a downgrade that raises',
      {
        revision: { up: email.up ?? '', downgrade: `raise NotImplementedError('no way back')` },
        finds: [['error downFails', /^it can't be taken back: downgrade\(\) fails: .*no way back/]],
        ends: 1,
      },
    ],
    [
      'a downgrade that is pass',
      {
        revision: { up: email.up ?? '', downgrade: 'pass' },
        finds: [
          [
            'warning passDowngrade',
            /^downgrade\(\) is pass: what upgrade\(\) made stays \(left over: column public\.users\.email text\)/,
          ],
          ['warning againFails', /^upgrade\(\) fails the second time: .*already exists/],
        ],
        ends: 0,
        strictly: 1,
      },
    ],
    [
      'a downgrade that leaves something behind',
      {
        revision: {
          up: sql('CREATE INDEX IF NOT EXISTS names ON users (name); ALTER TABLE users ADD COLUMN email text'),
          downgrade: email.downgrade ?? '',
        },
        sample: 'SELECT 1;',
        finds: [
          [
            'warning irreversible',
            /^after downgrade\(\) the schema is another one.*left over: index public\.users.*names/,
          ],
        ],
        ends: 0,
        strictly: 1,
      },
    ],
    [
      'a downgrade of data alone that is pass',
      {
        revision: { up: sql('INSERT INTO users VALUES (0) ON CONFLICT DO NOTHING'), downgrade: 'pass' },
        sample: 'SELECT 1;',
        finds: [['note passDowngrade', /^downgrade\(\) is pass: the schema is the one of before all the same/]],
        ends: 0,
        strictly: 0,
      },
    ],
    [
      'data that the upgrade loses and the downgrade does not bring back',
      {
        revision: {
          up: `op.drop_column('users', 'name')`,
          downgrade: `op.add_column('users', sa.Column('name', sa.Text))`,
        },
        sample: rows,
        finds: [
          [
            'warning losesData',
            /^upgrade\(\) loses data of the sample: 100 rows in 1 table: public\.users \(column name goes, with 100 values\)/,
          ],
          ['warning losesData', /^downgrade\(\) does not bring back what the sample had before: /],
          [
            'note blocksOthers',
            /^upgrade\(\) holds AccessExclusiveLock on public\.users \(100 rows in the sample\): nobody reads or writes/,
          ],
        ],
        ends: 0,
        strictly: 1,
      },
    ],
    [
      'what an upgrade without a sample may lose, by reading it',
      {
        revision: {
          up: `op.drop_column('users', 'name')`,
          downgrade: `op.add_column('users', sa.Column('name', sa.Text))`,
        },
        finds: [['warning mayLoseData', /^upgrade\(\) may lose data: drop_column\('users', 'name'\); with --sample/]],
        ends: 0,
        strictly: 1,
      },
    ],
    [
      'an index that keeps writers away',
      {
        revision: { up: `op.create_index('names', 'users', ['name'])`, downgrade: `op.drop_index('names')` },
        sample: rows,
        finds: [['note blocksOthers', /^upgrade\(\) holds ShareLock on public\.users .*nobody writes it/]],
        ends: 0,
      },
    ],
  ];
  test.each(inTurn(cases))('PostgreSQL %i: is %s', async (on, _called, { revision, sample, finds, ends, strictly }) => {
    await using repository = await pipeline([users, { ...revision, id: 'a2' }], {}, on);
    const file = join(repository.dir, 'sample.sql');
    if (sample !== undefined) await writeFile(file, sample);
    const options = sample === undefined ? [] : ['--sample', file];
    const { code, ...report } = await repository.report(...options);
    expect(kinds(report)).toEqual(finds.map(([kind]) => `a2 ${kind}`));
    const messages = report.revisions.flatMap(({ findings }) => findings.map(({ message }) => message));
    for (const [index, [, says]] of finds.entries()) expect(messages[index]).toMatch(says);
    const strict = strictly === undefined ? undefined : (await repository.run(...options, '--strict')).code;
    expect([code, strict]).toEqual([ends, strictly]);
    expect(await repository.left()).toEqual([]);
  });
});

describe('which are new', () => {
  const branches: readonly Revision[] = [
    users,
    email,
    { id: 'b2', down: 'a1', up: sql('CREATE TABLE b (id int)'), downgrade: sql('DROP TABLE b') },
    { id: 'm3', down: ['a2', 'b2'], up: sql('CREATE TABLE m (id int)'), downgrade: sql('DROP TABLE m') },
  ];
  const ids = async (repository: Pipeline, ...args: readonly string[]): Promise<readonly string[]> => {
    const { code, revisions } = await repository.report(...args);
    expect(code).toBe(0);
    return revisions.map(({ id }) => id);
  };

  test('those that are not below the revision that is given: branches and merges too', async () => {
    await using repository = await pipeline(branches);
    expect(await ids(repository)).toEqual(['m3']);
    expect(await ids(repository, '--since', 'a2')).toEqual(['b2', 'm3']);
    expect(await ids(repository, '--since', 'base')).toEqual(['a1', 'a2', 'b2', 'm3']);
    expect(await ids(repository, '--since', 'm3')).toEqual([]);
    const unknown = await repository.run('--since', 'zz');
    expect([unknown.code, unknown.stderr]).toEqual([1, expect.stringMatching(/RevisionNotFound[^]*'zz'/)]);
  });

  test('what follows one that fails is not checked, and said so', async () => {
    await using repository = await pipeline([users, { id: 'a2', up: sql('nonsense') }, { id: 'a3', up: 'pass' }]);
    const { code, revisions, notChecked } = await repository.report('--since', 'a1');
    expect([code, revisions.map(({ id }) => id), notChecked]).toEqual([1, ['a2'], ['a3']]);
  });

  test('nothing can be said where base does not lead to them', async () => {
    await using repository = await pipeline([{ id: 'a1', up: sql('ALTER TABLE by_hand ADD x int') }, { id: 'a2' }]);
    const { code, stderr } = await repository.run();
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(/UpgradeFailed[^]*Base does not lead to a1, which the new migrations follow.*by_hand/),
    ]);
    expect(await repository.left()).toEqual([]);
  });
});

test('Markdown has a table of what was found, and one of locks', async () => {
  await using repository = await pipeline([users, { ...email, downgrade: 'pass' }]);
  const { stdout } = await repository.run('--markdown');
  expect(stdout).toMatch(
    /^## ✅ Migrations: 1 migration, 0 errors, 2 warnings, without a data sample\n\nNew since a1, on PostgreSQL 16/,
  );
  expect(stdout).toMatch(
    /### `a2` a2\n\n\| \| what \| where \|\n\|---\|---\|---\|\n\| ⚠️ warning \| downgrade\(\) is pass: .* \| `\S*0002_a2\.py` \|/,
  );
  expect(stdout).toMatch(/\| AccessExclusiveLock \| `public\.users` \| 0 \| nobody reads or writes it/);
});

const declaration = (alembic: string, versionTable = 'alembic_version'): string =>
  `apiVersion: migrationtarget.dev/v1alpha1
kind: MigrationTarget
metadata: {name: unicorn}
spec:
  revision: "a2"
  database: {urlFrom: {secretKeyRef: {name: nobody, key: url}}, versionTable: ${versionTable}}
  alembic: ${alembic}
  runtime: {process: {}}
  backup: {storage: {directory: {path: /nowhere}}}
`;

test('a declaration says how alembic is run; the URL of its own database is never asked for', async () => {
  await using repository = await pipeline([users, email], { versionTable: 'versions', env: 'psycopg2' });
  const file = join(repository.dir, 'target.yaml');
  await writeFile(
    file,
    declaration('{workingDir: /app, databaseUrl: {env: DATABASE_URL, driver: postgresql+psycopg2}}', 'versions'),
  );
  const { code, revisions } = await repository.report('-f', file);
  expect([code, revisions.map(({ id }) => id)]).toEqual([0, ['a2']]);
});

test('what is wrong with how alembic is run is told by what was typed, and by the declaration else', async () => {
  await using repository = await pipeline([users, email]);
  const refused = await repository.run('--python', '/nowhere/python');
  expect(refused.code).toBe(1);
  expect(refused.stderr).toMatch(/The interpreter \/nowhere\/python could not be started .* Correct --python, e\.g\./);
  expect(refused.stderr).not.toContain('spec.');

  const file = join(repository.dir, 'target.yaml');
  await writeFile(file, declaration('{workingDir: /app, config: nothing.ini, databaseUrl: {env: DATABASE_URL}}'));
  const { stderr } = await repository.run('-f', file);
  expect(stderr.replaceAll(/\s+/g, ' ')).toContain('Correct --working-dir and spec.alembic.config.');
});

test.each([
  ['with a transaction for each migration', { transactionPerMigration: true }, []],
  ['over asyncpg', { env: 'asyncpg' }, ['--driver', 'postgresql+asyncpg']],
] as const)('locks are told %s', async (_called, spec, options) => {
  await using repository = await pipeline([users, email], spec);
  const { revisions } = await repository.report(...options);
  expect(revisions[0]?.locks).toEqual([{ table: 'public.users', mode: 'AccessExclusiveLock', rows: 0 }]);
});

test('what the application keeps open, or knows of tables, is not in the way of the second time', async () => {
  const upgrade = `import shared
t = sa.Table('users', shared.metadata, autoload_with=op.get_bind())
assert 'email' not in t.c
op.add_column('users', sa.Column('email', sa.Text))`;
  await using repository = await pipeline([users, { ...email, up: upgrade }], {
    envPy: `import shared
from alembic import context
context.configure(connection=shared.connection)
with context.begin_transaction():
    context.run_migrations()
shared.connection.execute(shared.sqlalchemy.text("SELECT count(*) FROM users"))
`,
  });
  await writeFile(
    join(repository.dir, 'shared.py'),
    `import os
import sqlalchemy
metadata = sqlalchemy.MetaData()
url = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://")
connection = sqlalchemy.create_engine(url).connect()
`,
  );
  const { code, revisions } = await repository.report();
  expect([code, revisions[0]?.findings.filter(({ level }) => level === 'error')]).toEqual([0, []]);
});

describe('on the server', () => {
  const slow: Revision = { id: 'a2', up: sql('SELECT pg_sleep(60)'), downgrade: 'pass' };
  const sleeping = async ({ database }: Pipeline): Promise<boolean> => {
    const rows = await query(
      database.adminUrl,
      `SELECT 1 FROM pg_stat_activity WHERE usename = $1 AND query LIKE '%pg_sleep(60)%'`,
      [database.owner],
    );
    return rows.length > 0;
  };

  test('Ctrl-C drops what was made, and ends with 130', async () => {
    await using repository = await pipeline([users, slow]);
    const running = repository.start();
    await until(running, () => sleeping(repository));
    expect(await repository.left()).not.toEqual([]);
    running.child.kill('SIGINT');
    expect((await running.ended).code).toBe(130);
    expect(await repository.left()).toEqual([]);
  });

  test('what a killed run left is dropped by the next one, by its oid; what only looks like it stays', async () => {
    await using repository = await pipeline([users, slow]);
    const running = repository.start();
    await until(running, () => sleeping(repository));
    running.child.kill('SIGKILL');
    await running.ended;
    const left = await repository.left();
    expect(left.length).toBeGreaterThan(2);
    const maintenance = databaseUrl(repository.database.url, { database: 'postgres' });
    await query(maintenance, 'CREATE DATABASE mtcheck_3000000001_abcdef');

    const script = join(repository.dir, 'migrations/versions/0002_a2.py');
    await writeFile(
      script,
      `revision = 'a2'\ndown_revision = 'a1'\n\ndef upgrade():\n    pass\n\ndef downgrade():\n    pass\n`,
    );
    const { cleared } = await repository.report();
    expect(cleared.toSorted()).toEqual(left);
    expect(await repository.left()).toEqual(['mtcheck_3000000001_abcdef']);
    await query(maintenance, 'DROP DATABASE mtcheck_3000000001_abcdef');
  });

  test('without one it says how to give it, and asks for no home', async () => {
    await using repository = await pipeline([users]);
    const { code, stderr } = await startProgram(['check', '--working-dir', repository.dir], {
      PATH: process.env['PATH'] ?? '',
    }).ended;
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(/No server[^]*MIGRATION_TARGET_CHECK_SERVER.*--server[^]*docker run/),
    ]);
  });
});
