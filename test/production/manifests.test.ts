/** manifests/ as an administrator applies them, again and again, and takes them away; a real API server of the test's own. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { parse, parseAllDocuments } from 'yaml';
import type { Ran } from '../../scripts/lib/run.ts';
import { namespace, startApiServer, type OwnApiServer } from '../support/apiserver.ts';
import { startOperator } from '../support/operator.ts';

interface Manifest {
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly resourceVersion?: string;
  };
  readonly roleRef?: { readonly name: string };
  readonly spec?: { readonly selector: unknown; readonly template: PodTemplate };
}

interface PodTemplate {
  readonly metadata: object;
  readonly spec: {
    readonly securityContext: { readonly runAsUser: number };
    readonly containers: readonly [{ readonly image: string; readonly securityContext: object }];
  };
}

let server: OwnApiServer;
beforeAll(async () => {
  server = await startApiServer();
});
afterAll(() => server.stop());

async function kubectl(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await server.kubectl(args);
  if (code !== 0) throw new Error(`kubectl ${args.join(' ')}: ${stderr}`);
  return stdout;
}

const manifestsIn = (text: string): readonly Manifest[] =>
  parseAllDocuments(text).map((document) => document.toJS() as Manifest);
const kustomized = async (dir: string): Promise<readonly Manifest[]> => manifestsIn(await kubectl('kustomize', dir));
const inOrder = (manifests: readonly Manifest[]): readonly Manifest[] =>
  manifests.toSorted((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));
const nameOf = ({ kind, metadata: { name } }: Manifest): string => `${kind} ${name}`;

async function deployed(): Promise<PodTemplate> {
  const deployment = (await kustomized('manifests')).find(({ kind }) => kind === 'Deployment');
  if (deployment?.spec === undefined) throw new Error('there is no Deployment');
  return deployment.spec.template;
}

describe('what is in them', () => {
  test('install.yaml is what kustomize makes of them', async () => {
    const file = manifestsIn(await readFile('manifests/install.yaml', 'utf8'));
    expect(inOrder(file)).toEqual(inOrder(await kustomized('manifests')));
  });

  test('every object is labelled by the recommended convention, with this version', async () => {
    const { version } = parse(await readFile('package.json', 'utf8')) as { readonly version: string };
    for (const dir of ['manifests', 'manifests/overlays/namespaced', 'manifests/overlays/cluster-wide']) {
      for (const { metadata } of await kustomized(dir)) {
        expect(metadata.labels).toMatchObject({
          'app.kubernetes.io/name': 'migration-target',
          'app.kubernetes.io/part-of': 'migration-target',
          'app.kubernetes.io/version': version,
        });
      }
    }
    expect((await deployed()).spec.containers[0].image).toBe(`migration-target:${version}`);
  });

  test('none of them names a namespace or makes one, so that they go wherever they are applied and take none away', async () => {
    const manifests = await kustomized('manifests');
    expect(manifests.filter(({ kind, metadata }) => kind === 'Namespace' || metadata.namespace !== undefined)).toEqual(
      [],
    );
    const clusterWide = await kustomized('manifests/overlays/cluster-wide');
    expect(clusterWide.filter(({ kind }) => kind === 'Namespace')).toEqual([]);
  });

  test('what the API server lets nobody change is as it was, so that a newer version can be applied over an older one', async () => {
    const manifests = [...(await kustomized('manifests')), ...(await kustomized('manifests/overlays/cluster-wide'))];
    const bindings = manifests.filter(({ kind }) => kind.endsWith('RoleBinding'));
    expect(new Set(bindings.map((one) => `${nameOf(one)}: ${one.roleRef?.name}`))).toEqual(
      new Set([
        'RoleBinding migration-target: migration-target-controller',
        'RoleBinding migration-target-leader-election: migration-target-leader-election',
        'RoleBinding migration-target-own-pod: migration-target-own-pod',
        'ClusterRoleBinding migration-target: migration-target-controller',
      ]),
    );
    expect(manifests.find(({ kind }) => kind === 'Deployment')?.spec?.selector).toEqual({
      matchLabels: { 'app.kubernetes.io/name': 'migration-target' },
    });
  });
});

describe('the pod', () => {
  test('is let into a namespace that enforces the restricted Pod Security Standard; with less it is not', async () => {
    const ns = await namespace(server);
    await kubectl('label', 'namespace', ns, 'pod-security.kubernetes.io/enforce=restricted');
    await kubectl('-n', ns, 'create', 'serviceaccount', 'migration-target');
    const { metadata, spec } = await deployed();
    const create = (pod: object): Promise<Ran> =>
      server.kubectl(['-n', ns, 'create', '--dry-run=server', '-f', '-'], {
        input: JSON.stringify({
          apiVersion: 'v1',
          kind: 'Pod',
          metadata: { ...metadata, name: 'controller' },
          spec: pod,
        }),
      });
    expect(await create(spec)).toMatchObject({ code: 0, stderr: '' });
    const [container] = spec.containers;
    const lax = { ...container, securityContext: { ...container.securityContext, capabilities: {} } };
    expect((await create({ ...spec, containers: [lax] })).stderr).toContain('violates PodSecurity "restricted:latest"');
  });

  test('runs as nobody whom a node knows, on a root file system that it cannot write', async () => {
    const { spec } = await deployed();
    expect(spec.securityContext.runAsUser).toBeGreaterThanOrEqual(10_000);
    expect(spec.containers).toHaveLength(1);
    expect(spec.containers[0]).toMatchObject({
      securityContext: { readOnlyRootFilesystem: true, allowPrivilegeEscalation: false },
      resources: {
        requests: { cpu: expect.anything(), memory: expect.anything() },
        limits: { memory: expect.anything() },
      },
      livenessProbe: expect.anything(),
      readinessProbe: expect.anything(),
    });
  });
});

describe('applied', () => {
  const versions = async (ns: string): Promise<readonly string[]> => {
    const { items } = JSON.parse(await kubectl('-n', ns, 'get', '-k', 'manifests', '-o', 'json')) as {
      readonly items: readonly Manifest[];
    };
    return items.map((one) => `${nameOf(one)} ${one.metadata.resourceVersion}`).toSorted();
  };

  test.each([
    ['by kubectl', []],
    ['on the server', ['--server-side']],
  ])('%s into any namespace, and once more, they change nothing', async (_, options) => {
    const ns = await namespace(server);
    await kubectl('-n', ns, 'apply', ...options, '-k', 'manifests');
    await kubectl('wait', '--for=condition=Established', '--timeout=60s', '-f', 'crds/');
    const before = await versions(ns);
    await kubectl('-n', ns, 'apply', ...options, '-k', 'manifests');
    expect(await versions(ns)).toEqual(before);
  });

  test('for the whole cluster they go on the server as well, and the one is applied over the other', async () => {
    await server.kubectl(['create', 'namespace', 'migration-target-system']);
    const overlay = ['-k', 'manifests/overlays/cluster-wide'];
    for (const options of [['--server-side'], ['--server-side'], [], ['--server-side']])
      expect(await server.kubectl(['apply', ...options, ...overlay])).toMatchObject({ code: 0 });
  });

  test('from a kustomization of one’s own they take a namespace, an image and a component', async () => {
    const ns = await namespace(server);
    const dir = await mkdtemp(join(tmpdir(), 'mt-manifests-'));
    const path = (of: string): string => relative(dir, join(process.cwd(), 'manifests', of));
    const kustomization = {
      namespace: ns,
      resources: [path('.')],
      components: [path('components/network-policy')],
      images: [{ name: 'migration-target', newName: 'registry.example.com/migration-target', newTag: '1' }],
    };
    await writeFile(join(dir, 'kustomization.yaml'), JSON.stringify(kustomization));
    await kubectl('apply', '-k', dir);
    const image = 'jsonpath={.spec.template.spec.containers[0].image}';
    expect(await kubectl('-n', ns, 'get', 'deployment', 'migration-target', '-o', image)).toBe(
      'registry.example.com/migration-target:1',
    );
    expect(await kubectl('-n', ns, 'get', 'networkpolicy', '-o', 'name')).toContain('migration-target');
    await rm(dir, { recursive: true });
  });
});

describe('taken away', () => {
  const target = {
    apiVersion: 'migrationtarget.dev/v1alpha1',
    kind: 'MigrationTarget',
    // As one is while an operation is under way.
    metadata: { name: 'unicorn-db', finalizers: ['migrationtarget.dev/operation'] },
    spec: {
      revision: 'a1',
      database: { urlFrom: { secretKeyRef: { name: 'unicorn-db', key: 'url' } } },
      alembic: { workingDir: '/app' },
      runtime: { process: {} },
      backup: { storage: { directory: { path: '/var/backups' } } },
    },
  };
  const claim = {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: 'backups' },
    spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
  };

  /** A namespace with all of it, a target that is held, its Secret and its backups' claim. */
  async function installed(): Promise<string> {
    const ns = await namespace(server);
    await kubectl('-n', ns, 'apply', '-k', 'manifests');
    await kubectl('wait', '--for=condition=Established', '--timeout=60s', '-f', 'crds/');
    await kubectl('-n', ns, 'create', 'secret', 'generic', 'unicorn-db', '--from-literal=url=x');
    for (const object of [claim, target]) {
      const { stderr } = await server.kubectl(['-n', ns, 'create', '-f', '-'], { input: JSON.stringify(object) });
      expect(stderr).toBe('');
    }
    return ns;
  }

  async function expectGone(ns: string): Promise<void> {
    await kubectl('wait', '--for=delete', '--timeout=100s', '-f', 'crds/');
    expect(await kubectl('-n', ns, 'get', '--ignore-not-found', '-k', 'manifests/overlays/namespaced')).toBe('');
    expect((await kubectl('-n', ns, 'get', 'pvc,secret', '-o', 'name')).split('\n')).toEqual([
      'persistentvolumeclaim/backups',
      'secret/unicorn-db',
      '',
    ]);
    const deleted = 'jsonpath={.metadata.deletionTimestamp}';
    expect(await kubectl('-n', ns, 'get', 'pvc', 'backups', '-o', deleted)).toBe('');
    expect(await kubectl('get', 'namespace', ns, '-o', deleted)).toBe('');
  }

  test('targets first: the controller lets them go, and what is left goes at once; Secrets and backups stay', async () => {
    const ns = await installed();
    {
      await using _ = await startOperator({ kubeconfig: server.kubeconfig, namespace: ns, binDir: '/nowhere' });
      await kubectl('-n', ns, 'delete', 'mtgt', '--all', '--timeout=60s');
    }
    await kubectl('-n', ns, 'delete', '-k', 'manifests', '--timeout=60s');
    await expectGone(ns);
  });

  test('the controller first: a target that was held keeps its kind, until somebody lets it go by hand', async () => {
    const ns = await installed();
    await kubectl('-n', ns, 'delete', '-k', 'manifests', '--wait=false');
    await kubectl('-n', ns, 'wait', '--for=jsonpath={.metadata.deletionTimestamp}', '--timeout=60s', 'mtgt/unicorn-db');
    await kubectl('-n', ns, 'patch', 'mtgt', 'unicorn-db', '--type=merge', '-p', '{"metadata": {"finalizers": null}}');
    await expectGone(ns);
  });
});
