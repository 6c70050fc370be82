/**
 * The whole life of an installation by kubectl alone: `manifests` with our image in the place of the one that a user names, and
 * examples/kubernetes/ops-center with an image, databases and a bucket of a user's own. Each test goes on where the one before ended.
 */
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from '@jest/globals';

import { majorOf } from '../../src/adapters/postgres/tools.ts';
import type { MigrationTarget } from '../../src/api/target.ts';
import type { BackupManifest } from '../../src/rollback/model.ts';
import { cluster, images, inNamespace, revisions, type InNamespace } from '../support/cluster.ts';
import { opsCenter, type OpsCenter } from '../support/ops-center.ts';
import { query } from '../support/postgres.ts';
import { witness, type Witness, type Witnessed } from '../support/witness.ts';

const target = 'mtgt/unicorn-db';
const target18 = 'mtgt/unicorn-db-18';
const application = 'deployment/ops-center';
const ofController = '--selector=app.kubernetes.io/name=migration-target';
const ofApplication = '--selector=app.kubernetes.io/name=ops-center';

let ns: InNamespace;
let scene: OpsCenter;
let seen: Witness;

beforeAll(async () => {
  ns = inNamespace(await cluster(), 'ops-center');
  const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
  await ns.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: ns.name, labels } });
  scene = await opsCenter(ns);
  await ns.kubectl(['apply', '--server-side', '--kustomize', scene.manifests]);
  await ns.kubectl([
    'wait',
    '--for=condition=Established',
    'crds',
    '--selector=app.kubernetes.io/name=migration-target',
  ]);
  seen = witness(ns, {
    '/api/v1': ['pods', 'events'],
    '/apis/apps/v1': ['deployments'],
    '/apis/batch/v1': ['jobs'],
    '/apis/migrationtarget.dev/v1alpha1': ['migrationtargets', 'migrationbackups', 'migrationapprovals'],
  });
});
afterAll(async () => {
  await seen[Symbol.asyncDispose]();
  await ns.kubectl(['delete', 'namespace', ns.name]);
  await scene[Symbol.asyncDispose]();
});

test('the manifests alone bring up two controllers, where restricted pods alone are admitted', async () => {
  await ns.wait('deployment/migration-target', 'jsonpath={.status.readyReplicas}=2');
  const { spec } = await ns.get('deployment', 'migration-target');
  expect(spec).toHaveProperty('template.spec.containers.0.image', images.controller);
});

test('an application and its target come in one commit, and its pods run once the database is there', async () => {
  await scene.release(images.applicationOlder, revisions.older);
  await ready('Upgraded');
  expect(await scene.version()).toBe(revisions.older);
  const verified = firstOf('migrationtargets', ({ status }) => status?.operation?.step === 'resume');
  const serving = firstOf('pods', ({ status }) =>
    (status?.containerStatuses ?? []).some(({ name, state }) => name === 'ops-center' && state?.running !== undefined),
  );
  expect(serving).toBeGreaterThan(verified);
  await ns.wait(application, 'condition=Available');
  await ns.kubectl(['scale', application, '--replicas=2']);
  await rolledOut();
});

test('an upgrade stops what runs, changes the database, and starts as many again', async () => {
  await query(scene.url, `INSERT INTO sites VALUES (1, 'north')`);
  await query(scene.url, `INSERT INTO incidents (id, site_id, title) VALUES (1, 1, 'door open')`);
  await scene.release(images.application, revisions.newest);
  await ready('Upgraded');
  expect(await scene.version()).toBe(revisions.newest);
  expect(lastReplicas()).toEqual([2, 0, 2]);
  await rolledOut();
});

test('a database on PostgreSQL 18 is taken there and back by the same controller, and each server by tools of its own major', async () => {
  await scene.declare18(revisions.newest);
  await ready('Upgraded', target18);
  await scene.declare18(revisions.before);
  await ready('Downgraded', target18);
  expect(await scene.version18()).toBe(revisions.before);
  expect(await toolsByServer()).toEqual(new Set(['16 by 16', '18 by 18']));
  await ns.kubectl(['delete', target18, '--timeout=60s']);
});

test('after a rollout undo new pods wait at their gate, the others serve, and nothing is changed', async () => {
  await ns.kubectl(['rollout', 'undo', application]);
  const waits = new RegExp(
    `is at ${revisions.older}, for 1h.*It is at ${revisions.newest}, and ${revisions.newest} is declared`,
    's',
  );
  const gates = (): readonly string[] => seen.logs(/^ops-center-/);
  await ns.until('a pod of the older image waits', () => Promise.resolve(gates().some((log) => waits.test(log))));
  expect(await runningImages()).toEqual([images.application, images.application]);
  expect(await scene.version()).toBe(revisions.newest);
});

test('the older revision loses a column, which waits for a person', async () => {
  await scene.release(images.applicationOlder, revisions.older);
  await ns.wait(target, 'condition=ApprovalRequired');
  expect((await current()).status?.plan?.loss?.tables).toEqual([
    expect.objectContaining({ table: 'public.incidents', columnsGone: [{ column: 'severity', values: 1 }] }),
  ]);
  expect(await scene.version()).toBe(revisions.newest);
  expect(await runningImages()).toEqual([images.application, images.application]);
});

test('once that is approved the migrations of the newer image lead back, and the pods at the gate are let in', async () => {
  const approver = ['--clusterrole=migration-target-approver', '--user=jane@example.com'];
  await ns.kubectl(['create', 'rolebinding', 'migration-target-approvers', ...approver]);
  await approve('without-severity');
  expect(await ready('Downgraded')).toMatch(/those of image \w{12} are run/);
  expect(await scene.version()).toBe(revisions.older);
  await ns.wait('migrationapproval/without-severity', 'jsonpath={.status.usedBy}');
  expect(lastReplicas()).toEqual([2, 0, 2]);
  await rolledOut();
  expect(await runningImages()).toEqual([images.applicationOlder, images.applicationOlder]);
});

test('the leader is killed in the middle of a change: the other goes on, and no two work at once', async () => {
  const reader = await readIncidents();
  await scene.release(images.application, revisions.newest);
  await changeWaits();
  expect(await runningImages()).toEqual([]);
  const killed = await leader();
  await ns.kubectl(['delete', 'pod', killed, '--grace-period=0', '--force']);
  await ns.until('the other leads', async () => (await leader()) !== killed);
  await reader.end();
  await ready('Upgraded');
  expect(await scene.version()).toBe(revisions.newest);
  expect(new Set(seen.of('pods').flatMap(({ object }) => runOf(object) ?? [])).size).toBe(2);
  expect(besideEachOther(seen.of('pods'))).toEqual([]);
  expect(lastReplicas()).toEqual([2, 0, 2]);
  await rolledOut();
});

test('a downgrade that fails on the copy falls back to the backup at that revision, once that is approved', async () => {
  await query(scene.url, 'ALTER INDEX ix_incidents_site_id_opened_at RENAME TO ix_by_hand');
  await query(scene.url, `INSERT INTO incidents (id, site_id, title) VALUES (2, 1, 'written since')`);
  await scene.release(images.applicationOlder, revisions.older);
  await ns.wait(target, 'condition=ApprovalRequired');
  await approve('restore-instead');
  expect(await ready('RestoredFromBackup')).toMatch(/On a copy .* failed: .*ix_incidents_site_id_opened_at/s);
  expect(await scene.version()).toBe(revisions.older);
  expect(await query(scene.url, 'SELECT title FROM incidents')).toEqual([{ title: 'door open' }]);
  await rolledOut();
});

test('no password of a Secret was anywhere to be read', async () => {
  expect(seen.logs(/^unicorn-db-/).join('')).not.toBe('');
  for (const [where, text] of Object.entries({ told: seen.told(), logs: seen.logs().join('') }))
    for (const password of scene.passwords)
      expect({ where, isThere: text.includes(password) }).toEqual({ where, isThere: false });
});

test('no controller told an error but that of the migration, and none had to be started again', async () => {
  const lines = seen.logs(/^migration-target-/).flatMap((log) => log.split('\n'));
  const errors = lines.filter((line) => /"level":"(error|fatal)"/.test(line));
  expect(errors).toEqual(errors.map(() => expect.stringContaining('"msg":"rehearse failed: On a copy of unicorn_db')));
  expect(errors).not.toEqual([]);
  const restarts = '--output=jsonpath={.items[*].status.containerStatuses[0].restartCount}';
  expect(await ns.kubectl(['get', 'pods', ofController, restarts])).toBe('0 0');
});

test('uninstalling leaves the database, the backups, the Secrets and the application alone', async () => {
  const before = await leftAlone();
  await ns.kubectl(['delete', 'mtgt', '--all', '--timeout=60s']);
  await ns.kubectl(['delete', '--timeout=60s', '--kustomize', scene.manifests]);
  expect(await ns.kubectl(['get', 'crds', '--output=name'])).not.toContain('migrationtarget.dev');
  await ns.kubectl(['wait', 'pod', '--for=delete', ofController]);
  expect(await leftAlone()).toEqual(before);
});

const current = async (of = target): Promise<MigrationTarget> =>
  JSON.parse(await ns.kubectl(['get', of, '--output=json'])) as MigrationTarget;

/** Of every backup: the server's major, and that of the pg_dump that took it. */
async function toolsByServer(): Promise<ReadonlySet<string>> {
  const keys = (await scene.bucket.keys()).filter((key) => key.endsWith('/manifest.json'));
  const manifests = await Promise.all(
    keys.map(async (key) => JSON.parse(await scene.bucket.get(key)) as BackupManifest),
  );
  return new Set(manifests.map(({ server, tools }) => `${server.major} by ${majorOf(tools.pgDump)}`));
}

/** Waits until the target is, and for that reason. Returns its message. */
async function ready(reason: string, of = target): Promise<string> {
  await ns.wait(of, 'condition=Ready');
  const condition = (await current(of)).status?.conditions.find(({ type }) => type === 'Ready');
  expect(condition?.reason).toBe(reason);
  return condition?.message ?? '';
}

/** By somebody who may do nothing else. */
async function approve(name: string): Promise<void> {
  const { status } = await current();
  const approval = {
    apiVersion: 'migrationtarget.dev/v1alpha1',
    kind: 'MigrationApproval',
    metadata: { name },
    spec: {
      targetRef: { name: 'unicorn-db' },
      planDigest: status?.plan?.digest,
      approvedBy: 'jane@example.com',
    },
  };
  await ns.kubectl(['create', '--as=jane@example.com', '--filename=-'], JSON.stringify(approval));
}

const rolledOut = (): Promise<string> => ns.kubectl(['rollout', 'status', application, '--timeout=120s']);

/** When it was so for the first time, comparable with others; NaN: never. */
const firstOf = (collection: string, holds: (object: Witnessed['object']) => boolean): number =>
  Number(seen.of(collection).find(({ object }) => holds(object))?.object.metadata.resourceVersion);

/** That the Deployment has had, the last three that followed one another. */
function lastReplicas(): readonly unknown[] {
  const replicas = seen
    .of('deployments')
    .filter(({ object }) => object.metadata.name === 'ops-center')
    .map(({ object }) => object.spec?.['replicas']);
  return replicas.filter((count, index) => count !== replicas[index - 1]).slice(-3);
}

/** Of the pods of the application that are past their gate, and not about to end. */
async function runningImages(): Promise<readonly string[]> {
  const { items } = JSON.parse(await ns.kubectl(['get', 'pods', ofApplication, '--output=json'])) as {
    readonly items: readonly {
      readonly metadata: { readonly deletionTimestamp?: string };
      readonly spec: { readonly containers: readonly { readonly image: string }[] };
      readonly status: { readonly phase: string };
    }[];
  };
  return items
    .filter(({ metadata, status }) => metadata.deletionTimestamp === undefined && status.phase === 'Running')
    .flatMap(({ spec }) => spec.containers.map(({ image }) => image));
}

async function leader(): Promise<string> {
  const holder = await ns.kubectl(['get', 'lease/migration-target', '--output=jsonpath={.spec.holderIdentity}']);
  return holder.split('_')[0] ?? '';
}

/** Keeps the table from being changed, though not from being dumped, until it ends. */
async function readIncidents(): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: scene.url });
  await client.connect();
  await client.query('BEGIN; SELECT count(*) FROM incidents');
  return client;
}

const changeWaits = (): Promise<void> =>
  ns.until('alembic waits for the lock', async () => {
    const waiting = await query(
      scene.url,
      `SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'migration-target/%'`,
    );
    return waiting.length > 0;
  });

/** Which process of a controller a Job's pod is of. */
const runOf = ({ metadata }: Witnessed['object']): string | undefined => metadata.labels?.['migrationtarget.dev/run'];

/** Pods of Jobs that ran at the same time though they were of different controllers. */
function besideEachOther(pods: readonly Witnessed[]): readonly (readonly string[])[] {
  const running = new Map<string, string>();
  const found: string[][] = [];
  for (const { type, object } of pods) {
    const { name } = object.metadata;
    const run = runOf(object);
    if (run === undefined) continue;
    if (type === 'DELETED' || object.status?.phase !== 'Running') running.delete(name);
    else running.set(name, run);
    if (new Set(running.values()).size > 1) found.push([...running.keys()]);
  }
  return found;
}

/** What is not the controller's. */
async function leftAlone(): Promise<object> {
  const { spec } = await ns.get('deployment', 'ops-center');
  return {
    version: await scene.version(),
    incidents: await query(scene.url, 'SELECT * FROM incidents'),
    backups: await scene.bucket.keys(),
    secrets: await ns.kubectl(['get', 'secrets', '--output=name']),
    spec,
    pods: await ns.kubectl(['get', 'pods', ofApplication, '--output=jsonpath={.items[*].metadata.uid}']),
  };
}
