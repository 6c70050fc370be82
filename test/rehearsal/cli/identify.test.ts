import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect, test } from '@jest/globals';

import { alembic } from '../../support/alembic.ts';
import { contentChecksum, query } from '../../support/postgres.ts';
import { createBench, startProgram, twoSteps, type Bench } from '../../integration/cli/bench.ts';

const lost = async (options: Parameters<typeof createBench>[1] = {}): Promise<Bench> => {
  const bench = await createBench(twoSteps, options);
  await alembic(bench.project, bench.database.url, 'upgrade', 'a100');
  await query(bench.database.url, 'DROP TABLE alembic_version');
  await bench.declare('b200');
  return bench;
};

test('names the revision with its evidence and the command for who agrees, and ends with 0', async () => {
  await using bench = await lost();
  const before = await contentChecksum(bench.database.adminUrl);
  const { code, stdout, stderr } = await bench.run('identify', 'unicorn');
  expect([code, stdout]).toEqual([
    0,
    expect.stringMatching(
      /^unicorn {3}database \S+; the version table is missing\n\n✓ its schema is exactly that of a100\n {4}as its migrations make it from base; no other of the 3 that are known is the same\n\n {2}Nothing is stamped by itself\. If you agree, in \S+, with the database's URL in DATABASE_URL: alembic stamp a100; then: migration-target reconcile unicorn\n$/,
    ),
  ]);
  expect(stderr).toMatch(/✓ build .*the migrations run from base, in scratch databases/);
  expect(await contentChecksum(bench.database.adminUrl)).toBe(before);
  expect((await bench.run('identify', '-o', 'name')).stdout).toBe('a100\n');

  await alembic(bench.project, bench.database.url, 'stamp', 'a100');
  expect((await bench.run('identify', 'unicorn')).stdout).toMatch(/The version table says so too: nothing has to be/);
});

test('ends with 4 where no revision has the schema, with the nearest and every line that differs', async () => {
  await using bench = await lost();
  await query(bench.database.url, 'ALTER TABLE users ADD COLUMN hotfix integer');
  const shown = await bench.run('identify', 'unicorn');
  expect([shown.code, shown.stdout]).toEqual([
    4,
    expect.stringMatching(
      /✗ its schema is none of the 3 that are known; the nearest:\n {4}a100 {3}1 line differs\n {6}\+ column public\.users\.hotfix integer\n/,
    ),
  ]);
  const { code, stdout } = await bench.run('identify', 'unicorn', '-o', 'json');
  expect(code).toBe(4);
  expect(JSON.parse(stdout)).toMatchObject({
    target: 'unicorn',
    versionTable: null,
    kind: 'unknown',
    revisions: null,
    nearest: [
      {
        revisions: ['a100'],
        by: 'built',
        differences: 1,
        difference: { missing: [], unexpected: [expect.any(String)] },
      },
      {},
      {},
    ],
    compared: 3,
    unbuilt: [],
    notKnown: [],
    stamp: { command: 'alembic stamp REVISION' },
  });
});

test('builds as the application does where an administrator does the rest', async () => {
  await using bench = await lost({ admin: true, createdb: false });
  const { code, stdout, stderr } = await bench.run('identify', 'unicorn', '-o', 'json');
  expect([code, stderr]).toEqual([0, expect.any(String)]);
  expect(JSON.parse(stdout)).toMatchObject({ kind: 'identified', revisions: ['a100'], by: 'built', unbuilt: [] });
  expect(
    await query(
      bench.database.adminUrl,
      `SELECT datname FROM pg_database WHERE datname LIKE '${bench.database.name}\\_\\_%'`,
    ),
  ).toEqual([]);
});

test('Ctrl-C leaves no scratch database and the status as it was', async () => {
  await using bench = await lost();
  const status = join(bench.dir, 'state/default/unicorn/status.json');
  const before = await readFile(status, 'utf8').catch(() => null);
  const running = bench.start('identify', 'unicorn');
  while (!/compare/.test(running.printed())) await new Promise((resolve) => setTimeout(resolve, 20));
  running.child.kill('SIGINT');
  const { code, stderr } = await running.ended;
  expect([code, stderr]).toEqual([130, expect.stringMatching(/Stopping at the next safe point[^]*It was interrupted/)]);
  expect(
    await query(
      bench.database.adminUrl,
      `SELECT datname FROM pg_database WHERE datname LIKE '${bench.database.name}\\_\\_%'`,
    ),
  ).toEqual([]);
  const after = await readFile(status, 'utf8').catch(() => null);
  const operationOf = (text: string | null): unknown =>
    text === null ? null : ((JSON.parse(text) as { operation?: unknown }).operation ?? null);
  expect(operationOf(after)).toEqual(operationOf(before));
});

test('a scratch database that may not be made is told, also where the tools take longer to be found', async () => {
  await using bench = await lost({ createdb: false });
  const { binDir } = bench.database.server;
  const slow = join(bench.dir, 'bin');
  await mkdir(slow);
  for (const tool of ['pg_dump', 'pg_restore', 'psql']) {
    await writeFile(join(slow, tool), `#!/bin/sh\nsleep 0.5\nexec '${join(binDir, tool)}' "$@"\n`);
    await chmod(join(slow, tool), 0o755);
  }
  const env = { ...process.env, MIGRATION_TARGET_DIR: bench.dir, MIGRATION_TARGET_PG_BIN: slow };
  const { code, stderr } = await startProgram(['identify', 'unicorn'], env).ended;
  expect([code, stderr]).toEqual([1, expect.stringMatching(/✗ PermissionDenied unicorn\n {2}Creating a database on /)]);
});
