/** The commands against a cluster: what they ask of its controller, what they do themselves, and what they leave alone. */
import { access, chmod, mkdir, symlink, writeFile } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { run } from '../../scripts/lib/run.ts';
import { sql, type HistorySpec } from '../support/alembic.ts';
import { operatorFor, place, useCluster, type Place } from '../support/place.ts';
import { contentChecksum, query } from '../support/postgres.ts';
import { program } from '../support/program.ts';

useCluster();

const history: HistorySpec = {
  revisions: [
    { id: 'a1', up: sql('CREATE TABLE users (name text)'), downgrade: sql('DROP TABLE users') },
    { id: 'a2', up: sql('CREATE INDEX users_name ON users (name)'), downgrade: sql('DROP INDEX users_name') },
  ],
};

const namesIn = async ({ database }: Place): Promise<readonly unknown[]> =>
  (await query<{ name: string }>(database.adminUrl, 'SELECT name FROM users ORDER BY 1')).map(({ name }) => name);

describe('a target that a controller keeps', () => {
  let here: Place;
  let backup: string;

  const declare = async (revision: string, args: readonly string[], spec: object = {}): Promise<string> =>
    here.kubectl(['apply', ...args, '-f', '-'], JSON.stringify(await here.document('unicorn', revision, spec)));
  /** Of the last operation. */
  const last = async (): Promise<string | undefined> => (await here.target('unicorn')).status?.history[0]?.operationId;

  beforeAll(async () => {
    here = await place(history);
    await operatorFor(here);
    await declare('a1', []);
    await here.wait('unicorn', 'condition=Ready');
    await query(here.database.url, `INSERT INTO users VALUES ('of the backup')`);
    await declare('a2', []);
    await here.wait('unicorn', 'condition=Ready');
    backup = (await here.target('unicorn')).status?.lastBackup?.id ?? '';
    await query(here.database.url, `INSERT INTO users VALUES ('since')`);
  });

  test('has its migrations drawn and its operations told by history, which changes nothing', async () => {
    const before = [await here.target('unicorn'), await contentChecksum(here.database.adminUrl)];
    const { code, stdout } = await here.command('history', 'unicorn');
    expect(code).toBe(0);
    expect(stdout).toMatch(/a2.*\n.*a1.*\n[^]*Last operations, newest first\n.*a1 → a2[^]*base → a1/);
    const asJson = await here.command('history', 'unicorn', '-o', 'json');
    expect(JSON.parse(asJson.stdout)).toMatchObject({ current: ['a2'], desired: ['a2'], history: [{}, {}] });
    expect([await here.target('unicorn'), await contentChecksum(here.database.adminUrl)]).toEqual(before);
  });

  test('is looked at by doctor, which finds the Secret and the backups, and ends with 1 where a rollback would fail', async () => {
    const well = await here.command('doctor', 'unicorn');
    expect(well).toMatchObject({ code: 0, stdout: expect.stringMatching(/backup/) });
    const { code, stdout } = await here.command('doctor', 'unicorn', '-o', 'json');
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ target: 'unicorn', wouldFail: false });

    await here.patch('unicorn', { suspend: true, database: { urlFrom: { secretKeyRef: { name: 'nobody' } } } });
    const ill = await here.command('doctor', 'unicorn');
    expect(ill.code).toBe(1);
    expect(ill.stdout).toMatch(/There is no Secret \S+\/nobody\./);
    await declare('a2', []);
    await here.patch('unicorn', { suspend: false });
    await here.wait('unicorn', 'condition=Ready');
  });

  test('is restored once it was said yes to, by its controller, and is where it was declared to be afterwards', async () => {
    const content = await contentChecksum(here.database.adminUrl);
    const unsaid = await here.command('restore', 'unicorn', backup);
    expect(unsaid).toMatchObject({ code: 1, stderr: expect.stringContaining(`restore unicorn ${backup} --yes`) });
    expect(await contentChecksum(here.database.adminUrl)).toBe(content);

    const restored = await here.command('restore', 'unicorn', backup, '--yes');
    expect(restored).toMatchObject({ code: 0 });
    expect(await namesIn(here)).toEqual(['of the backup']);
    expect(await here.version()).toBe('a2');
    expect((await here.target('unicorn')).spec.restoreFrom).toEqual({ backup });

    const operation = await last();
    expect(await here.command('reconcile', 'unicorn')).toMatchObject({ code: 0 });
    expect(await last()).toBe(operation);
  });

  test('is not said to be restored where the backup was restored before, which is done once only', async () => {
    await query(here.database.url, `INSERT INTO users VALUES ('too late')`);
    const again = await here.command('restore', 'unicorn', backup, '--yes');
    expect(again).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('NotRestored unicorn') });
    expect(await namesIn(here)).toEqual(['of the backup', 'too late']);
  });

  test('whose policy forbids to restore is left as it is declared, and the command says so', async () => {
    await here.patch('unicorn', { restoreFrom: null, policy: { restore: 'Forbid' } });
    const { generation } = (await here.target('unicorn')).metadata;
    const refused = await here.command('restore', 'unicorn', backup, '--yes');
    expect(refused).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('RestoreForbidden unicorn') });
    expect((await here.target('unicorn')).metadata.generation).toBe(generation);
    await here.patch('unicorn', { policy: { restore: 'Allow' } });
  });

  test('is restored where spec.restoreFrom declares it, once', async () => {
    await declare('a1', []);
    await here.wait('unicorn', 'condition=Ready');
    const id = (await here.target('unicorn')).status?.lastBackup?.id ?? '';
    await query(here.database.url, `DELETE FROM users`);
    await declare('a2', [], { restoreFrom: { backup: id } });
    await here.wait('unicorn', `jsonpath={.status.history[0].kind}=restore`);
    await here.wait('unicorn', 'condition=Ready');
    expect(await here.command('wait', 'unicorn')).toMatchObject({ code: 0 });
    expect(await namesIn(here)).toEqual(['of the backup', 'too late']);

    const operation = await last();
    await query(here.database.url, `INSERT INTO users VALUES ('afterwards')`);
    expect(await here.command('reconcile', 'unicorn')).toMatchObject({ code: 0 });
    expect(await namesIn(here)).toEqual(['afterwards', 'of the backup', 'too late']);
    expect(await last()).toBe(operation);
  });

  test('a file of this machine is no backup that a controller could restore', async () => {
    const refused = await here.command('restore', 'unicorn', './dump.sql', '--yes');
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('NotSupported') });
    expect((await here.target('unicorn')).spec.restoreFrom).not.toEqual({ backup: './dump.sql' });
  });

  test('nor is a folder of old dumps, which is said', async () => {
    const refused = await here.command('backups', 'import', 'unicorn', here.dir);
    expect(refused).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('NotSupported unicorn') });
  });
});

test('what a command restores stays whose it was: the next kubectl apply of the file takes no field from anybody', async () => {
  const here = await place(history);
  await operatorFor(here);
  // The API server itself refuses with --server-side to change what somebody else declares too.
  const declare = async (revision: string, spec: object = {}): Promise<void> => {
    const document = JSON.stringify(await here.document('unicorn', revision, spec));
    await here.kubectl(['apply', '--server-side', '-f', '-'], document);
    await here.wait('unicorn', 'condition=Ready');
    expect(await here.version()).toBe(revision);
  };
  await declare('a1');
  await declare('a2');
  await query(here.database.url, `INSERT INTO users VALUES ('since')`);
  const backup = (await here.target('unicorn')).status?.lastBackup?.id ?? '';
  expect(await here.command('restore', 'unicorn', backup, '--yes')).toMatchObject({ code: 0 });
  expect(await namesIn(here)).toEqual([]);
  await declare('a1', { timeout: '20m' });
  expect((await here.target('unicorn')).spec).toMatchObject({ timeout: '20m', restoreFrom: { backup } });
});

test('what stalled is tried again by reconcile, once the cause is mended', async () => {
  const here = await place(history);
  await operatorFor(here);
  await here.kubectl(['delete', 'secret', 'unicorn']);
  await here.apply('unicorn', 'a2');
  await here.wait('unicorn', 'condition=Stalled');
  expect(await here.command('reconcile', 'unicorn')).toMatchObject({
    code: 4,
    stdout: expect.stringContaining('SecretNotFound'),
  });
  await here.kubectl(['create', 'secret', 'generic', 'unicorn', `--from-literal=url=${here.database.url}`]);
  expect(await here.command('reconcile', 'unicorn')).toMatchObject({ code: 0 });
  expect(await here.version()).toBe('a2');
});

test('what went wrong stands among the events that kubectl describes, as warnings', async () => {
  const here = await place({
    revisions: [
      { id: 'a1', up: sql('CREATE TABLE t (id int)'), downgrade: `raise NotImplementedError("no way back")` },
      { id: 'a2', up: `raise RuntimeError("no way forward")` },
    ],
  });
  await operatorFor(here);
  const events = async (): Promise<string> => {
    const described = await here.kubectl(['describe', 'mtgt', 'unicorn']);
    return described.slice(described.indexOf('Events:'));
  };
  await here.apply('unicorn', 'nowhere');
  await here.wait('unicorn', 'condition=Stalled');
  expect(await events()).toMatch(/Warning +RevisionNotFound +\S+.* migration-target +\S.*nowhere/);

  const failed = async (revision: string, reason: string): Promise<void> => {
    await here.patch('unicorn', { revision, policy: { restore: 'Forbid' } });
    await here.wait('unicorn', `jsonpath={.status.conditions[?(@.type=='Stalled')].reason}=${reason}`);
  };
  await failed('a2', 'UpgradeFailed');
  expect(await events()).toMatch(/Warning +UpgradeFailed +\S+.* migration-target +\S.*no way forward/);

  await here.patch('unicorn', { revision: 'a1' });
  await here.wait('unicorn', 'condition=Ready');
  await failed('base', 'DowngradeFailed');
  const all = await events();
  expect(all).toMatch(/Warning +DowngradeFailed +\S+.* migration-target +\S.*no way back/);
  expect(all).not.toMatch(/Normal +\w+Failed|Normal +RevisionNotFound/);
});

test('without a controller apply declares, does nothing itself, and ends with 5 when its time is over', async () => {
  const here = await place(history);
  const [mark, fakePython] = [join(here.dir, 'started'), join(here.dir, 'python')];
  await writeFile(fakePython, `#!/bin/sh\n: > '${mark}'\nexit 1\n`);
  await chmod(fakePython, 0o755);
  const before = await contentChecksum(here.database.adminUrl);
  const file = join(here.dir, 'target.json');
  const spec = { timeout: '1s', alembic: { python: fakePython } };
  await writeFile(file, JSON.stringify(await here.document('unicorn', 'a2', spec)));

  const ended = await here.command('apply', '-f', file, '--yes');

  expect(ended).toMatchObject({ code: 5, stdout: '' });
  expect(ended.stderr).toMatch(
    /TimedOut unicorn\n.*spec\.timeout \(1s\)\. No controller has looked at .* kubectl get deployments /,
  );
  const target = await here.target('unicorn');
  expect(target).toMatchObject({ spec: { revision: 'a2' } });
  expect(target.status?.conditions ?? []).toEqual([]);
  expect(await contentChecksum(here.database.adminUrl)).toBe(before);
  await expect(access(mark)).rejects.toThrow('ENOENT');
  await expect(access(here.backups)).rejects.toThrow('ENOENT');
});

test('kubectl finds the program as its plugin, which then names its commands as kubectl takes them', async () => {
  const here = await place(history);
  await here.apply('unicorn', 'a1');
  const plugins = join(here.dir, 'plugins');
  await mkdir(plugins);
  await symlink(program, join(plugins, 'kubectl-migration_target'));
  const env = {
    PATH: [plugins, dirname(process.execPath), process.env['PATH']].join(delimiter),
    HOME: here.dir,
    KUBECONFIG: here.server.kubeconfig,
  };
  const kubectl = (...args: readonly string[]) => run(here.server.kubectlPath, ['migration-target', ...args], { env });

  expect(await kubectl('status', '-n', here.ns)).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^NAME +CURRENT +DESIRED .*\nunicorn .*a1/),
    stderr: '',
  });
  expect(await kubectl('status', 'pegasus', '-n', here.ns)).toMatchObject({
    code: 1,
    stderr: expect.stringContaining(`kubectl migration-target -n ${here.ns} status`),
  });
  expect(await kubectl('wait', 'unicorn', '-n', here.ns, '--timeout', '1s')).toMatchObject({ code: 5 });
});
