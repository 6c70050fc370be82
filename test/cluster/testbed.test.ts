/** The node itself: what the other tests of this folder rely on is real. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

import {
  cluster,
  clusterDatabase,
  clusterNamespace,
  clusterVolume,
  images,
  restricted,
  revisions,
  type InNamespace,
  type KubernetesObject,
} from '../support/cluster.ts';
import { query } from '../support/postgres.ts';

describe('the cluster', () => {
  let ns: InNamespace & AsyncDisposable;

  beforeAll(async () => {
    ns = await clusterNamespace(await cluster());
  });
  afterAll(async () => ns[Symbol.asyncDispose]());

  const job = (name: string, container: object, spec: object = {}): KubernetesObject => ({
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { name },
    spec: {
      backoffLimit: 0,
      template: {
        spec: {
          restartPolicy: 'Never',
          containers: [{ name: 'main', image: images.postgres, securityContext: restricted, ...container }],
          ...spec,
        },
      },
    },
  });

  test('runs a Job to its end, and keeps what it said', async () => {
    expect(await ns.run(job('tells', { command: ['sh', '-c', 'echo done by $(id -u)'] }))).toBe('done by 10002\n');
  });

  test('tells of a Job that failed', async () => {
    const failing = ns.run(job('fails', { command: ['sh', '-c', 'echo no disk; exit 3'] }));
    await expect(failing).rejects.toThrow(/^job\/fails failed:[^]*no disk/);
  });

  test('runs a Deployment, to zero and back', async () => {
    const labels = { 'app.kubernetes.io/name': 'idle' };
    await ns.apply({
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'idle' },
      spec: {
        replicas: 2,
        selector: { matchLabels: labels },
        template: {
          metadata: { labels },
          spec: {
            terminationGracePeriodSeconds: 0,
            containers: [{ name: 'main', image: images.pause, securityContext: restricted }],
          },
        },
      },
    });
    const pods = async (): Promise<number> =>
      (await ns.kubectl(['get', 'pods', '--selector=app.kubernetes.io/name=idle', '--output=name'])).split('\n')
        .length - 1;
    await ns.wait('deployment/idle', 'jsonpath={.status.readyReplicas}=2');
    await ns.kubectl(['scale', 'deployment/idle', '--replicas=0']);
    await ns.until('no pod is left', async () => (await pods()) === 0);
    await ns.kubectl(['scale', 'deployment/idle', '--replicas=2']);
    await ns.wait('deployment/idle', 'jsonpath={.status.readyReplicas}=2');
    expect(await pods()).toBe(2);
  });

  test('gives a pod a service account, by which the API server knows it', async () => {
    await ns.apply({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'somebody' } });
    const asks = job('asks', { command: ['node', '-e', whoAmI] }, { serviceAccountName: 'somebody' });
    expect(await ns.run(asks)).toBe(`system:serviceaccount:${ns.name}:somebody\n`);
  });

  test("attaches to a Job's standard input", async () => {
    await ns.apply(job('reads', { command: ['cat'], stdin: true, stdinOnce: true }));
    const pod = ['--selector=job-name=reads', '--for=jsonpath={.status.phase}=Running', '--timeout=60s'];
    await ns.kubectl(['wait', 'pod', ...pod]);
    expect(await ns.kubectl(['attach', '--stdin', '--quiet', 'job/reads'], 'a dump\n')).toBe('a dump\n');
    await ns.wait('job/reads', 'condition=Complete');
  });

  test('has PostgreSQL in a pod, which a pod of the application migrates, and the test asks', async () => {
    const database = await clusterDatabase(ns);
    const env = [{ name: 'DATABASE_URL', value: database.url }];
    for (const [name, image] of [
      ['before', images.applicationBefore],
      ['newest', images.application],
    ] as const) {
      await ns.run(job(name, { image, env, command: ['alembic', 'upgrade', 'head'] }));
      const rows = await query(await database.adminUrl(), 'SELECT version_num FROM alembic_version');
      expect(rows).toEqual([{ version_num: revisions[name] }]);
    }
  });

  test('has a volume, which a pod that is nobody in particular writes to', async () => {
    const folder = await clusterVolume(ns, 'backups');
    const volumes = [{ name: 'backups', persistentVolumeClaim: { claimName: 'backups' } }];
    const container = {
      command: ['sh', '-c', 'echo a dump > /backups/dump'],
      volumeMounts: [{ name: 'backups', mountPath: '/backups' }],
    };
    await ns.run(job('writes', container, { volumes, securityContext: { fsGroup: 10_002 } }));
    expect(await readFile(join(folder, 'dump'), 'utf8')).toBe('a dump\n');
  });

  test('knows an image by its digest', async () => {
    await ns.run(job('named', { image: images.application, command: ['sh', '-c', 'true'] }));
    const digest = ['get', 'pods', '--selector=job-name=named'];
    const imageID = await ns.kubectl([...digest, '--output=jsonpath={.items[0].status.containerStatuses[0].imageID}']);
    expect(imageID).toMatch(/\/application@sha256:[0-9a-f]{64}$/);
    await ns.run(job('by-digest', { image: imageID, command: ['sh', '-c', 'true'] }));
  });
});

/** Run by a pod. */
const whoAmI = `
const files = '/var/run/secrets/kubernetes.io/serviceaccount/';
const { KUBERNETES_SERVICE_HOST: hostname, KUBERNETES_SERVICE_PORT: port } = process.env;
const request = require('node:https').request({
  hostname, port, method: 'POST', path: '/apis/authentication.k8s.io/v1/selfsubjectreviews', ca: fs.readFileSync(files + 'ca.crt'),
  headers: { authorization: 'Bearer ' + fs.readFileSync(files + 'token', 'utf8'), 'content-type': 'application/json' },
}, async (response) => console.log(JSON.parse(Buffer.concat(await response.toArray())).status.userInfo.username));
request.end(JSON.stringify({ apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' }));
`;
