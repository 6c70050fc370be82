/**
 * Workloads that are stopped and started again, against a real API server: its conflicts, field managers, rights and
 * admission. Controllers and kubelets are played (test/support/workloads.ts), since there are none here; with real ones
 * it is test/cluster/workloads.test.ts.
 */
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { parseAllDocuments } from 'yaml';
import { workloadsIn, type Client } from '../../src/adapters/kubernetes/workloads.ts';
import { asFailure, type Failure } from '../../src/rollback/errors.ts';
import type { WorkloadBefore } from '../../src/rollback/model.ts';
import type { WorkloadReference, Workloads } from '../../src/rollback/ports.ts';
import { apiServer, type ApiServer } from '../support/apiserver.ts';
import { eventually } from '../support/place.ts';
import { workloadScene, type WorkloadScene } from '../support/workloads.ts';

let server: ApiServer;
const scenes: WorkloadScene[] = [];

beforeAll(async () => {
  server = await apiServer();
});

afterAll(async () => {
  for (const scene of scenes) await scene[Symbol.asyncDispose]();
});

type Kind = Exclude<WorkloadReference['kind'], 'Container'>;

/** A namespace with these workloads, of 3 replicas each, made by `kubectl apply --server-side`. */
async function stage(...all: readonly (readonly [Kind, string, object?, object?])[]): Promise<WorkloadScene> {
  const scene = await workloadScene(server);
  scenes.push(scene);
  for (const [kind, name, spec, pod] of all) await scene.apply(scene.manifest(kind, name, spec, pod));
  return scene;
}

const refer = (kind: Kind, name: string): WorkloadReference => ({ kind, name });
const quiet = () => ({ signal: new AbortController().signal, progress: () => {} });
const never = new AbortController().signal;

async function failureOf(work: Promise<unknown>): Promise<Failure> {
  try {
    await work;
  } catch (thrown) {
    return asFailure(thrown);
  }
  throw new Error('it went through');
}
const saidOf = ({ kind, reason, message }: Failure): string => `${kind} ${reason}: ${message}`;

/** A Job as the CronJob `nightly` makes it. */
async function createNightlyJob(scene: WorkloadScene): Promise<void> {
  const { uid } = (await scene.get('CronJob', 'nightly')).metadata;
  await scene.create('Job', {
    metadata: {
      name: 'nightly-1',
      ownerReferences: [{ apiVersion: 'batch/v1', kind: 'CronJob', name: 'nightly', uid, controller: true }],
    },
    spec: { template: { spec: { containers: [{ name: 'app', image: 'app:1' }], restartPolicy: 'Never' } } },
  });
}

/** Whatever of it is ours. */
async function marksOn(scene: WorkloadScene, kind: Kind, name: string) {
  const { metadata, spec } = await scene.get(kind, name);
  const own = Object.entries(metadata.annotations ?? {}).filter(([key]) => key.startsWith('migrationtarget.dev/'));
  return {
    level: kind === 'CronJob' ? spec.suspend : spec.replicas,
    annotations: Object.fromEntries(own.map(([key, value]) => [key.replace('migrationtarget.dev/', ''), value])),
    managers: metadata.managedFields.map(({ manager }) => manager),
  };
}

/** Read and stopped, as `quiesce` does it. */
async function stopped(workloads: Workloads, ...all: readonly WorkloadReference[]): Promise<readonly WorkloadBefore[]> {
  const before = await workloads.read(all);
  await workloads.stop(before, quiet());
  return before;
}

describe('a workload', () => {
  test.each<[Kind, unknown, unknown, string]>([
    ['Deployment', 3, 0, 'replicasBefore'],
    ['StatefulSet', 3, 0, 'replicasBefore'],
    ['CronJob', false, true, 'suspendBefore'],
  ])(
    'of kind %s is stopped with how it was written on it, and put back without a trace',
    async (kind, up, down, annotation) => {
      const scene = await stage([kind, 'web']);
      const workloads = scene.workloads();
      const before = await stopped(workloads, refer(kind, 'web'));
      expect(before).toEqual([
        {
          kind,
          name: 'web',
          id: (await scene.get(kind, 'web')).metadata.uid,
          running: true,
          startsAfter: [],
          settings: kind === 'CronJob' ? {} : { replicas: 3 },
        },
      ]);
      expect(await marksOn(scene, kind, 'web')).toMatchObject({
        level: down,
        annotations: {
          stoppedBy: 'unicorn',
          [annotation]: String(up),
          note: expect.stringMatching(/^Stopped by MigrationTarget unicorn .*kubectl -n /),
        },
      });
      // Again, as after a crash: nothing else comes of it.
      await workloads.stop(before, quiet());
      expect((await marksOn(scene, kind, 'web')).annotations[annotation]).toBe(String(up));

      expect(await workloads.start(before, never)).toEqual({ gone: [], notes: [] });
      const after = await marksOn(scene, kind, 'web');
      expect(after).toMatchObject({ level: up, annotations: {} });
      expect(after.managers).not.toContain('migration-target');
      expect(await workloads.start(before, never)).toEqual({ gone: [], notes: [] });
      await eventually('it is healthy', async () => (await workloads.health(before)).state === 'healthy');
    },
  );

  test('that is stopped can’t be scaled by a server-side apply without force; afterwards anybody may again', async () => {
    const scene = await stage(['Deployment', 'web']);
    const before = await stopped(scene.workloads(), refer('Deployment', 'web'));
    const five = scene.manifest('Deployment', 'web', { replicas: 5 });
    await expect(scene.apply(five)).rejects.toThrow(/conflict with "migration-target".*\.spec\.replicas/s);
    await scene.workloads().start(before, never);
    await scene.apply(five);
    expect((await scene.get('Deployment', 'web')).spec.replicas).toBe(5);
  });

  test('that did not run is neither started nor written to', async () => {
    const scene = await stage(['Deployment', 'web', { replicas: 0 }], ['CronJob', 'nightly', { suspend: true }]);
    const before = await stopped(scene.workloads(), refer('Deployment', 'web'), refer('CronJob', 'nightly'));
    expect(before.map(({ running }) => running)).toEqual([false, false]);
    await scene.workloads().start(before, never);
    expect(await marksOn(scene, 'Deployment', 'web')).toMatchObject({ level: 0, annotations: {} });
    expect(await marksOn(scene, 'CronJob', 'nightly')).toMatchObject({ level: true, annotations: {} });
    expect(await scene.workloads().health(before)).toEqual({ state: 'healthy', what: 'no workload was running' });
  });

  test('is known to be meant to run where the journal that stopped it is lost', async () => {
    const scene = await stage(['Deployment', 'web'], ['CronJob', 'nightly']);
    const references = [refer('Deployment', 'web'), refer('CronJob', 'nightly')];
    const before = await stopped(scene.workloads(), ...references);
    const found = await scene.workloads().read(references);
    expect(found).toEqual(before);
    expect(await scene.workloads().health(found)).toMatchObject({ state: 'unhealthy' });
    await scene.workloads().start(found, never);
    expect((await marksOn(scene, 'Deployment', 'web')).level).toBe(3);
    expect((await marksOn(scene, 'CronJob', 'nightly')).level).toBe(false);
  });

  test('that is left stopped is nobody’s: a person reads how it was, and no later operation starts it', async () => {
    const scene = await stage(['Deployment', 'web']);
    const before = await stopped(scene.workloads(), refer('Deployment', 'web'));
    await scene.workloads().leave(before);
    expect(await marksOn(scene, 'Deployment', 'web')).toMatchObject({
      level: 0,
      annotations: { replicasBefore: '3', note: expect.stringMatching(/^Left stopped by .*--replicas=3$/) },
    });
    expect((await marksOn(scene, 'Deployment', 'web')).annotations).not.toHaveProperty('stoppedBy');
    expect((await scene.workloads().read([refer('Deployment', 'web')]))[0]?.running).toBe(false);
    await scene.apply(scene.manifest('Deployment', 'web'));
    expect((await scene.get('Deployment', 'web')).spec.replicas).toBe(3);
  });

  test('is read and written again where others were faster, and given up for now where they always are', async () => {
    const scene = await stage(['Deployment', 'web']);
    let faster = 3;
    let writes = 0;
    const client: Client = {
      ...scene.client,
      insist: async (call) => {
        if (call.method === 'PATCH' && (faster -= 1) >= 0)
          await scene.patch('Deployment', 'web', { metadata: { labels: { writes: String((writes += 1)) } } });
        return scene.client.insist(call);
      },
    };
    const workloads = workloadsIn(client, { namespace: scene.ns, name: 'unicorn' });
    const before = await stopped(workloads, refer('Deployment', 'web'));
    expect((await marksOn(scene, 'Deployment', 'web')).annotations['replicasBefore']).toBe('3');
    faster = 3;
    await workloads.start(before, never);
    expect(await marksOn(scene, 'Deployment', 'web')).toMatchObject({ level: 3, annotations: {} });
    expect(faster).toBeLessThan(0);
    faster = Number.POSITIVE_INFINITY;
    expect(saidOf(await failureOf(workloads.stop(before, quiet())))).toMatch(
      /^retry WorkloadNotStopped: .* can't be stopped, since others change it all the time/,
    );
  });

  test('that another target has stopped is waited for, and left to it', async () => {
    const scene = await stage(['Deployment', 'web']);
    const mine = await scene.workloads().read([refer('Deployment', 'web')]);
    const theirs = await stopped(scene.workloads('pegasus'), refer('Deployment', 'web'));
    expect(saidOf(await failureOf(scene.workloads().stop(mine, quiet())))).toMatch(
      /^retry WorkloadNotStopped: The Deployment \S+\/web .* is stopped by MigrationTarget pegasus, .*migration-target status pegasus$/,
    );
    expect(await scene.workloads().start(mine, never)).toEqual({
      gone: [],
      notes: [expect.stringMatching(/web is stopped by MigrationTarget pegasus, and left so/)],
    });
    expect(await marksOn(scene, 'Deployment', 'web')).toMatchObject({
      level: 0,
      annotations: { stoppedBy: 'pegasus' },
    });
    await scene.workloads('pegasus').start(theirs, never);
    expect((await marksOn(scene, 'Deployment', 'web')).level).toBe(3);
  });
});

describe('stopping', () => {
  test('waits until pods are gone that are terminating, and not for those of a Job with the same labels', async () => {
    const scene = await stage(['Deployment', 'web'], ['StatefulSet', 'queue']);
    await scene.pod('web-1-a', await scene.get('Deployment', 'web'), 'ReplicaSet');
    await scene.pod('queue-0', await scene.get('StatefulSet', 'queue'), 'StatefulSet');
    await scene.create('Pod', {
      metadata: {
        name: 'migration',
        labels: { app: 'web' },
        ownerReferences: [{ apiVersion: 'batch/v1', kind: 'Job', name: 'migration', uid: 'a-job', controller: true }],
      },
      spec: { nodeName: 'node1', containers: [{ name: 'app', image: 'app:1' }] },
    });
    const told: string[] = [];
    const stopping = stoppedWith(scene, told, refer('Deployment', 'web'), refer('StatefulSet', 'queue'));
    let isDone = false;
    void stopping.finally(() => {
      isDone = true;
    });
    await eventually('both are waited for', async () =>
      told.includes('seconds, for 1 pod of Deployment web, 1 pod of StatefulSet queue to end'),
    );
    await scene.kubectl('delete', 'pod', 'web-1-a', 'queue-0', '--wait=false');
    expect((await scene.get('Pod', 'web-1-a')).metadata.deletionTimestamp).toBeDefined();
    await scene.endPod('web-1-a');
    await eventually('one is waited for', async () => told.includes('seconds, for 1 pod of StatefulSet queue to end'));
    expect(isDone).toBe(false);
    await scene.endPod('queue-0');
    await stopping;
  });

  test('does not take it for done before the controller has seen it', async () => {
    const scene = await workloadScene(server, { plays: false });
    scenes.push(scene);
    await scene.apply(scene.manifest('Deployment', 'web'));
    await scene.writeStatus('Deployment', 'web', { observedGeneration: 1, replicas: 3 });
    const told: string[] = [];
    const stopping = stoppedWith(scene, told, refer('Deployment', 'web'));
    await eventually('it waits', async () => told.length > 0);
    await scene.writeStatus('Deployment', 'web', { observedGeneration: 2, replicas: 0 });
    expect(await stopping).toMatchObject([{ name: 'web', running: true }]);
  });

  test('names pods that outlive their time, and what to do where their node is lost', async () => {
    const scene = await stage(['Deployment', 'web', {}, { terminationGracePeriodSeconds: 0 }]);
    await scene.pod('web-1-a', await scene.get('Deployment', 'web'), 'ReplicaSet');
    await scene.kubectl('delete', 'pod', 'web-1-a', '--wait=false');
    const workloads = scene.workloads('unicorn', { leewaySeconds: 0 });
    expect(saidOf(await failureOf(stopped(workloads, refer('Deployment', 'web'))))).toMatch(
      /^stalled WorkloadNotStopped: The Deployment \S+\/web \S+ does not stop: the pod web-1-a on node node1 is terminating for longer than allowed\. .*kubectl get node node1\. .*delete pod web-1-a --force/,
    );
    // Nothing was changed, and it is started again as whatever was stopped is.
    await workloads.start(await workloads.read([refer('Deployment', 'web')]), never);
    expect(await marksOn(scene, 'Deployment', 'web')).toMatchObject({ level: 3, annotations: {} });
  });

  test('of a StatefulSet says that one that is not ready holds up the others', async () => {
    const scene = await stage(['StatefulSet', 'queue', {}, { terminationGracePeriodSeconds: 0 }]);
    await scene.pod('queue-0', await scene.get('StatefulSet', 'queue'), 'StatefulSet');
    const workloads = scene.workloads('unicorn', { leewaySeconds: 0 });
    expect(saidOf(await failureOf(stopped(workloads, refer('StatefulSet', 'queue'))))).toMatch(
      /the pod queue-0 on node node1 was not told to end\. One that is not ready .*OrderedReady.*delete pod queue-0/,
    );
  });

  test('is ended by whoever stops the controller', async () => {
    const scene = await stage(['Deployment', 'web']);
    await scene.pod('web-1-a', await scene.get('Deployment', 'web'), 'ReplicaSet');
    const stop = new AbortController();
    const workloads = scene.workloads();
    const before = await workloads.read([refer('Deployment', 'web')]);
    const failing = failureOf(workloads.stop(before, { signal: stop.signal, progress: () => stop.abort() }));
    expect(saidOf(await failing)).toMatch(/^retry OperationInterrupted: .* 1 pod of Deployment web/);
  });

  test('suspends a CronJob first, and lets its running Job end while the others still serve', async () => {
    const scene = await stage(['Deployment', 'web'], ['CronJob', 'nightly']);
    await createNightlyJob(scene);
    const startTime = '2026-01-01T00:00:00Z';
    await scene.writeStatus('Job', 'nightly-1', { active: 1, startTime });
    const told: string[] = [];
    const stopping = stoppedWith(scene, told, refer('Deployment', 'web'), refer('CronJob', 'nightly'));
    await eventually('the Job is waited for', async () =>
      told.includes('seconds, for 1 Job of CronJob nightly to end'),
    );
    expect((await scene.get('CronJob', 'nightly')).spec.suspend).toBe(true);
    expect(await marksOn(scene, 'Deployment', 'web')).toMatchObject({ level: 3, annotations: {} });
    const ended = { status: 'True', lastTransitionTime: startTime, lastProbeTime: startTime };
    await scene.writeStatus('Job', 'nightly-1', {
      active: 0,
      succeeded: 1,
      completionTime: '2026-01-01T00:01:00Z',
      conditions: [
        { type: 'SuccessCriteriaMet', ...ended },
        { type: 'Complete', ...ended },
      ],
    });
    const before = await stopping;
    expect(before.map(({ name }) => name)).toEqual(['nightly', 'web']);
    expect((await marksOn(scene, 'Deployment', 'web')).level).toBe(0);
  });

  test('does not wait for a Job without end, nor end it: nothing is changed', async () => {
    const scene = await stage(['CronJob', 'nightly']);
    await createNightlyJob(scene);
    const workloads = scene.workloads('unicorn', { jobsWithinSeconds: 0 });
    expect(saidOf(await failureOf(stopped(workloads, refer('CronJob', 'nightly'))))).toMatch(
      /^stalled WorkloadNotStopped: The CronJob \S+\/nightly .*still runs the Job nightly-1 \(since .*\) after 0 s; none is cut off.*wait --for=condition=Complete job\/nightly-1/,
    );
    expect((await scene.get('Job', 'nightly-1')).metadata.deletionTimestamp).toBeUndefined();
  });

  test.each([
    ['argocd-controller', /by argocd-controller while it has to be stopped\. Have Argo CD leave it alone/],
    ['kustomize-controller', /by kustomize-controller while .* out of what Flux applies/],
    ['somebody', /by somebody while .* See who that is: kubectl -n \S+ get deployment web --show-managed-fields/],
  ])('is not a fight with %s: who scales it up again is named, and it stops there', async (manager, expected) => {
    const scene = await stage(['Deployment', 'web']);
    await scene.pod('web-1-a', await scene.get('Deployment', 'web'), 'ReplicaSet');
    const workloads = scene.workloads();
    const before = await workloads.read([refer('Deployment', 'web')]);
    const failing = failureOf(workloads.stop(before, quiet()));
    await eventually('it is stopped', async () => (await scene.get('Deployment', 'web')).spec.replicas === 0);
    const theirs = scene.manifest('Deployment', 'web', { replicas: 2 });
    await scene.apply(theirs, '--force-conflicts', `--field-manager=${manager}`);
    expect(saidOf(await failing)).toMatch(/^stalled WorkloadNotStopped: The Deployment \S+\/web .* was scaled to 2 /);
    expect((await failing).message).toMatch(expected);
    // What they made of it is left; our marks go.
    const { notes } = await workloads.start(before, never);
    expect(notes).toEqual([
      expect.stringMatching(/was scaled to 2 by .* while it was to be stopped, and may have written/),
    ]);
    expect(await marksOn(scene, 'Deployment', 'web')).toMatchObject({ level: 2, annotations: {} });
  });
});

describe('what can’t be stopped is told before anything is:', () => {
  test('one that does not exist, or is being deleted', async () => {
    const scene = await stage(['Deployment', 'web']);
    expect(saidOf(await failureOf(scene.workloads().read([refer('StatefulSet', 'web')])))).toMatch(
      /^stalled WorkloadNotFound: The StatefulSet \S+\/web \(spec\.application\.workloads\) does not exist\. .*get statefulsets/,
    );
    await scene.patch('Deployment', 'web', { metadata: { finalizers: ['example.com/keep'] } });
    await scene.kubectl('delete', 'deployment', 'web', '--wait=false');
    expect(saidOf(await failureOf(scene.workloads().read([refer('Deployment', 'web')])))).toMatch(
      /^stalled WorkloadNotFound: .* is being deleted/,
    );
    await scene.patch('Deployment', 'web', { metadata: { finalizers: null } });
  });

  test('a StatefulSet that would lose its volumes', async () => {
    const scene = await stage([
      'StatefulSet',
      'queue',
      { persistentVolumeClaimRetentionPolicy: { whenScaled: 'Delete', whenDeleted: 'Retain' } },
    ]);
    const workloads = scene.workloads();
    const before = await workloads.read([refer('StatefulSet', 'queue')]);
    for (const attempt of [() => workloads.tryStop(before), () => workloads.stop(before, quiet())])
      expect(saidOf(await failureOf(attempt()))).toMatch(/^stalled WorkloadNotStopped: .* would delete its volumes/);
    expect(await marksOn(scene, 'StatefulSet', 'queue')).toMatchObject({ level: 3, annotations: {} });
  });

  test('a right that is missing, with its verb and its resource', async () => {
    const scene = await stage(['Deployment', 'web'], ['CronJob', 'nightly']);
    const read = {
      apiGroups: ['apps', 'batch'],
      resources: ['deployments', 'cronjobs', 'jobs'],
      verbs: ['get', 'list'],
    };
    const reader = workloadsIn(await scene.as('reader', read), { namespace: scene.ns, name: 'unicorn' });
    const before = await reader.read([refer('Deployment', 'web')]);
    for (const attempt of [() => reader.tryStop(before), () => reader.stop(before, quiet())])
      expect(saidOf(await failureOf(attempt()))).toMatch(
        /^stalled NotAllowed: The Deployment \S+\/web .* can't be stopped, since a right is missing: .*cannot patch resource "deployments" in API group "apps"/,
      );
    // As the service account of the target, whatever the controller itself may do.
    const owner = { namespace: scene.ns, name: 'unicorn', serviceAccountName: 'reader' };
    expect(saidOf(await failureOf(workloadsIn(scene.client, owner).tryStop(before)))).toMatch(
      /NotAllowed: .*User "system:serviceaccount:\S+:reader" cannot patch resource "deployments"/,
    );
    const patch = { apiGroups: ['apps'], resources: ['deployments'], verbs: ['get', 'patch'] };
    const blind = workloadsIn(await scene.as('blind', patch), { namespace: scene.ns, name: 'unicorn' });
    expect(saidOf(await failureOf(blind.tryStop(before)))).toMatch(/NotAllowed: .*cannot list resource "pods"/);
    expect(saidOf(await failureOf(blind.read([refer('CronJob', 'nightly')])))).toMatch(
      /NotAllowed: .*cannot get resource "cronjobs" in API group "batch"/,
    );
    expect(await marksOn(scene, 'Deployment', 'web')).toMatchObject({ level: 3, annotations: {} });
  });

  test('and with the rights of a tenant all of it goes through', async () => {
    const scene = await stage(['Deployment', 'web'], ['StatefulSet', 'queue'], ['CronJob', 'nightly']);
    const roles = parseAllDocuments(await readFile('manifests/cluster/roles-controller.yaml', 'utf8'));
    const all = roles.map((role) => role.toJS() as { metadata: { name: string }; rules: readonly object[] });
    const { rules = [] } = all.find(({ metadata }) => metadata.name === 'migration-target-tenant') ?? {};
    const workloads = workloadsIn(await scene.as('tenant', ...rules), { namespace: scene.ns, name: 'unicorn' });
    const references = [refer('Deployment', 'web'), refer('StatefulSet', 'queue'), refer('CronJob', 'nightly')];
    await workloads.tryStop(await workloads.read(references));
    const before = await stopped(workloads, ...references);
    await workloads.leave(before);
    await scene.apply(scene.manifest('Deployment', 'web'));
    await workloads.start(await stopped(workloads, refer('Deployment', 'web')), never);
    await workloads.restart(before);
    await workloads.health(before);
    expect(await workloads.log(before, new Date())).toEqual([]);
  });

  test('what the cluster’s admission refuses', async () => {
    const scene = await stage(['Deployment', 'web']);
    await refuseZero(scene);
    const workloads = scene.workloads();
    const before = await workloads.read([refer('Deployment', 'web')]);
    await eventually('the policy is enforced', () =>
      workloads.tryStop(before).then(
        () => false,
        () => true,
      ),
    );
    for (const attempt of [() => workloads.tryStop(before), () => workloads.stop(before, quiet())])
      expect(saidOf(await failureOf(attempt()))).toMatch(
        /^stalled WorkloadNotStopped: .* can't be stopped, since the cluster refuses it: .*never at 0/,
      );
  });

  test('and trying changes nothing', async () => {
    const scene = await stage(['Deployment', 'web'], ['StatefulSet', 'queue'], ['CronJob', 'nightly']);
    const all = [refer('Deployment', 'web'), refer('StatefulSet', 'queue'), refer('CronJob', 'nightly')];
    const generations = (): Promise<readonly number[]> =>
      Promise.all(all.map(async ({ kind, name }) => (await scene.get(kind, name)).metadata.generation));
    const before = await generations();
    await scene.workloads().tryStop(await scene.workloads().read(all));
    expect(await generations()).toEqual(before);
  });
});

describe('starting', () => {
  test('tells what is gone, leaves what was made again as it is, and starts the others', async () => {
    const scene = await stage(['Deployment', 'a'], ['Deployment', 'b'], ['Deployment', 'c'], ['Deployment', 'd']);
    const names = ['a', 'b', 'c', 'd'];
    const before = await stopped(scene.workloads(), ...names.map((name) => refer('Deployment', name)));
    await scene.kubectl('delete', 'deployment', 'a', 'b', 'c');
    await scene.apply(scene.manifest('Deployment', 'b', { replicas: 2 }));
    await scene.apply(scene.manifest('Deployment', 'c', { replicas: 0 }));
    expect(await scene.workloads().start(before, never)).toEqual({
      gone: ['a'],
      notes: [expect.stringMatching(/\/c was made again meanwhile, stopped; it is left so/)],
    });
    const levels = await Promise.all(
      names.slice(1).map(async (name) => (await marksOn(scene, 'Deployment', name)).level),
    );
    expect(levels).toEqual([2, 0, 3]);
  });

  test('is of the journal where somebody took the annotations away, and of those where they are newer', async () => {
    const scene = await stage(['Deployment', 'a'], ['Deployment', 'b']);
    const workloads = scene.workloads();
    const before = await workloads.read([refer('Deployment', 'a'), refer('Deployment', 'b')]);
    // An autoscaler, between the look and the stop.
    await scene.kubectl('scale', 'deployment', 'b', '--replicas=5');
    await workloads.stop(before, quiet());
    const mark = (name: string) => ({ [`migrationtarget.dev/${name}`]: null });
    await scene.patch('Deployment', 'a', {
      metadata: { annotations: { ...mark('stoppedBy'), ...mark('replicasBefore'), ...mark('note') } },
    });
    await workloads.start(before, never);
    expect((await marksOn(scene, 'Deployment', 'a')).level).toBe(3);
    expect((await marksOn(scene, 'Deployment', 'b')).level).toBe(5);
  });
});

describe('restarting', () => {
  test('replaces the pods as kubectl rollout restart does; a CronJob needs none', async () => {
    const scene = await stage(['Deployment', 'web'], ['CronJob', 'nightly']);
    const before = await scene.workloads().read([refer('Deployment', 'web'), refer('CronJob', 'nightly')]);
    await scene.workloads().restart(before);
    const { spec } = await scene.get('Deployment', 'web');
    expect(spec.template.metadata.annotations).toEqual({
      'kubectl.kubernetes.io/restartedAt': expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
    });
    expect(spec.replicas).toBe(3);
    expect((await scene.get('CronJob', 'nightly')).metadata.generation).toBe(1);
  });

  test.each<[Kind, object, RegExp]>([
    ['Deployment', { paused: true }, /is paused, so it can't be restarted\. .*rollout resume deployment web/],
    ['StatefulSet', { updateStrategy: { type: 'OnDelete' } }, /OnDelete.*delete pod web-0/],
  ])('a %s with %j would replace none, and says so', async (kind, spec, expected) => {
    const scene = await stage([kind, 'web', spec]);
    const before = await scene.workloads().read([refer(kind, 'web')]);
    expect((await failureOf(scene.workloads().restart(before))).message).toMatch(expected);
  });
});

describe('health', () => {
  test('is that of the pods where the rollout is not done, with the container’s name', async () => {
    const scene = await workloadScene(server, { plays: false });
    scenes.push(scene);
    await scene.apply(scene.manifest('Deployment', 'web'));
    const before = await scene.workloads().read([refer('Deployment', 'web')]);
    expect(await scene.workloads().health(before)).toMatchObject({
      state: 'starting',
      what: 'the Deployment web was not looked at by its controller yet',
    });
    await scene.pod('web-1-a', await scene.get('Deployment', 'web'), 'ReplicaSet');
    await scene.writeStatus('Deployment', 'web', { observedGeneration: 1, replicas: 3, updatedReplicas: 3 });
    await scene.writeStatus('Pod', 'web-1-a', {
      containerStatuses: [
        {
          name: 'app',
          image: 'app:1',
          imageID: '',
          ready: false,
          restartCount: 0,
          state: { waiting: { reason: 'ImagePullBackOff', message: 'not found' } },
        },
      ],
    });
    expect(await scene.workloads().health(before)).toEqual({
      state: 'unhealthy',
      what: 'the Deployment web has 0 of 3 replicas available: the container app of the pod web-1-a waits in ImagePullBackOff (not found)',
    });
    await scene.writeStatus('Deployment', 'web', { readyReplicas: 3, availableReplicas: 3 });
    const container = { name: 'app', image: 'app:1', imageID: '', ready: true, restartCount: 4 };
    const runsSince = async (startedAt: Date): Promise<void> =>
      scene.writeStatus('Pod', 'web-1-a', { containerStatuses: [{ ...container, state: { running: { startedAt } } }] });
    await runsSince(new Date());
    expect(await scene.workloads().health(before)).toEqual({
      state: 'starting',
      what: 'the Deployment web has 3 of 3 replicas available, but the container app of the pod web-1-a has only just started',
    });
    await runsSince(new Date(Date.now() - 60_000));
    expect(await scene.workloads().health(before)).toEqual({
      state: 'healthy',
      what: 'the Deployment web has 3 of 3 replicas available',
    });
  });
});

async function stoppedWith(
  scene: WorkloadScene,
  progress: string[],
  ...all: readonly WorkloadReference[]
): Promise<readonly WorkloadBefore[]> {
  const workloads = scene.workloads();
  const before = await workloads.read(all);
  await workloads.stop(before, { signal: never, progress: (_done, _total, what) => void progress.push(what) });
  return before;
}

/** A platform team's policy, in this namespace alone. */
async function refuseZero(scene: WorkloadScene): Promise<void> {
  const apiVersion = 'admissionregistration.k8s.io/v1';
  const metadata = { name: `never-at-0-${scene.ns}` };
  await scene.apply({
    apiVersion,
    kind: 'ValidatingAdmissionPolicy',
    metadata,
    spec: {
      matchConstraints: {
        resourceRules: [
          { apiGroups: ['apps'], apiVersions: ['v1'], operations: ['UPDATE'], resources: ['deployments'] },
        ],
      },
      validations: [{ expression: 'object.spec.replicas > 0', message: 'never at 0' }],
    },
  });
  await scene.apply({
    apiVersion,
    kind: 'ValidatingAdmissionPolicyBinding',
    metadata,
    spec: {
      policyName: metadata.name,
      validationActions: ['Deny'],
      matchResources: { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': scene.ns } } },
    },
  });
}
