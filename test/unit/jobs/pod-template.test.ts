import { describe, expect, test } from '@jest/globals';

import { podOf, podTemplate, shapeOf } from '../../../src/adapters/jobs/pod-template.ts';

const deployment = {
  name: 'ops-center',
  container: undefined,
  template: podTemplate.parse({
    metadata: { labels: { app: 'ops-center' }, annotations: { 'sidecar/inject': 'true' } },
    spec: {
      serviceAccountName: 'ops',
      imagePullSecrets: [{ name: 'registry' }],
      volumes: [{ name: 'config', configMap: { name: 'ops' } }],
      terminationGracePeriodSeconds: 5,
      initContainers: [{ name: 'gate', image: 'migration-target' }],
      containers: [
        {
          name: 'app',
          image: 'r/ops:2',
          command: ['serve'],
          ports: [{ containerPort: 80 }],
          readinessProbe: { httpGet: { port: 80 } },
          lifecycle: { preStop: { exec: { command: ['true'] } } },
          env: [{ name: 'DATABASE_URL', valueFrom: { secretKeyRef: { name: 'db', key: 'url' } } }],
          envFrom: [{ configMapRef: { name: 'ops' } }],
          volumeMounts: [{ name: 'config', mountPath: '/etc/ops' }],
          securityContext: { runAsUser: 1000 },
          resources: { limits: { memory: '1Gi' } },
        },
        { name: 'proxy', image: 'r/proxy' },
      ],
    },
  }),
};
const program = { command: ['python3', '-c', 'echo $(id)'], env: { PGAPPNAME: 'x $(y)' }, cwd: '/app' };
const declared = { image: undefined, template: null };

test('a pod like the Deployment’s has its image, environment, volumes, rights and secrets, and none of its labels, probes, ports and other containers', () => {
  expect(podOf(shapeOf(declared, deployment), program, { mine: 'yes' })).toEqual({
    metadata: {
      labels: { mine: 'yes' },
      annotations: {
        'cluster-autoscaler.kubernetes.io/safe-to-evict': 'false',
        'karpenter.sh/do-not-disrupt': 'true',
      },
    },
    spec: {
      serviceAccountName: 'ops',
      imagePullSecrets: [{ name: 'registry' }],
      volumes: [{ name: 'config', configMap: { name: 'ops' } }],
      restartPolicy: 'Never',
      containers: [
        {
          name: 'run',
          image: 'r/ops:2',
          // Kubernetes reads $(NAME) as a variable unless its dollar is doubled.
          command: ['python3', '-c', 'echo $$(id)'],
          args: [],
          env: [
            { name: 'DATABASE_URL', valueFrom: { secretKeyRef: { name: 'db', key: 'url' } } },
            { name: 'PGAPPNAME', value: 'x $$(y)' },
          ],
          envFrom: [{ configMapRef: { name: 'ops' } }],
          volumeMounts: [{ name: 'config', mountPath: '/etc/ops' }],
          securityContext: { runAsUser: 1000 },
          resources: { limits: { memory: '1Gi' } },
          workingDir: '/app',
          stdin: true,
          stdinOnce: true,
          tty: false,
        },
      ],
    },
  });
});

test('what is declared is laid over it: another image, more variables and mounts, what the pod needs', () => {
  const template = podTemplate.parse({
    metadata: { annotations: { team: 'ops' } },
    spec: {
      serviceAccountName: 'migrations',
      containers: [
        { name: 'any', env: [{ name: 'MODE', value: 'migrate' }], volumeMounts: [{ name: 'tmp', mountPath: '/tmp' }] },
      ],
    },
  });
  const shape = shapeOf({ image: 'r/ops:3', template }, deployment);
  expect(shape.metadata.annotations).toEqual({ team: 'ops' });
  expect(shape.spec).toMatchObject({ serviceAccountName: 'migrations', imagePullSecrets: [{ name: 'registry' }] });
  expect(shape.container).toMatchObject({
    image: 'r/ops:3',
    env: [{ name: 'DATABASE_URL' }, { name: 'MODE', value: 'migrate' }],
    volumeMounts: [{ mountPath: '/etc/ops' }, { mountPath: '/tmp' }],
  });
});

test('with an image alone the pod has no token, no privilege and a seccomp profile', () => {
  const restricted = {
    allowPrivilegeEscalation: false,
    capabilities: { drop: ['ALL'] },
    seccompProfile: { type: 'RuntimeDefault' },
  };
  const shape = shapeOf({ image: 'r/ops:2', template: null }, null);
  expect(shape.spec).toMatchObject({ automountServiceAccountToken: false });
  expect(shape.container).toMatchObject({ securityContext: restricted });
});

describe('refused, with what to write', () => {
  test.each<[string, () => unknown, RegExp]>([
    [
      'two containers in the template',
      () =>
        shapeOf(
          { image: 'a', template: podTemplate.parse({ spec: { containers: [{ name: 'a' }, { name: 'b' }] } }) },
          null,
        ),
      /more than one container.* Leave all but one out/,
    ],
    [
      'a container that the Deployment has not',
      () => shapeOf(declared, { ...deployment, container: 'web' }),
      /no container web; it has: app, proxy/,
    ],
    ['no image', () => shapeOf(declared, null), /names no image\. Write image:/],
  ])('%s', (_, make, expected) => {
    expect(make).toThrow(expected);
  });
});
