import { readFile } from 'node:fs/promises';
import { describe, expect, test } from '@jest/globals';
import type { JournalHead } from '../../../src/api/status.ts';
import { createMetrics, metricDescriptions } from '../../../src/telemetry/metrics.ts';
import { promtool } from '../../support/promtool.ts';
import { condition, ended, inSync, key, scrape, target, text } from './targets.ts';

const start = Date.parse('2026-01-31T12:00:00Z');
const at = (seconds: number): number => start / 1000 + seconds;
const labels = 'namespace="ops-center",name="unicorn-db"';

function setUp() {
  let now = start;
  const metrics = createMetrics({ version: '1.2.3', clock: { now: () => new Date(now) } });
  const value = async (name: string, more = ''): Promise<number | undefined> =>
    (await scrape(metrics)).get(`migrationtarget_${name}{${labels}${more}}`);
  return { metrics, value, setNow: (seconds: number) => (now = start + seconds * 1000) };
}

/** Only the head of a journal is known to the API; the rest is the procedure's. */
const journalled = (rest: object): JournalHead =>
  Object.assign({ version: 1, id: 'op', step: 'change', startedAt: '2026-01-31T12:01:00Z' }, rest);

describe('the metrics of a target', () => {
  test('in sync: what it is at, every condition with each status, and 0 for what is none', async () => {
    const { metrics, value } = setUp();
    metrics.observeStatus(key, target(), inSync);
    expect(await value('info', ',runtime="process",current_revision="b2",desired_revision="b2"')).toBe(1);
    expect(await value('condition', ',type="Ready",status="True"')).toBe(1);
    expect(await value('condition', ',type="Ready",status="False"')).toBe(0);
    expect(await value('condition', ',type="Stalled",status="False"')).toBe(1);
    expect(await value('condition', ',type="Rehearsed",status="Unknown"')).toBe(1);
    for (const name of [
      'suspended',
      'out_of_sync_since_timestamp_seconds',
      'last_check_timestamp_seconds',
      'approval_requested_timestamp_seconds',
      'backup_last_success_timestamp_seconds',
      'backup_size_bytes',
      'restore_fallbacks_total',
    ]) {
      expect([name, await value(name)]).toEqual([name, 0]);
    }
    expect(await value('pending_revisions', ',direction="up"')).toBe(0);
    expect(await value('operation_deadline_timestamp_seconds', ',operation="downgrade"')).toBe(0);
    expect(await value('operations_total', ',operation="rehearsal",result="refused"')).toBe(0);
    expect(await value('backups')).toBeUndefined();
  });

  test('working: since when it is out of sync, what is pending, and when it should be over', async () => {
    const { metrics, value } = setUp();
    metrics.observeStatus(key, target({ timeout: '30m', suspend: true }), {
      ...inSync,
      desiredRevisions: [],
      conditions: [condition('Ready', 'False', 'Progressing'), condition('ApprovalRequired', 'True', 'Waiting')],
      plan: {
        digest: 'd',
        kind: 'switch',
        steps: [
          { direction: 'down', revision: 'b2' },
          { direction: 'down', revision: 'a1' },
          { direction: 'up', revision: 'c3' },
        ],
        loss: { measured: true, rows: 7, tables: [], moreTables: 0, objects: [], moreObjects: 0, statements: [] },
        fallback: null,
      },
      operation: journalled({ plan: { kind: 'switch' } }),
      lastBackup: { id: 'x', revisions: null, finishedAt: '2026-01-31T11:59:00Z', verified: true, sizeBytes: 4096 },
    });
    expect(await value('info', ',runtime="process",current_revision="b2",desired_revision="base"')).toBe(1);
    expect(await value('suspended')).toBe(1);
    expect(await value('pending_revisions', ',direction="down"')).toBe(2);
    expect(await value('pending_revisions', ',direction="up"')).toBe(1);
    expect(await value('planned_row_loss')).toBe(7);
    expect(await value('out_of_sync_since_timestamp_seconds')).toBe(at(0));
    expect(await value('approval_requested_timestamp_seconds')).toBe(at(0));
    expect(await value('operation_deadline_timestamp_seconds', ',operation="switch"')).toBe(at(60 + 1800));
    expect(await value('operation_deadline_timestamp_seconds', ',operation="upgrade"')).toBe(0);
    expect(await value('backup_last_success_timestamp_seconds')).toBe(at(-60));
    expect(await value('backup_size_bytes')).toBe(4096);
  });

  test('an operation counts once when it ends, with its duration, and not what ended before the start', async () => {
    const { metrics, value, setNow } = setUp();
    const old = ended('old', { startedAt: '2026-01-31T11:00:00Z', finishedAt: '2026-01-31T11:00:09Z' });
    metrics.observeStatus(key, target(), { ...inSync, history: [old] });
    setNow(20);
    for (let times = 0; times < 2; times += 1)
      metrics.observeStatus(key, target(), { ...inSync, history: [ended('new'), old] });
    expect(await value('operations_total', ',operation="downgrade",result="success"')).toBe(1);
    expect(await value('operations_total', ',operation="downgrade",result="failure"')).toBe(0);
    const all = await scrape(metrics);
    const duration = 'migrationtarget_operation_duration_seconds';
    expect(all.get(`${duration}_count{operation="downgrade",result="success"}`)).toBe(1);
    expect(all.get(`${duration}_sum{operation="downgrade",result="success"}`)).toBe(20);
  });

  test('what ended while this controller stood by was counted by the one that led', async () => {
    const { metrics, value, setNow } = setUp();
    metrics.leads('migration-target', false);
    setNow(60);
    metrics.leads('migration-target', true);
    const fallback = ended('old', { reason: 'RestoredFromBackup' });
    metrics.observeStatus(key, target(), { ...inSync, history: [fallback] });
    expect(await value('restore_fallbacks_total')).toBe(0);
    expect(await value('operations_total', ',operation="downgrade",result="success"')).toBe(0);
    const later = ended('new', { finishedAt: '2026-01-31T12:01:30Z' });
    metrics.observeStatus(key, target(), { ...inSync, history: [later, fallback] });
    expect(await value('operations_total', ',operation="downgrade",result="success"')).toBe(1);
  });

  test.each([
    ['a downgrade that ended with a backup', { kind: 'downgrade', reason: 'RestoredFromBackup' }, false, 1],
    ['an upgrade that was undone by a swap', { kind: 'upgrade', result: 'failure', reason: 'UpgradeFailed' }, true, 1],
    ['a declared restore', { kind: 'restore', reason: 'RestoredFromBackup' }, true, 0],
    ['an upgrade that went through', { kind: 'upgrade', reason: 'Upgraded' }, false, 0],
  ] as const)('%s counts as a fallback or not', async (_, entry, swapped, fallbacks) => {
    const { metrics, value } = setUp();
    metrics.observeStatus(key, target(), {
      ...inSync,
      operation: journalled({ step: 'report', swapped }),
    });
    metrics.observeStatus(key, target(), { ...inSync, history: [ended('op', entry)] });
    expect(await value('restore_fallbacks_total')).toBe(fallbacks);
  });

  test('how often it is read, and how old a backup may be, as declared; 0 where nobody can tell', async () => {
    const { metrics, value } = setUp();
    metrics.observeStatus(key, target({ interval: '90s' }), inSync);
    expect(await value('check_interval_seconds')).toBe(90);
    expect(await value('backup_max_age_seconds')).toBe(0);
    const storage = { directory: { path: '/var/backups' } };
    metrics.observeStatus(key, target({ backup: { storage, maxAge: '1d' } }), inSync);
    expect(await value('backup_max_age_seconds')).toBe(86_400);
    metrics.observeStatus(key, null, inSync);
    expect(await value('check_interval_seconds')).toBe(0);
    expect(await value('backup_max_age_seconds')).toBe(0);
  });

  test('each condition has one reason', async () => {
    const { metrics, value } = setUp();
    metrics.observeStatus(key, target(), inSync);
    expect(await value('condition_reason', ',type="Ready",status="True",reason="InSync"')).toBe(1);
    const flapping = condition('Ready', 'False', 'Flapping');
    metrics.observeStatus(key, target(), { ...inSync, conditions: [flapping] });
    expect(await value('condition_reason', ',type="Ready",status="False",reason="Flapping"')).toBe(1);
    expect(await value('condition_reason', ',type="Ready",status="True",reason="InSync"')).toBeUndefined();
  });

  test('it is told when the database was read, how many backups there are, and how long each step took', async () => {
    const { metrics, value, setNow } = setUp();
    metrics.observeStatus(key, target(), inSync);
    setNow(7);
    metrics.observeOperation(key, { kind: 'step', step: 'backup', state: 'started' });
    metrics.observeOperation(key, { kind: 'step', step: 'backup', state: 'finished', ms: 250 });
    metrics.observeOperation(key, { kind: 'step', step: 'swap', state: 'finished', ms: 4 });
    expect(await value('last_check_timestamp_seconds')).toBe(0);
    metrics.observeCheck(key);
    metrics.observeBackups(key, 4);
    expect(await value('last_check_timestamp_seconds')).toBe(at(7));
    expect(await value('backups')).toBe(4);
    expect((await scrape(metrics)).get('migrationtarget_step_duration_seconds_sum{step="backup"}')).toBe(0.25);
    expect((await scrape(metrics)).get('migrationtarget_step_duration_seconds_count{step="restore"}')).toBe(0);
    expect((await scrape(metrics)).get('migrationtarget_swap_seconds_count')).toBe(1);
  });

  test('an operation that was refused is counted as such', async () => {
    const { metrics, value } = setUp();
    metrics.observeStatus(key, target(), inSync);
    expect(await value('operations_total', ',operation="downgrade",result="refused"')).toBe(0);
    metrics.observeOperation(key, { kind: 'refused', operation: 'downgrade', reason: 'DataLossForbidden' });
    expect(await value('operations_total', ',operation="downgrade",result="refused"')).toBe(1);
  });

  test('the series of a target that is gone go, and only those', async () => {
    const { metrics } = setUp();
    metrics.observeStatus(key, target(), inSync);
    metrics.observeStatus({ ...key, name: 'other' }, null, inSync);
    metrics.forget(key);
    const names = [...(await scrape(metrics)).keys()];
    expect(names.filter((series) => series.includes('name="unicorn-db"'))).toEqual([]);
    expect(names.filter((series) => series.includes('name="other"')).length).toBeGreaterThan(10);
  });

  test('a label with quotes, backslashes and newlines stays one label', async () => {
    const { metrics } = setUp();
    metrics.observeStatus({ namespace: 'n', name: 'a"b\\c\nd' }, null, inSync);
    expect(await text(metrics)).toContain('migrationtarget_suspended{namespace="n",name="a\\"b\\\\c\\nd"} 0\n');
  });
});

describe('the metrics of the controller', () => {
  test('have the names, labels and values of controller-runtime, from 0 on', async () => {
    const { metrics } = setUp();
    const before = await scrape(metrics);
    for (const result of ['success', 'requeue', 'requeue_after', 'error']) {
      expect(before.get(`controller_runtime_reconcile_total{controller="migrationtarget",result="${result}"}`)).toBe(0);
    }
    metrics.controller.reconciled('error', 0.5);
    metrics.controller.depth(3);
    const after = await scrape(metrics);
    expect(after.get('controller_runtime_reconcile_total{controller="migrationtarget",result="error"}')).toBe(1);
    expect(after.get('controller_runtime_reconcile_errors_total{controller="migrationtarget"}')).toBe(1);
    expect(after.get('controller_runtime_reconcile_time_seconds_sum{controller="migrationtarget"}')).toBe(0.5);
    expect(after.get('workqueue_depth{name="migrationtarget",controller="migrationtarget"}')).toBe(3);
    expect(after.get(`migrationtarget_build_info{version="1.2.3",node_version="${process.versions.node}"}`)).toBe(1);
  });

  test('leave out what no linter of Prometheus takes', async () => {
    const { metrics } = setUp();
    metrics.observeStatus(key, target(), inSync);
    metrics.observeBackups(key, 1);
    const exposition = await text(metrics);
    expect(exposition).not.toMatch(/nodejs_active_\w+_total/);
    expect(promtool(['check', 'metrics'], exposition) ?? { status: 0, output: '' }).toEqual({ status: 0, output: '' });
  });
});

test('docs/metrics.md lists every metric with its type and labels, and no other', async () => {
  const documented = (await readFile('docs/metrics.md', 'utf8')).split('\n').filter((line) => line.startsWith('| `'));
  const rows = metricDescriptions.map(
    ({ name, type, labelNames, help }) =>
      `| \`${name}\` | ${type} | ${labelNames.map((label) => `\`${label}\``).join(', ')} | ${help} |`,
  );
  expect(documented).toEqual(rows);
});
