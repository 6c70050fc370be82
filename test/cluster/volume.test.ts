/** Backups on a PersistentVolumeClaim, which the controller does not mount. */
import { readdir } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';

import { cluster, clusterNamespace, clusterVolume, images, revisions } from '../support/cluster.ts';
import { jobScene, type JobScene } from '../support/job-scene.ts';
import { query } from '../support/postgres.ts';
import { said } from '../support/scene.ts';

let scene: JobScene;
let folder: string;

const onClaim = (claimName: string) => ({
  backup: { storage: { persistentVolumeClaim: { claimName, path: '/production' } } },
});

beforeAll(async () => {
  scene = await jobScene();
  await scene.deploy(images.application);
  folder = await clusterVolume(scene.ns, 'backups');
});
afterAll(async () => scene[Symbol.asyncDispose]());

test('an upgrade leaves its backup on the claim, in a Job by the restricted Pod Security Standard', async () => {
  const { outcome, status } = await scene.goTo(revisions.newest, onClaim('backups'));
  expect(said(outcome)).toMatch(/^ready Upgraded/);
  expect(status.lastBackup).not.toBeNull();
  expect(await readdir(`${folder}/production/${status.lastBackup?.id}`)).toEqual(
    expect.arrayContaining(['manifest.json', 'dump']),
  );
  const agent = (await scene.jobs()).find((name) => name.includes('-backups-')) ?? '';
  const { spec } = (await scene.ns.get('job', agent.split('/')[1] ?? '')) as unknown as {
    spec: { template: { spec: object } };
  };
  await using strict = await clusterNamespace(await cluster(), { 'pod-security.kubernetes.io/enforce': 'restricted' });
  const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'agent' }, spec: spec.template.spec };
  expect(await strict.kubectl(['create', '--dry-run=server', '--filename', '-'], JSON.stringify(pod))).toContain(
    'agent',
  );
});

test('what is in its place is looked at without a Job', async () => {
  const before = await scene.jobs();
  const { outcome } = await scene.goTo(revisions.newest);
  expect(said(outcome)).toMatch(/^ready/);
  expect(await scene.jobs()).toEqual(before);
});

test('a downgrade goes through, and one that fails is followed by the backup on the claim', async () => {
  const policy = { rehearsal: 'Never', dataLoss: 'Allow' };
  expect(said((await scene.goTo(revisions.before, { policy })).outcome)).toMatch(/^ready Downgraded/);
  expect(said((await scene.goTo(revisions.newest)).outcome)).toMatch(/^ready Upgraded/);
  await query(
    scene.url,
    `CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no way back'; END $$;
     CREATE EVENT TRIGGER refuse ON ddl_command_start EXECUTE FUNCTION refuse()`,
  );
  const { outcome } = await scene.goTo(revisions.before);
  expect(said(outcome)).toMatch(/^ready RestoredFromBackup.*no way back/s);
  expect(await scene.version()).toBe(revisions.before);
});

test('a claim that is unbound, or missing, is told within seconds', async () => {
  await scene.ns.apply({
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: 'unbound' },
    spec: {
      accessModes: ['ReadWriteOnce'],
      storageClassName: '',
      volumeName: 'nowhere',
      resources: { requests: { storage: '1Gi' } },
    },
  });
  for (const [claim, what] of [
    ['unbound', /unbound immediate PersistentVolumeClaims/],
    ['missing', /persistentvolumeclaim "missing" not found/],
  ] as const) {
    const { outcome } = await scene.goTo(revisions.newest, onClaim(claim));
    expect(said(outcome)).toMatch(/^retrying JobNotStarted/);
    expect(said(outcome)).toMatch(what);
  }
});

test('a claim that is full leaves the database as it is, and says what is in the way', async () => {
  await clusterVolume(scene.ns, 'small', 2);
  await query(scene.url, `CREATE TABLE noise AS SELECT md5(n::text) FROM generate_series(1, 200000) n`);
  const { outcome } = await scene.goTo(revisions.newest, onClaim('small'));
  expect(said(outcome)).toMatch(/^retrying \w+: The volume of the claim \S+ is full, \d+ bytes free/);
  expect(await scene.version()).toBe(revisions.before);
});
