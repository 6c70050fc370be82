/**
 * What a user of a cluster has: kubectl, YAML, and the controller as a process of its own; a real API server, a real
 * PostgreSQL, a real alembic history.
 */
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { metric, migrationTarget, type Operator } from '../support/operator.ts';
import {
  closeGate,
  condition,
  eventually,
  kubectl,
  operatorFor,
  place,
  useCluster,
  type Place,
} from '../support/place.ts';
import { contentChecksum, query } from '../support/postgres.ts';
import { secretPath, startReceiver, type Receiver } from '../support/receiver.ts';

useCluster();

describe('a target in a cluster', () => {
  let here: Place;
  let operator: Operator;
  let receiver: Receiver;

  beforeAll(async () => {
    here = await place();
    receiver = await startReceiver();
    operator = await operatorFor(here, { env: { MIGRATION_TARGET_WEBHOOK_URL: receiver.url } });
  });
  afterAll(async () => {
    await receiver[Symbol.asyncDispose]();
  });

  test('is applied with kubectl, and waited for with kubectl wait, which sees it Ready once the database is there', async () => {
    await here.apply('unicorn', 'a2');
    await here.wait('unicorn', 'condition=Ready');

    expect(await here.version()).toBe('a2');
    const [head = '', row = ''] = (await here.kubectl(['get', 'mtgt'])).split('\n');
    expect(head.split(/\s+/)).toEqual(['NAME', 'CURRENT', 'DESIRED', 'READY', 'REASON', 'AGE']);
    expect(row).toMatch(/^unicorn\s+a2\s+a2\s+True\s+Upgraded\s+\d+/);
    const wide = await here.kubectl(['get', 'mtgt', '-o', 'wide']);
    expect(wide).toMatch(/MESSAGE\s+LAST BACKUP\n.*upgraded from base to a2 and verified\.\s+\d+s/);
  });

  test('is described by kubectl so that a person can read what was done, and how it is', async () => {
    const described = await here.kubectl(['describe', 'mtgt', 'unicorn']);
    expect(described).toMatch(/Message: +Database db_\w+ was upgraded from base to a2 and verified\./);
    for (const type of ['Ready', 'Reconciling', 'Stalled', 'ApprovalRequired', 'BackupReady'])
      expect(described).toMatch(new RegExp(`Type: +${type}\n`));
    const events = described.slice(described.indexOf('Events:'));
    expect(events).toMatch(/Normal +Started +\S+.* migration-target +Operation \w+ began: upgrade\./);
    expect(events).toMatch(
      /Normal +Upgraded +\S+.* migration-target +Database db_\w+ was upgraded from base to a2 and verified\./,
    );
    expect(await here.kubectl(['explain', 'mtgt.spec.revision'])).toMatch(
      /FIELD: revision .*\n\n?DESCRIPTION:\n +\w.{40,}/s,
    );
  });

  test('is told of to the webhook of its controller, whose log does not tell where that is', async () => {
    await receiver.until(2);
    expect(receiver.told()).toMatchObject([
      { event: 'started', target: { namespace: here.ns, name: 'unicorn' }, revisions: { to: ['a2'] } },
      { event: 'succeeded', reason: 'Upgraded', links: { report: null } },
    ]);
    const labels = { event: 'succeeded', result: 'delivered' };
    await eventually(
      'the delivery is counted',
      async () => (await metric(operator, 'migrationtarget_notifications_total', labels)) === 1,
    );
    expect(operator.written()).not.toContain(secretPath);
  });

  test('goes back where an older revision is declared, with a backup taken before', async () => {
    await here.patch('unicorn', { revision: 'a1' });
    await here.wait('unicorn', 'condition=Ready');

    expect(await here.version()).toBe('a1');
    expect(await query(here.database.adminUrl, 'SELECT * FROM users LIMIT 1')).toEqual([{ id: 1, name: 'user 1' }]);
    const { status } = await here.target('unicorn');
    expect(status).toMatchObject({ currentRevision: 'a1', history: [{ kind: 'downgrade', result: 'success' }, {}] });
    expect(status?.lastBackup).toMatchObject({ revisions: ['a2'] });
  });

  test('is restored from the backup of before the upgrade where its downgrade raises, and says so', async () => {
    await here.patch('unicorn', { revision: 'a3' });
    await here.wait('unicorn', 'condition=Ready');
    await here.patch('unicorn', { revision: 'a1' });
    await here.wait('unicorn', 'condition=Ready');

    const target = await here.target('unicorn');
    expect(condition(target, 'Ready')).toMatchObject({ status: 'True', reason: 'RestoredFromBackup' });
    expect(condition(target, 'Ready')?.message).toContain('deleted users are gone');
    expect(await here.version()).toBe('a1');
    expect(await query(here.database.adminUrl, 'SELECT count(*)::int AS n FROM users')).toEqual([{ n: 100 }]);
    // Not planned blindly: the restored tables have been analyzed.
    expect(
      await query(here.database.adminUrl, "SELECT reltuples::int AS n FROM pg_class WHERE oid = 'users'::regclass"),
    ).toEqual([{ n: 100 }]);
    const [aside] = target.status?.keptAside ?? [];
    expect(condition(target, 'Ready')?.message).toContain(aside?.name);
    expect(await here.kubectl(['events', '--for', 'mtgt/unicorn'])).toMatch(
      /Normal +RestoredFromBackup .*deleted users are gone/,
    );
  });

  test('is counted: /healthz, /readyz and /metrics tell what was done', async () => {
    expect((await fetch(`${operator.url}/healthz`)).status).toBe(200);
    expect((await fetch(`${operator.url}/readyz`)).status).toBe(200);
    const of = { namespace: here.ns, name: 'unicorn' };
    const values = async (...series: readonly (readonly [string, Record<string, string>])[]) =>
      Promise.all(series.map(([name, labels]) => metric(operator, `migrationtarget_${name}`, labels)));
    expect(
      await values(
        ['operations_total', { ...of, operation: 'upgrade', result: 'success' }],
        ['operations_total', { ...of, operation: 'downgrade', result: 'success' }],
        ['operations_total', { ...of, operation: 'downgrade', result: 'failure' }],
        ['restore_fallbacks_total', of],
        ['condition', { ...of, type: 'Ready', status: 'True' }],
        ['condition', { ...of, type: 'Ready', status: 'False' }],
        ['condition', { ...of, type: 'Stalled', status: 'True' }],
        ['info', { ...of, runtime: 'process', current_revision: 'a1', desired_revision: 'a1' }],
      ),
    ).toEqual([2, 2, 0, 1, 1, 0, 0, 1]);
    expect(await metric(operator, 'controller_runtime_reconcile_total', { result: 'success' })).toBeGreaterThanOrEqual(
      4,
    );
  });

  test('is logged as JSON lines that name the target and the operation, and no password', async () => {
    const lines = operator.log();
    const { status } = await here.target('unicorn');
    for (const { operationId } of status?.history ?? []) {
      const steps = lines.filter(({ operation, step }) => operation === operationId && step !== undefined);
      expect(steps).not.toHaveLength(0);
      for (const line of steps)
        expect(line).toMatchObject({ namespace: here.ns, target: 'unicorn', level: expect.any(String) });
    }
    expect(operator.written()).not.toContain(here.database.password);
  });

  test('stalls on a revision that does not exist: it says why and what to do, and is left alone', async () => {
    await here.patch('unicorn', { revision: 'a4', interval: '1s' });
    await here.wait('unicorn', 'condition=Stalled');
    const stalled = await here.target('unicorn');
    expect(condition(stalled, 'Ready')).toMatchObject({ status: 'False', reason: 'RevisionNotFound' });
    expect(condition(stalled, 'Stalled')?.message).toMatch(/a4.*migration-target \w+ unicorn/s);
    const events = await here.kubectl(['get', 'events', '-o', 'json']);

    // Read every second, as declared; looking again is no reason to write or to tell anything.
    const reconciled = async (): Promise<number> => (await metric(operator, 'controller_runtime_reconcile_total')) ?? 0;
    const before = await reconciled();
    await eventually('the controller looked three times more', async () => (await reconciled()) >= before + 3);

    const { resourceVersion } = stalled.metadata as unknown as { readonly resourceVersion: string };
    expect((await here.target('unicorn')).metadata).toMatchObject({ resourceVersion });
    expect(await here.kubectl(['get', 'events', '-o', 'json'])).toBe(events);
    expect(await metric(operator, 'controller_runtime_reconcile_total', { result: 'error' })).toBe(0);
    expect(await here.version()).toBe('a1');
  });

  test('is tried again when it is asked for by annotation, once the cause is mended', async () => {
    const file = join(here.project.versionsDir, 'a4.py');
    await writeFile(
      file,
      `from alembic import op\nrevision = "a4"\ndown_revision = "a1"\ndef upgrade():\n    op.execute("CREATE INDEX ON users (name)")\ndef downgrade():\n    pass\n`,
    );
    await here.kubectl(['annotate', 'mtgt', 'unicorn', 'migrationtarget.dev/requestedAt=2026-01-31T12:00:00Z']);
    await here.wait('unicorn', 'condition=Ready');
    expect(await here.version()).toBe('a4');
  });

  test('is left alone while it is suspended, whatever is declared, and goes on when it is resumed', async () => {
    const suspended = await here.command('suspend', 'unicorn');
    expect(suspended).toMatchObject({ code: 0 });
    await here.patch('unicorn', { revision: 'a1' });
    await here.wait('unicorn', "jsonpath={.status.conditions[?(@.type=='Ready')].reason}=Suspended");
    const { generation } = (await here.target('unicorn')).metadata;
    await here.wait('unicorn', `jsonpath={.status.observedGeneration}=${generation}`);
    expect(await here.version()).toBe('a4');
    expect(await metric(operator, 'migrationtarget_suspended', { name: 'unicorn' })).toBe(1);

    expect(await here.command('resume', 'unicorn')).toMatchObject({ code: 0 });
    await here.wait('unicorn', 'condition=Ready');
    // Its downgrade is a pass: the backup of before has the schema of a1.
    expect(await here.version()).toBe('a1');
  });

  test('is asked about and changed by the command line, with its exit codes', async () => {
    const file = join(here.project.dir, 'target.json');
    const declared = async (revision: string): Promise<void> =>
      writeFile(file, JSON.stringify(await here.document('unicorn', revision)));

    // kubectl declared the revision last, and the program takes no field from anybody unasked.
    await declared('a2');
    const refused = await here.command('apply', '-f', file, '--yes');
    expect(refused.code).toBe(1);
    const [, takeOver = ''] = /take them over: kubectl (.*) -f FILE/.exec(refused.stdout + refused.stderr) ?? [];
    await kubectl([...takeOver.split(' '), '-f', file]);

    const applied = await here.command('apply', '-f', file, '--yes', '-o', 'json');
    expect(applied).toMatchObject({ code: 0, stdout: expect.stringContaining('"kind"') });
    expect(JSON.parse(applied.stdout)).toMatchObject({ kind: 'MigrationTarget', status: { currentRevision: 'a2' } });
    expect(await here.version()).toBe('a2');

    const status = await here.command('status', 'unicorn', '-o', 'json');
    expect(status).toMatchObject({ code: 0, stderr: '' });
    expect(JSON.parse(status.stdout)).toMatchObject({ metadata: { name: 'unicorn' }, spec: { revision: 'a2' } });

    await declared('nowhere');
    const stalled = await here.command('apply', '-f', file, '--yes');
    expect(stalled).toMatchObject({ code: 4 });
    expect(stalled.stdout + stalled.stderr).toContain('RevisionNotFound');
    expect(await here.command('wait', 'unicorn', '--timeout', '30s')).toMatchObject({ code: 4 });
    expect(await here.command('wait', 'unicorn', '--for', 'Rehearsed', '--timeout', '1s')).toMatchObject({ code: 5 });

    await declared('a2');
    expect(await here.command('apply', '-f', file, '--yes')).toMatchObject({ code: 0 });
    expect(await here.command('wait', 'unicorn')).toMatchObject({ code: 0 });

    await declared('a1');
    const before = await here.target('unicorn');
    const planned = await here.command('plan', '-f', file, '--exit-code', '-o', 'json');
    expect(planned.code).toBe(2);
    expect(JSON.parse(planned.stdout)).toMatchObject({ kind: 'downgrade', current: ['a2'], desired: ['a1'] });
    expect(await here.target('unicorn')).toEqual(before);
  });

  test('can be deleted: neither its database nor its backups are touched, and its series go', async () => {
    const [content, backups] = [await contentChecksum(here.database.adminUrl), await readdir(here.backups)];
    await here.kubectl(['delete', 'mtgt', 'unicorn', '--timeout=60s']);
    await eventually('its series are gone', async () => (await metric(operator, 'migrationtarget_condition')) === null);
    expect(await contentChecksum(here.database.adminUrl)).toBe(content);
    expect(await readdir(here.backups)).toEqual(backups);
  });

  test('that is deleted in the middle of an operation is held until the database is where the operation leads', async () => {
    const closed = await closeGate(here);
    await here.apply('again', 'a1');
    await closed.reached();
    await here.kubectl(['delete', 'mtgt', 'again', '--wait=false']);
    expect((await here.target('again')).metadata).toMatchObject({
      finalizers: [expect.stringContaining('migrationtarget.dev')],
    });
    expect(await query(here.database.adminUrl, 'SELECT version_num FROM alembic_version')).toEqual([
      { version_num: 'a2' },
    ]);

    await closed.open();
    await here.kubectl(['wait', '--for=delete', 'mtgt/again', '--timeout=60s']);

    expect(await here.version()).toBe('a1');
    expect(await query(here.database.adminUrl, 'SELECT count(*)::int AS n FROM users')).toEqual([{ n: 100 }]);
  });
});

describe('a controller that is ended in the middle of a migration', () => {
  test('by kill -9, leaves what the next one brings to a good end', async () => {
    const here = await place();
    const closed = await closeGate(here);
    await here.apply('unicorn', 'a2');
    const killed = await operatorFor(here);
    await closed.reached();
    killed.kill('SIGKILL');
    expect(await killed.ended).toBe('SIGKILL');
    const { status } = await here.target('unicorn');
    expect(status?.operation).toMatchObject({ step: 'change' });
    expect(status?.conditions.find(({ type }) => type === 'Ready')).toMatchObject({ status: 'False' });

    await closed.open();
    await operatorFor(here);
    await here.wait('unicorn', 'condition=Ready');

    expect(await here.version()).toBe('a2');
    expect(await query(here.database.adminUrl, 'SELECT count(*)::int AS n FROM users')).toEqual([{ n: 100 }]);
    expect((await here.target('unicorn')).status).toMatchObject({
      operation: null,
      history: [{ operationId: status?.operation?.id, result: 'success' }],
    });
  });

  test('by SIGTERM, ends once the migration did, and the next one finds nothing half done', async () => {
    const here = await place();
    const closed = await closeGate(here);
    await here.apply('unicorn', 'a2');
    const stopped = await operatorFor(here);
    await closed.reached();
    stopped.kill('SIGTERM');
    await eventually('it is no longer ready', async () => (await fetch(`${stopped.url}/readyz`)).status === 503);

    await closed.open();
    expect(await stopped.ended).toBe(0);
    expect(await here.version()).toBe('a2');
    expect(stopped.log().at(-1)).toMatchObject({ level: 'info', msg: expect.stringMatching(/^Stopped/) });

    await operatorFor(here);
    await here.wait('unicorn', 'condition=Ready');
    expect((await here.target('unicorn')).status).toMatchObject({ currentRevision: 'a2', operation: null });
    expect(await query(here.database.adminUrl, 'SELECT count(*)::int AS n FROM users')).toEqual([{ n: 100 }]);
  });
});

test('status needs no controller, and no more rights than to read', async () => {
  const here = await place();
  await here.apply('unicorn', 'a1');
  await here.kubectl(['create', 'serviceaccount', 'reader']);
  await here.kubectl([
    'create',
    'role',
    'reader',
    '--verb=get,list',
    '--resource=migrationtargets.migrationtarget.dev',
  ]);
  await here.kubectl(['create', 'rolebinding', 'reader', '--role=reader', `--serviceaccount=${here.ns}:reader`]);
  const token = (await here.kubectl(['create', 'token', 'reader'])).trim();
  const kubeconfig = join(here.project.dir, 'kubeconfig');
  const config = JSON.parse(await kubectl(['config', 'view', '--raw', '--flatten', '-o', 'json'])) as {
    users: object[];
  };
  config.users = [{ name: 'admin', user: { token } }];
  await writeFile(kubeconfig, JSON.stringify(config), { mode: 0o600 });

  const asReader = { ...here.options, kubeconfig };
  const { code, stdout } = await migrationTarget(asReader, 'status');
  expect({ code, stdout }).toMatchObject({ code: 0, stdout: expect.stringMatching(/unicorn.*a1/s) });
  const waited = await migrationTarget(asReader, 'wait', 'unicorn', '--timeout', '1s');
  expect(waited).toMatchObject({ code: 5 });
  const suspended = await migrationTarget(asReader, 'suspend', 'unicorn');
  expect(suspended).toMatchObject({ code: 1, stderr: expect.stringMatching(/forbidden/i) });
});
