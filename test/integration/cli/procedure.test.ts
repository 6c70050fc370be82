import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, test } from '@jest/globals';

import { alembic } from '../../support/alembic.ts';
import { query } from '../../support/postgres.ts';
import { createBench, twoSteps, until, type Bench } from './bench.ts';

/** A migration that says by a file that it began, and waits until another is there: whoever asks meanwhile finds it at work. */
const waitingFor = (file: string): string => `import os, time
open("begun", "w").close()
while not os.path.exists(${JSON.stringify(file)}):
    time.sleep(0.05)`;

const revisionOf = async (bench: Bench): Promise<string> => {
  const rows = await query<{ version_num: string }>(bench.database.adminUrl, 'SELECT version_num FROM alembic_version');
  return rows.map(({ version_num }) => version_num).join(',');
};

interface Saved {
  readonly status: {
    readonly operation: { readonly id: string; readonly step: string } | null;
    readonly history: readonly { readonly operationId: string }[];
  };
}

const savedStatus = async (bench: Bench): Promise<Saved['status'] | null> => {
  const text = await readFile(join(bench.dir, 'state/default/unicorn/status.json'), 'utf8').catch(() => null);
  return text === null ? null : (JSON.parse(text) as Saved).status;
};

test('a second apply follows the one that holds the database to its end, and does nothing itself', async () => {
  await using bench = await createBench({ revisions: [{ id: 'a100', up: waitingFor('go') }] });
  const file = await bench.declaration('a100');
  const first = bench.start('apply', '-f', file, '--yes');
  await until(first, async () => (await savedStatus(bench))?.operation?.step === 'change');
  const second = bench.start('apply', '-f', file, '--yes');
  await until(second, () => second.printed().includes('Another process is at it'));
  expect(second.printed()).toContain(': change');
  await writeFile(join(bench.project.dir, 'go'), '');

  expect(await first.ended).toMatchObject({ code: 0 });
  const followed = await second.ended;
  expect(followed).toMatchObject({ code: 0 });
  expect(followed.stdout).toContain('Ready Upgraded');
  expect((await savedStatus(bench))?.history).toHaveLength(1);
});

test('Ctrl-C stops at the next safe point with 130, and reconcile goes on from there', async () => {
  // env.py hangs, so no migration has begun: that is a safe point.
  await using bench = await createBench(twoSteps);
  const working = await readFile(bench.project.envPyPath, 'utf8');
  await writeFile(bench.project.envPyPath, 'import time\ntime.sleep(600)\n');
  const applying = bench.start('apply', '-f', await bench.declaration('b200'), '--yes');
  await until(applying, async () => (await savedStatus(bench))?.operation?.step === 'change');
  applying.child.kill('SIGINT');
  const stopped = await applying.ended;
  expect(stopped).toMatchObject({ code: 130, stdout: '' });
  expect(stopped.stderr).toContain('Stopping at the next safe point');
  expect(stopped.stderr).toContain('To go on: migration-target reconcile unicorn');
  expect((await savedStatus(bench))?.operation).not.toBeNull();

  await writeFile(bench.project.envPyPath, working);
  expect(await bench.run('reconcile', 'unicorn', '--yes')).toMatchObject({ code: 0 });
  expect(await revisionOf(bench)).toBe('b200');
  expect((await savedStatus(bench))?.operation).toBeNull();
});

test('a migration that runs is finished though Ctrl-C was pressed; a second one ends at once, and the next start puts it right', async () => {
  await using bench = await createBench({ revisions: [{ id: 'a100', up: waitingFor('go') }] });
  const applying = bench.start('apply', '-f', await bench.declaration('a100'), '--yes');
  await until(applying, () => existsSync(join(bench.project.dir, 'begun')));
  applying.child.kill('SIGINT');
  await until(applying, () => applying.printed().includes('Stopping at the next safe point'));
  applying.child.kill('SIGINT');
  const ended = await applying.ended;
  expect(ended).toMatchObject({ code: 130, stdout: '' });
  expect(ended.stderr).toContain('safe as well');

  await writeFile(join(bench.project.dir, 'go'), '');
  expect(await bench.run('reconcile', 'unicorn', '--yes')).toMatchObject({ code: 0 });
  expect(await revisionOf(bench)).toBe('a100');
});

test('a downgrade that raises, with no backup to go to, ends with 4 and tells file and line', async () => {
  await using bench = await createBench({
    revisions: [
      { id: 'a100' },
      {
        id: 'b200',
        up: 'op.execute("CREATE TABLE t (id int)")',
        downgrade: 'raise NotImplementedError("no way back")',
      },
    ],
  });
  await alembic(bench.project, bench.database.url, 'upgrade', 'head');
  const stalled = await bench.run('apply', '-f', await bench.declaration('a100'), '--yes', '-o', 'json');
  expect(stalled).toMatchObject({ code: 4 });
  expect(JSON.parse(stalled.stdout)).toMatchObject({
    status: {
      currentRevision: 'b200',
      conditions: expect.arrayContaining([
        expect.objectContaining({ type: 'Stalled', status: 'True', reason: 'DowngradeFailed' }),
      ]),
    },
  });
  expect(stalled.stderr).toContain('✗ change');
  expect(stalled.stderr).toMatch(/no way back.*0002_b200\.py:\d+/);
  expect(await bench.run('wait', 'unicorn')).toMatchObject({ code: 4, stdout: '' });
});

test('what does not pass within spec.timeout ends with 5', async () => {
  await using bench = await createBench(twoSteps);
  const file = await bench.declaration('b200', { timeout: '2s' });
  await bench.declare('base', { timeout: '2s' });
  await writeFile(join(bench.dir, 'secrets', 'unicorn', 'url'), bench.database.url.replace(/:\d+\//, ':1/'));
  const ended = await bench.run('apply', '-f', file, '--yes');
  expect(ended).toMatchObject({ code: 5, stdout: '' });
  expect(ended.stderr).toContain('spec.timeout (2s)');
});

test('the history is drawn with its branches, where the database is and where it should be', async () => {
  await using bench = await createBench({
    revisions: [
      { id: 'a100' },
      { id: 'b200', down: 'a100', downgrade: 'raise NotImplementedError()' },
      { id: 'c300', down: 'a100', labels: ['reports'], downgrade: 'op.execute("SELECT 1")' },
      { id: 'm400', down: ['b200', 'c300'], downgrade: 'op.execute("SELECT 1")' },
    ],
  });
  await alembic(bench.project, bench.database.url, 'upgrade', 'm400');
  await bench.declare('b200');
  const { code, stdout, stderr } = await bench.run('history', 'unicorn');
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(
    stdout
      .split('\n')
      .map((line) => line.trimEnd())
      .join('\n'),
  ).toMatch(/^●     m400  m400  ← current\n├─╮\n/);
  expect(stdout).toMatch(/● {3}[bc].00/);
  expect(stdout).toContain('(reports)');
  expect(stdout).toContain('b200  b200  its downgrade() raises  ← desired');
  expect(stdout).toMatch(/├─╯\n● {5}a100 {2}a100 {2}its downgrade\(\) does nothing\n/);
  expect(stdout).toContain('No operation yet.');
});

test('what a killed backups verify leaves is journalled, and cleared away by the next start', async () => {
  await using bench = await createBench(twoSteps);
  await bench.declare('b200');
  expect(await bench.run('reconcile', 'unicorn', '--yes')).toMatchObject({ code: 0 });
  // Restoring it takes long enough to be killed in the middle.
  await query(bench.database.url, 'CREATE MATERIALIZED VIEW slow AS SELECT pg_sleep(2)::text AS nothing');
  expect(await bench.run('backup', 'unicorn')).toMatchObject({ code: 0 });
  const before = await savedStatus(bench);
  const [id = ''] = (await bench.run('backups', '-o', 'name')).stdout.split('\n');

  const scratch = `SELECT datname FROM pg_database WHERE datname LIKE '${bench.database.name}\\_\\_%'`;
  const verifying = bench.start('backups', 'verify', id);
  await until(verifying, async () => (await query(bench.database.adminUrl, scratch)).length > 0);
  verifying.child.kill('SIGKILL');
  await verifying.ended;
  expect((await savedStatus(bench))?.operation).not.toBeNull();

  expect(await bench.run('reconcile', 'unicorn', '--yes')).toMatchObject({ code: 0 });
  expect(await query(bench.database.adminUrl, scratch)).toEqual([]);
  expect(await savedStatus(bench)).toMatchObject({ operation: null, history: before?.history });
});

test('the backup that a rehearsal by itself takes was asked for: no change follows it', async () => {
  await using bench = await createBench(twoSteps);
  await bench.declare('b200');
  expect(await bench.run('reconcile', 'unicorn', '--yes')).toMatchObject({ code: 0 });
  expect(await bench.run('plan', 'unicorn', '--revision', 'a100', '--rehearse')).toMatchObject({ code: 0 });
  const { backups } = JSON.parse((await bench.run('backups', '-o', 'json')).stdout) as {
    readonly backups: readonly { readonly reason: string }[];
  };
  expect(backups.map(({ reason }) => reason)).toEqual(['Requested', 'BeforeChange']);
});

describe('the controller', () => {
  test('takes a target there, says so in its log and its metrics, and stops when it is told to', async () => {
    await using bench = await createBench(twoSteps);
    await bench.declare('b200');
    const running = bench.start('run', '--listen', '127.0.0.1:0', '--workers', '2');
    await until(running, () => /"listen":"http/.test(running.printed()));
    expect(await bench.run('wait', 'unicorn', '--timeout', '60s')).toMatchObject({ code: 0 });
    expect(await revisionOf(bench)).toBe('b200');

    const url = /"listen":"(http:[^"]+)"/.exec(running.printed())?.[1] ?? '';
    // The metrics follow the status that `wait` has seen.
    for (const series of [
      'migrationtarget_info{namespace="default",name="unicorn",runtime="process",current_revision="b200",desired_revision="b200"} 1',
      'migrationtarget_backups{namespace="default",name="unicorn"} 1',
    ])
      await until(running, async () => (await (await fetch(`${url}/metrics`)).text()).includes(series));
    expect((await fetch(`${url}/readyz`)).status).toBe(200);

    running.child.kill('SIGTERM');
    const { code, stdout, stderr } = await running.ended;
    expect({ code, stdout }).toEqual({ code: 0, stdout: '' });
    const lines = stderr
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    const [operationId] = (await savedStatus(bench))?.history.map(({ operationId: id }) => id) ?? [];
    expect(lines).toContainEqual(
      expect.objectContaining({
        target: 'unicorn',
        namespace: 'default',
        operation: operationId,
        step: 'backup',
        state: 'finished',
      }),
    );
    expect(stderr).not.toContain(bench.database.password);
  });

  test('tells of an approval whose target is gone in a line of its log, and goes on', async () => {
    await using bench = await createBench(twoSteps);
    await bench.declare('b200');
    await mkdir(join(bench.dir, 'approvals'), { recursive: true });
    await writeFile(
      join(bench.dir, 'approvals', 'old.yaml'),
      `apiVersion: migrationtarget.dev/v1alpha1
kind: MigrationApproval
metadata: {name: old}
spec: {targetRef: {name: gone}, planDigest: "0123456789abcdef", approvedBy: jane}
`,
    );
    const running = bench.start('run', '--listen', '127.0.0.1:0');
    const told = (): readonly string[] =>
      running
        .printed()
        .split('\n')
        .filter((line) => line.includes('old.yaml'));
    await until(running, () => told().length > 0);
    expect(await bench.run('wait', 'unicorn', '--timeout', '60s')).toMatchObject({ code: 0 });
    running.child.kill('SIGTERM');
    await running.ended;
    expect(told().map((line) => JSON.parse(line) as unknown)).toEqual([
      {
        level: 'warn',
        time: expect.any(String),
        msg: expect.stringMatching(/old\.yaml approves a plan of default\/gone, which is not declared in /),
      },
    ]);
  });

  test('says of a declaration that breaks a rule what is wrong, in its status', async () => {
    await using bench = await createBench(twoSteps);
    await bench.declare('-1');
    const running = bench.start('run', '--listen', '127.0.0.1:0');
    await until(running, async () => (await savedStatus(bench)) !== null);
    running.child.kill('SIGTERM');
    expect(await running.ended).toMatchObject({ code: 0 });
    expect(await savedStatus(bench)).toMatchObject({
      conditions: expect.arrayContaining([
        expect.objectContaining({
          type: 'Stalled',
          status: 'True',
          reason: 'InvalidSpec',
          message: expect.stringContaining('a revision cannot begin with "-"'),
        }),
      ]),
    });
    const { stdout } = await bench.run('status');
    expect(stdout).toMatch(/unicorn .* False +InvalidSpec/);
  });
});
