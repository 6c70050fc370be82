/**
 * The application in a real cluster: kube-controller-manager scales it, a kubelet ends and starts its pods. The controller is
 * a process beside it, its database a server of the test bed.
 */
import { afterAll, describe, expect, test } from '@jest/globals';
import type { HistorySpec } from '../support/alembic.ts';
import { cluster, images, inNamespace, restricted, type InNamespace } from '../support/cluster.ts';
import { closeGate, condition, operatorFor, place, useCluster, type Place } from '../support/place.ts';

useCluster(cluster);

const meta = (name: string) => ({ name, labels: { app: name } });

/** Pods that end once they are told to. */
const pods = (name: string, script: string, more: object = {}) => ({
  metadata: { labels: { app: name } },
  spec: {
    terminationGracePeriodSeconds: 20,
    automountServiceAccountToken: false,
    containers: [
      { name: 'app', image: images.postgres, command: ['sh', '-c', script], securityContext: restricted, ...more },
    ],
  },
});
const serves = `exec node -e 'process.once("SIGTERM", () => process.exit()); setInterval(() => {}, 1000)'`;

const scaled = (
  kind: 'Deployment' | 'StatefulSet',
  name: string,
  replicas: number,
  script = serves,
  more: object = {},
) => ({
  apiVersion: 'apps/v1',
  kind,
  metadata: meta(name),
  spec: {
    replicas,
    selector: { matchLabels: { app: name } },
    ...(kind === 'StatefulSet' ? { serviceName: name } : {}),
    template: pods(name, script, more),
  },
});

const autoscaler = (name: string) => ({
  apiVersion: 'autoscaling/v2',
  kind: 'HorizontalPodAutoscaler',
  metadata: meta(name),
  spec: {
    scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name },
    minReplicas: 2,
    maxReplicas: 4,
    metrics: [{ type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 80 } } }],
  },
});

const nightly = {
  apiVersion: 'batch/v1',
  kind: 'CronJob',
  metadata: meta('nightly'),
  spec: {
    schedule: '0 0 1 1 *',
    jobTemplate: {
      spec: {
        backoffLimit: 0,
        template: {
          spec: {
            restartPolicy: 'Never',
            terminationGracePeriodSeconds: 0,
            containers: [
              {
                name: 'app',
                image: images.postgres,
                command: ['node', '-e', 'setTimeout(() => console.log("done"), 8000)'],
                securityContext: restricted,
              },
            ],
          },
        },
      },
    },
  },
};

/** What a test asks of the cluster. */
const looks = (ns: InNamespace) => {
  const spec = (what: string, field: string): Promise<string> => ns.kubectl(['get', what, `-o=jsonpath={.${field}}`]);
  return {
    spec,
    podsOf: async (name: string): Promise<number> =>
      (await ns.kubectl(['get', 'pods', `--selector=app=${name}`, '-o=name'])).split('\n').length - 1,
    scalingActive: () => spec('hpa/web', 'status.conditions[?(@.type=="ScalingActive")].reason'),
  };
};

/** Nothing of it could be lost, so it may be changed while the application runs. */
const lossless: HistorySpec = {
  revisions: [
    { id: 'a1', up: `op.create_table('users', sa.Column('id', sa.Integer, primary_key=True))` },
    { id: 'a2', up: `op.add_column('users', sa.Column('email', sa.Text))` },
  ],
};

describe('the application in a real cluster', () => {
  const made: InNamespace[] = [];
  afterAll(async () => {
    for (const ns of made) await ns.kubectl(['delete', 'namespace', ns.name, '--wait=false']);
  });

  async function stage(history?: HistorySpec): Promise<{ readonly here: Place; readonly ns: InNamespace }> {
    const here = await place(history);
    const ns = inNamespace(await cluster(), here.ns);
    made.push(ns);
    return { here, ns };
  }

  test('is gone before the database changes, stays so past its autoscaler and a kill of the controller, and is back as it was', async () => {
    const { here, ns } = await stage();
    const { spec, podsOf, scalingActive } = looks(ns);
    await ns.apply(scaled('Deployment', 'web', 1), autoscaler('web'), scaled('StatefulSet', 'queue', 2), nightly);
    // So the autoscaler is at work.
    await ns.wait('deployment/web', 'jsonpath={.status.readyReplicas}=2');
    await ns.wait('statefulset/queue', 'jsonpath={.status.readyReplicas}=2');
    await ns.kubectl(['create', 'job', 'nightly-now', '--from=cronjob/nightly']);
    await ns.wait('job/nightly-now', 'jsonpath={.status.ready}=1');

    const gate = await closeGate(here);
    const first = await operatorFor(here);
    const workloads = [
      { kind: 'Deployment', name: 'web' },
      { kind: 'StatefulSet', name: 'queue' },
      { kind: 'CronJob', name: 'nightly' },
    ];
    await here.apply('unicorn', 'a2', { application: { workloads } });
    await gate.reached();
    expect([await podsOf('web'), await podsOf('queue')]).toEqual([0, 0]);
    expect(await spec('cronjob/nightly', 'spec.suspend')).toBe('true');
    // Its Job was let to its end, and the others served until then.
    expect(await ns.kubectl(['logs', 'job/nightly-now'])).toBe('done\n');
    const endedAt = Date.parse(await spec('job/nightly-now', 'status.completionTime'));
    const [, stoppedAt = ''] =
      /at (\S+Z),/.exec(await spec('deployment/web', String.raw`metadata.annotations.migrationtarget\.dev/note`)) ?? [];
    expect(Date.parse(stoppedAt)).toBeGreaterThanOrEqual(endedAt);

    first.kill('SIGKILL');
    await first.ended;
    await ns.until(
      'the autoscaler has seen it, and is disabled',
      async () => (await scalingActive()) === 'ScalingDisabled',
    );
    expect(await podsOf('web')).toBe(0);

    const second = await operatorFor(here);
    await gate.open();
    await here.wait('unicorn', 'condition=Ready');
    expect(await here.version()).toBe('a2');
    expect(await spec('deployment/web', 'status.availableReplicas')).toBe('2');
    expect(await spec('statefulset/queue', 'status.readyReplicas')).toBe('2');
    expect(await spec('cronjob/nightly', 'spec.suspend')).toBe('false');
    expect(await spec('deployment/web', 'metadata.annotations')).not.toContain('migrationtarget.dev');
    await ns.until('the autoscaler is at work again', async () => (await scalingActive()) !== 'ScalingDisabled');
    const healthy = condition(await here.target('unicorn'), 'ApplicationHealthy');
    expect(healthy).toMatchObject({ status: 'True' });
    second.kill('SIGTERM');
    await second.ended;
  });

  test('is restarted where it is kept running; what does not come up is told with its container and its last errors', async () => {
    const { here, ns } = await stage(lossless);
    await operatorFor(here);
    await here.apply('unicorn', 'a1');
    await here.wait('unicorn', 'condition=Ready');
    const fails = `[ -z "$BROKEN" ] || { echo 'FATAL: column email does not exist'; exit 1; }\n${serves}`;
    const settings = { envFrom: [{ configMapRef: { name: 'settings', optional: true } }] };
    await ns.apply(scaled('Deployment', 'api', 1, fails, settings));
    await ns.wait('deployment/api', 'jsonpath={.status.readyReplicas}=1');
    await ns.kubectl(['create', 'configmap', 'settings', '--from-literal=BROKEN=yes']);
    const application = {
      during: 'Keep',
      workloads: [{ kind: 'Deployment', name: 'api' }],
      healthCheck: { url: 'http://127.0.0.1:1/', timeout: '30s' },
    };
    await here.apply('unicorn', 'a2', { application });
    await here.wait('unicorn', 'condition=Stalled');
    const target = await here.target('unicorn');
    expect(condition(target, 'Stalled')).toMatchObject({
      reason: 'ApplicationUnhealthy',
      message: expect.stringMatching(/is not healthy.*the container app of the pod api-\S+/s),
    });
    // A later look, which may come at once, says how it is then; what the operation met stays in its entry.
    expect(target.status?.history[0]?.message).toMatch(
      /is not healthy after \d+ s: .*the container app of the pod api-\S+ (waits in CrashLoopBackOff|does not run) \(it ended with exit code 1\)\. Its last errors: .*✗ api: FATAL: column email does not exist/s,
    );
    expect(await here.version()).toBe('a2');
  });
});
