import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect, test } from '@jest/globals';

import type { Finding } from '../../../src/rollback/diagnosis.ts';
import { alembic } from '../../support/alembic.ts';
import { contentChecksum, databaseUrl, query } from '../../support/postgres.ts';
import { startPooler } from '../../support/pooler.ts';
import { atB200, createBench, startProgram, twoSteps, type Bench } from './bench.ts';

interface Diagnosis {
  readonly wouldFail: boolean;
  readonly findings: readonly Finding[];
}

const examine = async (bench: Bench): Promise<Diagnosis & { readonly code: number | null }> => {
  const { code, stdout } = await bench.run('doctor', 'unicorn', '-o', 'json');
  return { code, ...(JSON.parse(stdout) as Diagnosis) };
};

/** A database at b200, a week's backup of it, and a declaration of the revision before. */
async function healthy(options: Parameters<typeof createBench>[1] = {}): Promise<Bench> {
  const bench = await createBench(twoSteps, { ...options, sql: atB200 });
  await bench.declare('a100');
  return bench;
}

test('where nothing is missing every line is well, a backup was tried, and nothing has changed', async () => {
  await using bench = await healthy();
  expect(await bench.run('backup', 'unicorn')).toMatchObject({ code: 0 });
  const before = [
    await contentChecksum(bench.database.adminUrl),
    await readFile(join(bench.dir, 'state/default/unicorn/status.json'), 'utf8'),
  ];
  const { code, wouldFail, findings } = await examine(bench);
  expect({ code, wouldFail }).toEqual({ code: 0, wouldFail: false });
  expect(findings.filter(({ level }) => level !== 'ok')).toEqual([]);
  expect(findings.map(({ check }) => check)).toEqual([
    'declaration',
    'operation',
    'secrets',
    'connection',
    'pooler',
    'server',
    'rights',
    'sessions',
    'version table',
    'tools',
    'lock',
    'alembic',
    'env.py',
    'revisions',
    'downgrades',
    'backup folder',
    'free space',
    'backups',
    'restorable',
  ]);
  expect(findings.at(-1)?.message).toMatch(/the schema of default\.unicorn-\S+ was restored into a scratch database/);
  expect([
    await contentChecksum(bench.database.adminUrl),
    await readFile(join(bench.dir, 'state/default/unicorn/status.json'), 'utf8'),
  ]).toEqual(before);
  expect(
    await query(
      bench.database.adminUrl,
      `SELECT datname FROM pg_database WHERE datname LIKE '${bench.database.name}\\_\\_%'`,
    ),
  ).toEqual([]);
  expect((await bench.run('doctor', 'unicorn')).stdout).toMatch(/✓ unicorn: a rollback finds all that it needs\n$/);
});

interface Fault {
  readonly called: string;
  readonly make: (bench: Bench) => Promise<void>;
  readonly check: string;
  readonly says: RegExp;
  readonly options?: Parameters<typeof createBench>[1];
}

const secret = (bench: Bench, key = 'url'): string => join(bench.dir, 'secrets', 'unicorn', key);

const faults: readonly Fault[] = [
  {
    called: 'a field that nothing acts on',
    check: 'declaration',
    says: /spec\.application\.workloads of a cluster, .*: declare the target in that cluster, or leave out those/,
    make: async (bench) =>
      void (await bench.declare('a100', { application: { workloads: [{ kind: 'Deployment', name: 'ops' }] } })),
  },
  {
    called: 'a secret that is missing',
    check: 'secrets',
    says: /url does not exist|does not exist\. Write the value/,
    make: (bench) => rm(secret(bench)),
  },
  {
    called: 'a server that is not there',
    check: 'connection',
    says: /ECONNREFUSED.*See whether the server runs/,
    make: (bench) => writeFile(secret(bench), bench.database.url.replace(/:\d+\//, ':1/')),
  },
  {
    called: 'a wrong password',
    check: 'connection',
    says: /password authentication failed.*Correct user and password/,
    make: (bench) => writeFile(secret(bench), databaseUrl(bench.database.url, { password: 'wrong' })),
  },
  {
    called: 'a role that may create no databases',
    check: 'rights',
    says: /may not create databases.*CREATEDB/,
    make: async () => {},
    options: { createdb: false },
  },
  {
    called: 'a table that the role may not read',
    check: 'rights',
    says: /may not read public\.hidden/,
    make: async (bench) => void (await query(bench.database.adminUrl, 'CREATE TABLE hidden (id int)')),
  },
  {
    called: 'rows that a policy hides',
    check: 'rights',
    says: /Row-level security hides rows of public\.users/,
    make: async (bench) =>
      void (await query(
        bench.database.adminUrl,
        'ALTER TABLE users ENABLE ROW LEVEL SECURITY; ALTER TABLE users FORCE ROW LEVEL SECURITY',
      )),
  },
  {
    called: 'a replication slot',
    check: 'swap',
    says: /replication slots read .*pg_drop_replication_slot/,
    make: async (bench) =>
      void (await query(
        bench.database.adminUrl,
        `SELECT pg_create_logical_replication_slot('${bench.database.name}', 'pgoutput')`,
      )),
  },
  {
    called: 'a version table that is missing',
    check: 'version table',
    says: /There is no public\.alembic_version, yet there are tables/,
    make: async (bench) => void (await query(bench.database.url, 'DROP TABLE alembic_version')),
  },
  {
    called: 'an interpreter that is missing',
    check: 'alembic',
    says: /spec\.alembic\.python/,
    make: async (bench) => void (await bench.declare('a100', { alembic: { python: '/nonexistent/python3' } })),
  },
  {
    called: 'a configuration that is missing',
    check: 'alembic',
    says: /alembic\.ini/,
    make: (bench) => rm(join(bench.project.dir, 'alembic.ini')),
  },
  {
    called: 'an env.py that raises',
    check: 'env.py',
    says: /no settings.*env\.py:1/,
    make: (bench) => writeFile(bench.project.envPyPath, 'raise RuntimeError("no settings")\n'),
  },
  {
    called: 'an env.py that reaches another database',
    check: 'env.py',
    says: /spec\.alembic\.databaseUrl/,
    make: async (bench) => {
      const text = await readFile(bench.project.envPyPath, 'utf8');
      await writeFile(
        bench.project.envPyPath,
        text.replace('os.environ["DATABASE_URL"]', JSON.stringify(bench.database.maintenanceUrl)),
      );
    },
  },
  {
    called: 'scripts that lack the current revision',
    check: 'revisions',
    says: /The scripts have no b200/,
    make: (bench) => rm(join(bench.project.versionsDir, '0002_b200.py')),
  },
  {
    called: 'a backup folder that is a file',
    check: 'backup folder',
    says: /is no folder/,
    make: (bench) => writeFile(bench.backups, ''),
  },
  {
    called: 'a backup whose rows are damaged',
    check: 'restorable',
    says: /checksum|bytes instead of/,
    make: async (bench) => {
      await bench.run('backup', 'unicorn');
      const [id = ''] = (await bench.run('backups', '-o', 'name')).stdout.split('\n');
      const toc = join(bench.backups, id, 'dump', 'toc.dat');
      const content = await readFile(toc);
      content.writeUInt8(content.readUInt8(content.length - 1) ^ 0xff, content.length - 1);
      await writeFile(toc, content);
    },
  },
  {
    called: 'an archive that the role may not restore',
    check: 'restorable',
    says: /pg_restore.*adminUrlFrom/s,
    make: async (bench) => {
      // Backed up by a role that may do everything, to be restored by one that may not.
      const admin = databaseUrl(bench.database.url, {
        user: new URL(bench.database.adminUrl).username,
        password: new URL(bench.database.adminUrl).password,
      });
      await query(
        bench.database.adminUrl,
        `CREATE TABLE others (id int); ALTER TABLE others OWNER TO postgres; GRANT ALL ON others TO ${bench.database.owner}`,
      );
      await writeFile(secret(bench), admin);
      await bench.run('backup', 'unicorn');
      await writeFile(secret(bench), bench.database.url);
    },
  },
];

test.each(faults)(
  '$called is found, told in the line $check with how to mend it, and makes it end with 1',
  async ({ make, check, says, options }) => {
    await using bench = await healthy(options);
    await make(bench);
    const { code, wouldFail, findings } = await examine(bench);
    const found = findings.filter(({ level }) => level === 'fault');
    expect({ code, wouldFail, checks: found.map((finding) => finding.check) }).toEqual({
      code: 1,
      wouldFail: true,
      checks: expect.arrayContaining([check]),
    });
    expect(found.find((finding) => finding.check === check)?.message).toMatch(says);
  },
);

test('a server that is down is told once, and what could not be looked at for it is neither well nor at fault', async () => {
  await using bench = await healthy();
  await bench.run('backup', 'unicorn');
  await writeFile(secret(bench), bench.database.url.replace(/:\d+\//, ':1/'));
  const { findings } = await examine(bench);
  const of = (level: string) => findings.filter((finding) => finding.level === level);
  expect(of('fault').map(({ check }) => check)).toEqual(['connection']);
  expect(of('skipped').map(({ check }) => check)).toEqual([
    'rights',
    'version table',
    'tools',
    'lock',
    'env.py',
    'revisions',
    'downgrades',
    'restorable',
  ]);
  expect(new Set(of('skipped').map(({ message }) => message))).toEqual(
    new Set(["not looked at: the server can't be reached"]),
  );
});

test('a backup folder that can not be used is told once', async () => {
  await using bench = await healthy();
  await writeFile(bench.backups, '');
  const { findings } = await examine(bench);
  expect(findings.filter(({ level }) => level === 'fault').map(({ check }) => check)).toEqual(['backup folder']);
  expect(findings.filter(({ level }) => level === 'skipped')).toEqual(
    ['free space', 'backups'].map((check) => ({
      check,
      level: 'skipped',
      message: "not looked at: what backups are kept in can't be used",
    })),
  );
});

test('a pooler in between is found', async () => {
  await using bench = await healthy();
  await using pooler = await startPooler(bench.database, 'transaction');
  await writeFile(secret(bench), pooler.url);
  const { code, findings } = await examine(bench);
  expect(code).toBe(1);
  expect(findings.find(({ check }) => check === 'pooler')).toMatchObject({
    level: 'fault',
    message: expect.stringContaining('is a connection pooler'),
  });
});

test('tools of another major only are found, and named', async () => {
  await using bench = await healthy();
  const tools = join(bench.dir, '..', 'tools');
  await mkdir(tools);
  for (const name of ['pg_dump', 'pg_restore', 'psql']) {
    await writeFile(join(tools, name), `#!/bin/sh\necho "${name} (PostgreSQL) 14.1"\n`);
    await chmod(join(tools, name), 0o755);
  }
  const env = { ...process.env, PATH: `${tools}:/usr/bin:/bin`, MIGRATION_TARGET_DIR: bench.dir };
  const { code, stdout } = await startProgram(['doctor', 'unicorn', '-o', 'json'], env).ended;
  expect(code).toBe(1);
  const { findings } = JSON.parse(stdout) as Diagnosis;
  expect(findings.find(({ check }) => check === 'tools')).toMatchObject({
    level: 'fault',
    message: expect.stringContaining(`${tools} (pg_dump (PostgreSQL) 14.1)`),
  });
});

test('downgrades that lead nowhere, and the lack of a backup, are warnings: a rollback would still end well or back where it was', async () => {
  await using bench = await createBench({
    revisions: [
      { id: 'a100' },
      { id: 'b200', up: 'op.execute("SELECT 1")', downgrade: 'raise NotImplementedError()' },
      { id: 'c300' },
    ],
  });
  await alembic(bench.project, bench.database.url, 'upgrade', 'head');
  await bench.declare('a100', { policy: { dataLoss: 'Forbid' } });
  const { code, findings } = await examine(bench);
  expect(code).toBe(0);
  expect(findings.filter(({ level }) => level === 'warning').map(({ check, message }) => [check, message])).toEqual([
    ['declaration', expect.stringContaining('spec.policy.dataLoss is Forbid')],
    ['downgrades', expect.stringMatching(/downgrade\(\) of c300 does nothing .*; downgrade\(\) of b200 raises /)],
    ['backups', expect.stringContaining('migration-target backup unicorn')],
  ]);
});

test('that the newest migration can not be taken back is a warning before anybody wants it, with the backup that leads back', async () => {
  await using bench = await createBench({
    revisions: [
      { id: 'a100', up: 'op.execute("CREATE TABLE t (id int)")', downgrade: 'op.execute("DROP TABLE t")' },
      { id: 'b200', up: 'op.execute("CREATE INDEX i ON t (id)")', downgrade: 'raise NotImplementedError()' },
    ],
  });
  const downgrades = async (): Promise<string | undefined> => {
    const { findings } = await examine(bench);
    return findings.find(({ check, level }) => check === 'downgrades' && level === 'warning')?.message;
  };
  await alembic(bench.project, bench.database.url, 'upgrade', 'head');
  await bench.declare('b200');
  expect(await downgrades()).toMatch(/downgrade\(\) of b200 raises .*no verified backup at a100 either/);
  await alembic(bench.project, bench.database.url, 'stamp', 'a100');
  expect(await bench.run('backup', 'unicorn')).toMatchObject({ code: 0 });
  await alembic(bench.project, bench.database.url, 'stamp', 'b200');
  expect(await downgrades()).toMatch(/downgrade\(\) of b200 raises .*Backup \S+, at a100, leads back/);
});
