/** Which image the controller itself runs from: what its pod says, on a real API server. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';

import { createKubernetesHome, type KubernetesHome } from '../../src/adapters/kubernetes/home.ts';
import { readOwnImage } from '../../src/adapters/kubernetes/own-image.ts';
import { apiServer, namespace } from '../support/apiserver.ts';

let home: KubernetesHome;
let ownNamespace: string;

beforeAll(async () => {
  const server = await apiServer();
  ownNamespace = await namespace(server);
  // There are no controllers that would make it.
  await server.kubectl(['-n', ownNamespace, 'create', 'serviceaccount', 'default']);
  home = await createKubernetesHome({ kubeconfig: server.kubeconfig, namespace: ownNamespace, allow: [] });
  const containers = [
    { name: 'proxy', image: 'proxy:1' },
    { name: 'controller', image: 'registry.example.com/migration-target:1', imagePullPolicy: 'IfNotPresent' },
  ];
  for (const [name, some] of [
    ['own', containers],
    ['other', containers.slice(0, 1)],
  ] as const) {
    const spec = { containers: some, imagePullSecrets: [{ name: 'registry' }], automountServiceAccountToken: false };
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec };
    const { code, stderr } = await server.kubectl(['-n', ownNamespace, 'create', '-f', '-'], {
      input: JSON.stringify(pod),
    });
    if (code !== 0) throw new Error(stderr);
  }
});
afterAll(async () => home[Symbol.asyncDispose]());

const read = (env: Readonly<Record<string, string>>, inPod = true) =>
  readOwnImage(home.client, { inPod, ownNamespace }, env);

test('is that of the container controller of its pod, with what it takes to pull it', async () => {
  expect(await read({ HOSTNAME: 'own' })).toEqual({
    image: 'registry.example.com/migration-target:1',
    imagePullPolicy: 'IfNotPresent',
    imagePullSecrets: [{ name: 'registry' }],
  });
});

test('is what a variable says, before all else', async () => {
  expect(await read({ HOSTNAME: 'own', MIGRATION_TARGET_IMAGE: 'mine:2' })).toMatchObject({ image: 'mine:2' });
});

test.each([
  ['outside of a cluster', { HOSTNAME: 'own' }, false],
  ['in a pod with no such container', { HOSTNAME: 'other' }, true],
])('can not be told %s: then it says what to set', async (_, env, inPod) => {
  await expect(read(env, inPod)).rejects.toMatchObject({
    reason: 'NotSupported',
    message: expect.stringContaining('MIGRATION_TARGET_IMAGE='),
  });
});
