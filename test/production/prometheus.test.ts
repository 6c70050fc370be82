/**
 * From a reconcile that fails to an alert that fires, and to what a dashboard shows: the controller as a process of its own
 * on a real API server, a real PostgreSQL, and a real Prometheus that scrapes it. Of the rules only the waiting (`for`,
 * `keep_firing_for`) is taken out.
 */
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { sql, type HistorySpec } from '../support/alembic.ts';
import { askedBy } from '../support/dashboards.ts';
import type { Operator } from '../support/operator.ts';
import { closeGate, eventually, operatorFor, place, unicorns, useCluster, type Place } from '../support/place.ts';
import { namedIn } from '../support/promql.ts';
import { prometheusProgram, startPrometheus, type Prometheus } from '../support/prometheus.ts';

const program = await prometheusProgram();

const rulesFile = 'examples/docker-host/prometheus/alerts.yaml';

/** Beyond those of every place, one that fails half-way. */
const history: HistorySpec = {
  revisions: [...unicorns.revisions, { id: 'a4', up: sql('SELECT 1 / 0'), downgrade: 'pass' }],
};

useCluster();

(program === null ? describe.skip : describe)('Prometheus, that scrapes the controller,', () => {
  let here: Place;
  let operator: Operator;
  let prometheus: Prometheus;

  /** Waits until exactly these fire, each with these labels at least. */
  async function expectFiring(...expected: readonly Readonly<Record<string, string>>[]): Promise<void> {
    const found = async (): Promise<readonly Readonly<Record<string, string>>[]> =>
      (await prometheus.firing()).map(({ labels }) => labels);
    const isExpected = (labels: Readonly<Record<string, string>>, index: number): boolean =>
      Object.entries(expected[index] ?? {}).every(([label, value]) => labels[label] === value);
    await eventually(`${JSON.stringify(expected)} fire`, async () => {
      const labels = await found();
      return labels.length === expected.length && labels.every(isExpected);
    }).catch(async (cause: unknown) => {
      throw new Error(`${String(cause)}; these do: ${JSON.stringify(await found())}`, { cause });
    });
  }

  /** The labels of all series that are selected so. */
  const labelsOf = async (selector: string): Promise<readonly string[]> => [
    ...new Set(
      ((await prometheus.api('series', { 'match[]': selector })) as readonly object[]).flatMap((one) =>
        Object.keys(one),
      ),
    ),
  ];

  /** Prometheus takes the query, and has each metric and each label of it. */
  async function expectKnown(query: string): Promise<ReturnType<typeof namedIn>> {
    await prometheus.api('query', { query });
    const named = namedIn(query);
    // The operator adds it to whatever it scrapes.
    const known = ['pod'];
    for (const { metric, labels } of named.selectors) {
      const exposed = await labelsOf(metric);
      expect([metric, exposed]).toEqual([metric, expect.arrayContaining(['__name__', ...labels])]);
      known.push(...exposed);
    }
    expect([query, known]).toEqual([query, expect.arrayContaining([...named.grouping])]);
    return named;
  }
  const target = { name: 'unicorn', job: 'migration-target' };

  beforeAll(async () => {
    here = await place(history);
    operator = await operatorFor(here, { args: ['--leader-elect', '--identity', 'this'] });
    prometheus = await startPrometheus(program ?? '', {
      target: operator.url,
      rules: rulesFile,
    });
    await here.apply('unicorn', 'a2');
    await here.wait('unicorn', 'condition=Ready');
    await here.patch('unicorn', { revision: 'a3' });
    await here.wait('unicorn', 'jsonpath={.status.currentRevision}=a3');
  });
  afterAll(async () => {
    await prometheus[Symbol.asyncDispose]();
  });

  test('has nothing to tell of a target that is where it should be', async () => {
    const info = { query: `migrationtarget_info{namespace="${here.ns}", name="unicorn", current_revision="a3"}` };
    await expectFiring();
    expect(await prometheus.api('query', info)).toMatchObject({ result: [{ metric: { runtime: 'process' } }] });
    await expectFiring();
  });

  test('alerts of a reconcile that failed, with its reason and the command that is next', async () => {
    await here.patch('unicorn', { revision: 'a4' });
    await expectFiring({
      alertname: 'MigrationTargetStalled',
      severity: 'critical',
      namespace: here.ns,
      reason: 'UpgradeFailed',
      ...target,
    });
    const [alert] = await prometheus.firing();
    expect(alert?.annotations['description']).toContain(`migration-target -n ${here.ns} status unicorn`);
  });

  test('alerts no more of a target that is suspended', async () => {
    await here.patch('unicorn', { suspend: true });
    await expectFiring();
    await here.patch('unicorn', { suspend: false, revision: 'a3' });
    await here.wait('unicorn', 'condition=Ready');
    await expectFiring();
  });

  test('alerts of a downgrade that ended with a backup', async () => {
    await here.patch('unicorn', { revision: 'a2' });
    await expectFiring({
      alertname: 'MigrationTargetRestoreFallback',
      severity: 'warning',
      namespace: here.ns,
      ...target,
    });
  });

  test('alerts of a change beyond its deadline while it goes on', async () => {
    const gate = await closeGate(here);
    await here.patch('unicorn', { revision: 'a1', timeout: '20s' });
    await gate.reached();
    await expectFiring(
      { alertname: 'MigrationTargetOperationOverdue', operation: 'downgrade', namespace: here.ns, ...target },
      { alertname: 'MigrationTargetRestoreFallback', ...target },
    );
    await gate.open();
    await here.wait('unicorn', 'condition=Ready');
    await expectFiring({ alertname: 'MigrationTargetRestoreFallback', ...target });
  });

  test('knows every metric, label and value that the dashboards name', async () => {
    const values = { namespace: here.ns, target: 'unicorn', __range: '1h', __rate_interval: '1m' };
    const asked = await askedBy('manifests/components/prometheus/dashboards', values);
    expect(asked.length).toBeGreaterThan(40);
    for (const { query, legend } of asked) {
      const { selectors, grouping } = await expectKnown(query);
      expect([query, grouping]).toEqual([query, expect.arrayContaining([...legend])]);
      // There is something to show of each, be it 0.
      for (const { text } of selectors) expect([text, await labelsOf(text)]).not.toEqual([text, []]);
    }
  });

  test('knows every metric and label that the alerts name', async () => {
    const { groups } = parse(await readFile(rulesFile, 'utf8')) as {
      readonly groups: readonly { readonly rules: readonly { readonly expr: string }[] }[];
    };
    for (const { expr } of groups.flatMap(({ rules }) => rules)) await expectKnown(expr);
  });

  test('has nothing to tell any more of a target that was deleted', async () => {
    await here.kubectl(['delete', 'mtgt', 'unicorn', '--timeout=60s']);
    await expectFiring();
  });

  test('alerts of a controller that is gone', async () => {
    operator.kill('SIGKILL');
    await operator.ended;
    await expectFiring({ alertname: 'MigrationTargetControllerDown', severity: 'critical', job: 'migration-target' });
  });
});
