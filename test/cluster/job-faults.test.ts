/** What stands in the way of a Job is told apart, and nothing is lost by it. */

import pg from 'pg';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';

import { images, revisions } from '../support/cluster.ts';
import { jobScene, type JobScene } from '../support/job-scene.ts';
import { query } from '../support/postgres.ts';
import { said } from '../support/scene.ts';
import { startOperator } from '../support/operator.ts';

let scene: JobScene;
const policy = { rehearsal: 'Never', dataLoss: 'Allow' };
const runtime = (more: object): object => ({
  runtime: { kubernetes: { deployment: { name: 'ops-center' }, ...more } },
});
const alembic = { workingDir: '/app', databaseUrl: { env: 'DATABASE_URL', driver: 'postgresql+psycopg' } };
const usual = { ...runtime({}), alembic, policy, serviceAccountName: null };

beforeAll(async () => {
  scene = await jobScene();
  await scene.deploy(images.application);
  const { outcome } = await scene.goTo(revisions.newest);
  if (outcome.kind !== 'ready') throw new Error(said(outcome));
});
afterAll(async () => scene[Symbol.asyncDispose]());
afterEach(async () => {
  const now = await scene.version();
  if (now !== revisions.newest) throw new Error(`the database is at ${now}`);
});

const template = (spec: object): object => runtime({ template: { spec } });

test.each<[string, object, RegExp]>([
  [
    'an image that no registry has',
    runtime({ image: 'registry.invalid/ops:9' }),
    /^retrying ImageNotPulled: The image of the Job .* can't be pulled: .*registry\.invalid\/ops:9/s,
  ],
  ['an image without a name', runtime({ image: 'Ops:a:b' }), /^stalled ImageNotFound: .*InvalidImageName/s],
  [
    'an interpreter that the image has not',
    { alembic: { ...alembic, python: '/opt/python9' } },
    /^stalled PythonNotFound: The interpreter \/opt\/python9 in a Job of the Deployment .* could not be started .*no such file/s,
  ],
  [
    'a program that succeeds and says nothing',
    { alembic: { ...alembic, python: '/bin/true' } },
    /^stalled PythonNotFound: .*\/bin\/true/s,
  ],
  [
    'a megabyte of variables',
    template({ containers: [{ env: [{ name: 'LARGE', value: 'x'.repeat(1 << 20) }] }] }),
    /^stalled JobNotStarted: No Job is made\. The variable LARGE has 1,048,583 bytes, and Linux starts no program with one of more than 131,072\./,
  ],
  [
    'a Deployment that is not there',
    { runtime: { kubernetes: { deployment: { name: 'gone' } } } },
    /^stalled WorkloadNotFound: There is no Deployment test-\w+\/gone/,
  ],
  [
    'a Secret that is not there',
    template({ containers: [{ envFrom: [{ secretRef: { name: 'gone' } }] }] }),
    /^retrying JobNotStarted: .*CreateContainerConfigError: secret "gone" not found/s,
  ],
  [
    'an init container that fails',
    template({ initContainers: [{ name: 'first', image: images.postgres, command: ['sh', '-c', 'exit 9'] }] }),
    /^stalled JobNotStarted: The init container first of .* ended with exit code 9/,
  ],
  [
    'no node that would do',
    template({ nodeSelector: { disk: 'none' } }),
    /^retrying JobNotStarted: No node has a place for the Job .*didn't match Pod's node affinity/s,
  ],
  [
    'too little memory',
    template({ containers: [{ resources: { limits: { memory: '16Mi' } } }] }),
    /^stalled PythonNotFound: .*was killed by SIGKILL \(it ran out of memory; give it more: spec\.runtime\.kubernetes\.template/s,
  ],
  [
    'a service account that may do nothing',
    { serviceAccountName: 'default' },
    /^stalled NotAllowed: A right is missing in the cluster: secrets "unicorn-db" is forbidden: User "system:serviceaccount:test-\w+:default" cannot get resource/,
  ],
])('%s', async (_, changes, expected) => {
  const { outcome, status } = await scene.goTo(revisions.before, { ...usual, ...changes });
  expect(said(outcome)).toMatch(expected);
  expect(status.operation).toBeNull();
});

test('a quota that has no room for the Job, or for its pod', async () => {
  await scene.ns.kubectl(['create', 'quota', 'few', '--hard=count/jobs.batch=0']);
  const jobs = await scene.goTo(revisions.before, usual);
  expect(said(jobs.outcome)).toMatch(/^retrying JobRefused: A Job of unicorn can't be made .*exceeded quota: few/s);
  await scene.ns.kubectl(['delete', 'quota', 'few']);

  await scene.ns.kubectl(['create', 'quota', 'few', '--hard=pods=1']);
  const pods = await scene.goTo(revisions.before, usual);
  expect(said(pods.outcome)).toMatch(/^retrying JobRefused: The pod of the Job .*exceeded quota: few/s);
  await scene.ns.kubectl(['delete', 'quota', 'few']);
});

test('a namespace that admits restricted pods alone tells what is missing', async () => {
  const label = 'pod-security.kubernetes.io/enforce';
  await scene.ns.kubectl(['label', 'namespace', scene.ns.name, `${label}=restricted`]);
  const { outcome } = await scene.goTo(revisions.before, usual);
  expect(said(outcome)).toMatch(/^stalled JobRefused: The pod of the Job .*violates PodSecurity "restricted/s);
  await scene.ns.kubectl(['label', 'namespace', scene.ns.name, `${label}-`]);
});

test('a Job that a person deletes in the middle of the change: the database is as it was, and it is told', async () => {
  const reader = await readIncidents();
  const going = scene.goTo(revisions.before, { ...usual, database: patient });
  await waitsForLock();
  await scene.ns.kubectl(['delete', 'jobs', '--all', '--wait=false']);
  const { outcome } = await going;
  expect(said(outcome)).toMatch(
    /^stalled DowngradeFailed: .*was killed by SIGKILL \(its pod was deleted\).*Database application is at 5e2a9c41d7b0, as before/s,
  );
  await reader.end();
});

test('a node that is drained in the middle of the change: it is made elsewhere, or once there is a node again', async () => {
  const reader = await readIncidents();
  // Another declaration than the one that stalled.
  const going = scene.goTo(revisions.before, { ...usual, database: patient, interval: '8m' });
  await waitsForLock();
  await scene.ns.kubectl([
    'drain',
    'node1',
    `--pod-selector=${ours}`,
    '--force',
    '--delete-emptydir-data',
    '--timeout=60s',
  ]);
  const { outcome } = await going;
  expect(said(outcome)).toMatch(/^retrying JobLost: The Job .* was lost: the pod .* on node node1 is gone.*[Ee]vict/s);
  expect(await scene.version()).toBe(revisions.newest);
  await reader.end();
  expect(said((await scene.again()).outcome)).toMatch(
    /^retrying JobNotStarted: No node has a place for the Job .*unschedulable/s,
  );
  await scene.ns.kubectl(['uncordon', 'node1']);
  expect(said((await scene.again()).outcome)).toMatch(/^ready Downgraded/);
  await scene.goTo(revisions.newest, usual);
});

test('a namespace that is deleted in the middle of the change goes, and the database is as it was', async () => {
  const tenant = await jobScene(scene);
  await tenant.deploy(images.application);
  await tenant.declare(revisions.before, { ...usual, database: patient });
  const reader = await readIncidents();
  const { kubeconfig } = tenant.ns.cluster;
  await using operator = await startOperator({ kubeconfig, namespace: tenant.ns.name, binDir: tenant.binDir });
  await waitsForLock();
  await tenant.ns.kubectl(['delete', 'namespace', tenant.ns.name, '--timeout=120s']);
  await reader.end();
  expect(await scene.version()).toBe(revisions.newest);
  const left = await query(scene.url, `SELECT datname FROM pg_database WHERE datname LIKE 'mt\\_%'`);
  expect(left).toEqual([]);
  operator.kill('SIGTERM');
  expect(await operator.ended).toBe(0);
});

test('a controller that is killed in the middle leaves a Job that ends by itself, and the next one goes on', async () => {
  const reader = await readIncidents();
  const { kubeconfig } = scene.ns.cluster;
  const start = () => startOperator({ kubeconfig, namespace: scene.ns.name, binDir: scene.binDir });
  // Another declaration than the one that stalled.
  await scene.declare(revisions.before, { ...usual, database: patient, interval: '7m' });
  await using first = await start();
  await waitsForLock();
  const running = await alembicPods();
  expect(running).toHaveLength(1);
  first.kill('SIGKILL');
  await scene.ns.until('the pod of the dead controller has ended', async () => {
    const now = await alembicPods();
    return running.every((pod) => !now.includes(pod));
  });
  await reader.end();
  await using second = await start();
  await scene.ns.kubectl(['wait', 'mtgt/unicorn', '--for=condition=Ready', '--timeout=120s']);
  expect(await scene.version()).toBe(revisions.before);
  second.kill('SIGTERM');
  await scene.goTo(revisions.newest, usual);
});

/** The label of what we make. */
const ours = 'app.kubernetes.io/managed-by=migration-target';

/** For the one that holds the table. */
const patient = { urlFrom: { secretKeyRef: { name: 'unicorn-db', key: 'url' } }, lockTimeout: '5m' };

/** Keeps the table from being changed, though not from being dumped, until it ends. */
async function readIncidents(): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: scene.url });
  await client.connect();
  await client.query('BEGIN; SELECT count(*) FROM incidents');
  return client;
}

const waitsForLock = (): Promise<void> =>
  scene.ns.until('alembic waits for the lock', async () => {
    const rows = await query(
      scene.url,
      `SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'migration-target/%'`,
    );
    return rows.length > 0;
  });

/** Those that run. */
async function alembicPods(): Promise<readonly string[]> {
  const running = ['--selector', ours, '--field-selector=status.phase=Running'];
  const names = await scene.ns.kubectl(['get', 'pods', ...running, '--output=name']);
  return names.split('\n').filter((name) => name !== '');
}
