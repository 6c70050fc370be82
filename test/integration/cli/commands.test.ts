import { readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';

import type { BackupManifest } from '../../../src/rollback/model.ts';
import { alembic } from '../../support/alembic.ts';
import { contentChecksum, query } from '../../support/postgres.ts';
import { program } from '../../support/program.ts';
import { contentOf, createBench, startProgram, twoSteps, type Bench } from './bench.ts';

interface PlanJson {
  readonly desired: readonly string[];
}
interface TargetJson {
  readonly status: { readonly keptAside: readonly unknown[]; readonly operation: unknown };
}
interface CatalogueJson {
  readonly backups: readonly BackupManifest[];
  readonly broken: readonly unknown[];
}

/** Throws where it is not JSON as a whole. */
const json = (text: string): unknown => JSON.parse(text);

describe('from the first plan to a restore', () => {
  let bench: Bench;
  beforeAll(async () => {
    bench = await createBench(twoSteps);
  });
  afterAll(async () => {
    await bench[Symbol.asyncDispose]();
  });

  test('plan shows what would be done, exits with 2 if asked to, and writes nothing anywhere', async () => {
    const file = await bench.declaration('b200');
    const before = [await contentOf(join(bench.dir, '..')), await contentChecksum(bench.database.adminUrl)];
    const shown = await bench.run('plan', '-f', file);
    expect(shown).toMatchObject({ code: 0, stderr: '' });
    expect(shown.stdout).toContain('upgrade   base → b200');
    expect(await bench.run('plan', '-f', file, '--exit-code')).toMatchObject({ code: 2 });
    expect([await contentOf(join(bench.dir, '..')), await contentChecksum(bench.database.adminUrl)]).toEqual(before);
  });

  test('the plan as JSON holds all of it, SQL too', async () => {
    const { code, stdout } = await bench.run('plan', '-f', await bench.declaration('b200'), '--sql', '-o', 'json');
    expect(code).toBe(0);
    expect(json(stdout)).toMatchObject({
      target: 'unicorn',
      kind: 'upgrade',
      digest: expect.stringMatching(/^[0-9a-f]{16}$/),
      database: { name: bench.database.name },
      desired: ['b200'],
      steps: [
        { direction: 'up', revision: 'a100' },
        { direction: 'up', revision: 'b200' },
      ],
      risks: [],
      fallback: { kind: 'origin' },
      sql: { kind: 'sql', sql: expect.stringContaining('ALTER TABLE users ADD COLUMN email TEXT') },
      unfinishedOperation: null,
    });
  });

  test('without a terminal apply is refused and says what to type, and nothing was declared', async () => {
    const file = await bench.declaration('b200');
    const refused = await bench.run('apply', '-f', file);
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.stderr).toContain(`migration-target apply -f ${file} --yes`);
    await expect(bench.declared()).rejects.toThrow('ENOENT');
  });

  test('apply --yes declares the target, takes its database there, and tells each step with how long it took', async () => {
    const applied = await bench.run('apply', '-f', await bench.declaration('b200'), '--yes');
    expect(applied).toMatchObject({ code: 0 });
    expect(applied.stdout).toContain('✓ unicorn   Ready Upgraded');
    expect(applied.stderr).toMatch(/✓ backup +[\d.]+ m?s/);
    expect(applied.stderr).toMatch(/↑ upgrade b200 \(2 of 2\) .*[\d.]+ m?s/);
    expect(applied.stderr).toMatch(/✓ verify/);
    expect(await query(bench.database.url, 'SELECT version_num FROM alembic_version')).toEqual([
      { version_num: 'b200' },
    ]);
    await query(bench.database.url, `INSERT INTO users (id, name, email) VALUES (1, 'ada', 'ada@example.org')`);
  });

  test('what is there already needs no yes', async () => {
    expect(await bench.run('apply', '-f', await bench.declaration('b200'), '-o', 'name')).toMatchObject({
      code: 0,
      stdout: 'migrationtarget/unicorn\n',
    });
    expect(await bench.run('plan', '--exit-code')).toMatchObject({ code: 0 });
  });

  test('status as JSON is the target with its status, for one and for all', async () => {
    const one = json((await bench.run('status', 'unicorn', '-o', 'json')).stdout);
    expect(one).toMatchObject({
      kind: 'MigrationTarget',
      metadata: { name: 'unicorn' },
      status: { currentRevision: 'b200' },
    });
    const all = json((await bench.run('status', '-o', 'json')).stdout);
    expect(all).toEqual({ apiVersion: 'v1', kind: 'List', items: [one] });
    const { stdout } = await bench.run('status', '-o', 'yaml');
    expect(parse(stdout)).toEqual(all);
    expect((await bench.run('status')).stdout).toMatch(
      /^NAME +CURRENT +DESIRED +READY +REASON +AGE\nunicorn +b200 +b200 +True +Upgraded +\d+s\n$/,
    );
    expect((await bench.run('status', '-o', 'name')).stdout).toBe('migrationtarget/unicorn\n');
  });

  test('wait ends at once where it is ready, with 5 where the time is over', async () => {
    expect(await bench.run('wait', 'unicorn', '--revision', 'b200')).toMatchObject({ code: 0 });
    expect(await bench.run('wait', 'unicorn')).toMatchObject({ code: 0, stderr: '' });
    expect(await bench.run('wait', 'unicorn', '--revision', 'a100', '--timeout', '1s')).toMatchObject({
      code: 5,
      stdout: '',
    });
    expect(await bench.run('wait', 'unicorn', '--for', 'Nonsense')).toMatchObject({ code: 1 });
  });

  test('wait says what it waits for, how things are, and how long it will', async () => {
    expect(await bench.run('wait', 'unicorn', '--for', 'Rehearsed', '--timeout', '2s')).toMatchObject({
      code: 5,
      stdout: '',
      stderr: expect.stringMatching(
        /^Waiting for Rehearsed of unicorn, for 2s at most\.\n {2}\d\.\d s left {3}Upgraded: Database \S+ was upgraded [^✗]*✗ TimedOut unicorn\n/,
      ),
    });
  });

  test.each([
    ['-1', 'a100'],
    ['a1', 'a100'],
    ['mail', 'b200'],
    ['head', 'b200'],
    ['base', 'base'],
  ])('%s is typed and %s is planned', async (typed, absolute) => {
    const { stdout } = await bench.run('plan', 'unicorn', '--revision', typed, '-o', 'json');
    expect((json(stdout) as PlanJson).desired).toEqual(absolute === 'base' ? [] : [absolute]);
  });

  test.each([
    ['-7', 'past the base'],
    ['zz', "'zz'"],
    ['x@y', "'x@y'"],
  ])('%s is refused, and nothing is written', async (typed, why) => {
    const before = await bench.declared();
    const refused = await bench.run('apply', 'unicorn', '--revision', typed, '--yes');
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.stderr).toContain(why);
    expect(await bench.declared()).toBe(before);
  });

  test('apply --revision -1 writes the absolute id, in quotes, into the file that declares the target', async () => {
    const path = join(bench.dir, 'targets', 'unicorn.yaml');
    await writeFile(path, (await bench.declared()).replace(/revision: .*/, 'revision: b200 # asked for by ada'));
    expect(await bench.run('apply', 'unicorn', '--revision', '-1', '--yes')).toMatchObject({ code: 0 });
    expect(await bench.declared()).toContain('  revision: "a100" # asked for by ada\n');
    expect(await query(bench.database.url, 'SELECT version_num FROM alembic_version')).toEqual([
      { version_num: 'a100' },
    ]);
  });

  test('the catalogue tells its backups apart; the newest can be verified, a damaged one not', async () => {
    expect(await bench.run('backup', 'unicorn')).toMatchObject({ code: 0 });
    const { backups, broken } = json((await bench.run('backups', 'unicorn', '-o', 'json')).stdout) as CatalogueJson;
    expect(backups.map(({ reason }) => reason)).toEqual(['Requested', 'BeforeChange', 'BeforeChange']);
    expect(broken).toEqual([]);
    expect((await bench.run('backups', '-o', 'name')).stdout.trim().split('\n')).toEqual(backups.map(({ id }) => id));

    const [newest] = backups;
    if (newest === undefined) throw new Error('there is no backup');
    const verified = await bench.run('backups', 'verify', newest.id);
    expect(verified).toMatchObject({ code: 0 });
    expect(verified.stdout).toContain('equal to what was dumped');

    const rows = newest.files.find(({ path }) => /\/\d+\.dat/.test(path));
    const dump = join(bench.backups, newest.id, rows?.path ?? '');
    const content = await readFile(dump);
    content.writeUInt8(content.readUInt8(content.length - 1) ^ 0xff, content.length - 1);
    await writeFile(dump, content);
    const damaged = await bench.run('backups', 'verify', newest.id);
    expect(damaged).toMatchObject({ code: 1 });
    expect(damaged.stdout).toContain('another checksum');
  });

  test('a backup is restored once it was said yes to, with what was written since set aside', async () => {
    const { backups } = json((await bench.run('backups', 'unicorn', '-o', 'json')).stdout) as CatalogueJson;
    const withMail = backups.find(
      ({ revisions, rowCounts }) => revisions?.[0] === 'b200' && rowCounts['public.users'] === 1,
    );
    expect(await bench.run('restore', 'unicorn', withMail?.id ?? '')).toMatchObject({ code: 1, stdout: '' });
    const restored = await bench.run('restore', 'unicorn', withMail?.id ?? '', '--yes');
    expect(restored).toMatchObject({ code: 0 });
    expect(restored.stdout).toMatch(/^✓ unicorn {3}Done RestoredFromBackup/);
    expect(restored.stdout).toMatch(
      /Not ready, ChangedOutside: Database \S+ was restored from a backup at b200, as was asked for, and verified; a100 is declared\. To keep it at b200: \S+ apply unicorn --revision b200; to take it to a100: \S+ reconcile unicorn\n/,
    );
    expect(await query(bench.database.url, 'SELECT email FROM users')).toEqual([{ email: 'ada@example.org' }]);
    const { status } = json((await bench.run('status', 'unicorn', '-o', 'json')).stdout) as TargetJson;
    expect(status.keptAside).toHaveLength(1);
  });

  test('a plain .sql file of an old script is brought into the catalogue and restored', async () => {
    const file = join(bench.dir, '..', 'old.sql');
    await writeFile(
      file,
      `CREATE TABLE public.alembic_version (version_num varchar(32) PRIMARY KEY);
INSERT INTO public.alembic_version VALUES ('a100');
CREATE TABLE public.users (id integer PRIMARY KEY, name text);
COPY public.users (id, name) FROM stdin;
7\tgrace
\\.
`,
    );
    const restored = await bench.run('restore', 'unicorn', file, '--yes');
    expect(restored).toMatchObject({ code: 0 });
    expect(await query(bench.database.url, 'SELECT * FROM users')).toEqual([{ id: 7, name: 'grace' }]);
    const { backups } = json((await bench.run('backups', '-o', 'json')).stdout) as CatalogueJson;
    expect(backups.find(({ reason }) => reason === 'Imported')).toMatchObject({
      format: 'plain',
      revisions: ['a100'],
      rowCounts: { 'public.users': 1 },
    });
  });

  test('a plain file that would run commands is refused, and leaves neither a backup nor a database behind', async () => {
    const file = join(bench.dir, '..', 'evil.sql');
    await writeFile(file, '\\! touch /tmp/evil\nSELECT 1;\n');
    // Only those made of this one: other tests have theirs on the same server.
    const own = `SELECT datname FROM pg_database WHERE starts_with(datname, '${bench.database.name}') ORDER BY 1`;
    const databases = await query(bench.database.adminUrl, own);
    const before = (await bench.run('backups', '-o', 'name')).stdout;
    expect(await bench.run('restore', 'unicorn', file, '--yes')).toMatchObject({ code: 1, stdout: '' });
    expect((await bench.run('backups', '-o', 'name')).stdout).toBe(before);
    expect(await query(bench.database.adminUrl, own)).toEqual(databases);
    expect(
      (json((await bench.run('status', 'unicorn', '-o', 'json')).stdout) as TargetJson).status.operation,
    ).toBeNull();
  });

  test('suspend and resume change the declaration', async () => {
    expect(await bench.run('suspend', 'unicorn')).toMatchObject({ code: 0 });
    expect(parse(await bench.declared())).toMatchObject({ spec: { suspend: true } });
    const before = await contentChecksum(bench.database.adminUrl);
    const refused = await bench.run('apply', 'unicorn', '--yes');
    expect(refused).toMatchObject({ code: 4 });
    expect(refused.stdout).toContain('resume unicorn');
    expect(await contentChecksum(bench.database.adminUrl)).toBe(before);
    expect(await bench.run('resume', 'unicorn')).toMatchObject({ code: 0 });
    expect(parse(await bench.declared())).toMatchObject({ spec: { suspend: false } });
  });

  test('a name may be left out where there is one target, and an unknown one is told with those that there are', async () => {
    expect((await bench.run('backups', '-o', 'name')).code).toBe(0);
    const unknown = await bench.run('backups', 'unicron');
    expect(unknown).toMatchObject({ code: 1, stdout: '' });
    expect(unknown.stderr).toContain('There is unicorn.');
  });
});

describe('what is refused, and how', () => {
  test('a plan that may lose data is refused with 4, and --yes never overrules the policy', async () => {
    await using bench = await createBench(twoSteps);
    await alembic(bench.project, bench.database.url, 'upgrade', 'head');
    const content = await contentChecksum(bench.database.adminUrl);
    const file = await bench.declaration('a100', { policy: { dataLoss: 'Forbid' } });
    const planned = await bench.run('plan', '-f', file);
    expect(planned).toMatchObject({ code: 4 });
    expect(planned.stdout).toMatch(/refused .* DataLossForbidden.*↓ down +b200.*spec\.policy\.dataLoss: Allow/s);
    expect(planned.stdout).toMatch(/drop_column\("users", "email"\) \(migrations\/versions\/0002_b200\.py:\d+\)/);
    const applied = await bench.run('apply', '-f', file, '--yes');
    expect(applied).toMatchObject({ code: 4 });
    expect(applied.stdout).toContain('Stalled DataLossForbidden');
    const restored = await bench.run('restore', 'unicorn', 'default.unicorn-20260101T000000Z-abcdef', '--yes');
    expect(restored).toMatchObject({ code: 4, stdout: '' });
    expect(restored.stderr).toContain('spec.policy.dataLoss: Allow');
    expect(await contentChecksum(bench.database.adminUrl)).toBe(content);
  });

  test('a broken declaration says which field, and nothing is declared', async () => {
    await using bench = await createBench(twoSteps);
    const file = await bench.declaration('b200', { polcy: {} });
    const refused = await bench.run('apply', '-f', file, '--yes');
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.stderr).toContain('spec.polcy: unknown field: did you mean "policy"?');
    await expect(bench.declared()).rejects.toThrow('ENOENT');
  });

  test('an error is one block, without a stack trace and without the password', async () => {
    await using bench = await createBench(twoSteps, { password: 'S3cret-@:/x' });
    await bench.declare('b200');
    await writeFile(join(bench.dir, 'secrets', 'unicorn', 'url'), bench.database.url.replace(/:\d+\//, ':1/'));
    const failed = await bench.run('plan', 'unicorn');
    expect(failed).toMatchObject({ code: 1, stdout: '' });
    expect(failed.stderr).toMatch(/^✗ DatabaseUnreachable unicorn\n {2}\S/);
    expect(failed.stderr).not.toMatch(/\n\s+at /);
    expect(failed.stderr).not.toContain('S3cret');
    const { stderr } = await startProgram(['plan', 'unicorn'], {
      ...process.env,
      MIGRATION_TARGET_DIR: bench.dir,
      LOG_LEVEL: 'debug',
    }).ended;
    expect(stderr).toMatch(/\n\s+at /);
    expect(stderr).not.toContain('S3cret');
  });

  test('without --dir and without a kubeconfig both ways are told', async () => {
    const { MIGRATION_TARGET_DIR: _dir, KUBECONFIG: _config, KUBERNETES_SERVICE_HOST: _host, ...env } = process.env;
    const refused = await startProgram(['status'], { ...env, HOME: '/nonexistent' }).ended;
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.stderr).toContain('--dir DIR');
    expect(refused.stderr).toContain('--kubeconfig FILE');
  });

  test.each([
    [['bogus']],
    [['plan', '--bogus']],
    [['status', '-o', 'xml']],
    [['run', '--workers', '0']],
    [['run', '--allow', 'process,root']],
    [['wait', '--timeout', 'soon']],
    [['restore', 'unicorn']],
  ])('%j is told as a usage error, with 1', async (args) => {
    const refused = await startProgram(args, process.env).ended;
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.stderr).toContain('--help');
  });

  test.each([
    [['approve'], 'approve'],
    [['backups', 'verify'], 'backups verify'],
    [['backups', 'list', 'a', 'b'], 'backups list'],
    [['bogus'], null],
  ])('%j points to its own help', async (args, named) => {
    const { stderr } = await startProgram(args, process.env).ended;
    expect(stderr).toMatch(new RegExp(`To see how: migration-target ${named === null ? '' : `${named} `}--help\n`));
  });

  test('where no controller runs for a folder, whoever waits is told how to start one, or do it at once', async () => {
    await using bench = await createBench(twoSteps);
    await bench.declare('a100');
    const waited = await bench.run('wait', 'unicorn', '--timeout', '1s');
    expect(waited).toMatchObject({ code: 5, stdout: '' });
    expect(waited.stderr.replace(/\s+/g, ' ')).toMatch(
      /did not come within 1s\. Nobody has looked at unicorn .*start one: migration-target run; or do it from here: migration-target reconcile unicorn\./,
    );
  });

  test('a controller of a folder elects no leader, and says what keeps two apart', async () => {
    await using bench = await createBench(twoSteps);
    const refused = await bench.run('run', '--leader-elect');
    expect(refused).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/NotSupported run\n +A folder has no Lease/),
    });
  });

  test('as a plugin of kubectl it calls itself what people typed', async () => {
    await using bench = await createBench(twoSteps);
    const link = join(bench.dir, '..', 'kubectl-migration_target');
    await symlink(program, link);
    const { code, stdout } = await startProgram(['--help'], process.env, link).ended;
    expect(code).toBe(0);
    expect(stdout).toContain('Usage: kubectl migration-target [options] [command]');
  });
});
