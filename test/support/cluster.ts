/** A real cluster of one node, as a test sees it (project `cluster`). */
import { randomBytes } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { stringify } from 'yaml';

import { runOrThrow } from '../../scripts/lib/run.ts';
import { withKubectl, type ApiServer } from './apiserver.ts';
import { images } from './cluster-images.ts';
import { query } from './postgres.ts';
import { fromTestBed } from './testbed.ts';

export { images, revisions } from './cluster-images.ts';

export interface Cluster extends ApiServer {
  /** By which pods reach this machine. The machine reaches pods by their addresses. */
  readonly machineAddress: string;
  /** The node's `/var/lib`, as this machine sees it. */
  readonly varLib: string;
  /** Paths. */
  readonly nodeLogs: readonly string[];
  /** A command among the mounts of the node. */
  onNode(command: readonly string[]): Promise<void>;
}

/** The cluster of the run, shared by all tests. */
export async function cluster(): Promise<Cluster> {
  const { machineAddress, varLib, nodeLogs, ...server } = await fromTestBed('cluster', 'shared');
  const onNode: Cluster['onNode'] = async (command) => {
    const first = (await readFile(join(dirname(varLib), 'first'), 'utf8')).trim();
    await runOrThrow('nsenter', [`--target=${first}`, '--mount', ...command]);
  };
  return { ...withKubectl(server), machineAddress, varLib, nodeLogs, onNode };
}

/** As it is applied, and as `kubectl get --output=json` gives it. */
export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
  readonly spec?: Readonly<Record<string, unknown>>;
  readonly status?: Readonly<Record<string, unknown>>;
}

/** A namespace, as a test works in it. */
export interface InNamespace {
  readonly name: string;
  readonly cluster: Cluster;
  /** kubectl in this namespace. Throws, with what it said, where it fails. */
  kubectl(args: readonly string[], input?: string): Promise<string>;
  apply(...objects: readonly object[]): Promise<void>;
  get(kind: string, name: string): Promise<KubernetesObject>;
  /** `kubectl wait`, e.g. `wait('deployment/x', 'condition=Available')`. Throws with what is in the namespace, and its logs. */
  wait(what: string, condition: string): Promise<void>;
  /** Applies a Job and returns what it said, once it is complete. Throws with its log where it fails. */
  run(job: KubernetesObject): Promise<string>;
  /** Throws with what is in the namespace where it doesn't hold in time. */
  until(what: string, holds: () => Promise<boolean>): Promise<void>;
  /** What is in it, its events and logs. */
  described(): Promise<string>;
}

interface JobStatus {
  readonly conditions?: readonly { readonly type: string; readonly status: string }[];
}

const WAIT_S = 120;

/** One of the test's own, which goes with `dispose`. `labels`: e.g. those of Pod Security. */
export async function clusterNamespace(
  on: Cluster,
  labels: Readonly<Record<string, string>> = {},
): Promise<InNamespace & AsyncDisposable> {
  const view = inNamespace(on, `test-${randomBytes(5).toString('hex')}`);
  await view.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: view.name, labels } });
  return {
    ...view,
    async [Symbol.asyncDispose]() {
      await view.kubectl(['delete', 'namespace', view.name, '--wait=false']);
    },
  };
}

/** One that others make. */
export function inNamespace(on: Cluster, name: string): InNamespace {
  const kubectl: InNamespace['kubectl'] = async (args, input) => {
    const ran = await on.kubectl(['--namespace', name, ...args], input === undefined ? {} : { input });
    if (ran.code !== 0) throw new Error(`kubectl ${args.join(' ')}: ${ran.stderr.trim()}\n${ran.stdout}`);
    return ran.stdout;
  };
  const described: InNamespace['described'] = async () => {
    const said = async (...args: readonly string[]): Promise<string> => {
      const { stdout, stderr } = await on.kubectl(['--namespace', name, ...args]);
      return `${stdout}${stderr}`;
    };
    const pods = (await said('get', 'pods', '--output=name')).split('\n').filter((pod) => pod.startsWith('pod/'));
    const logs = pods.map((pod) => said('logs', pod, '--all-containers', '--prefix', '--tail=30'));
    const events = ['events', '--field-selector=type=Warning,reason!=MissingClusterDNS'];
    return [await said('get', 'all'), await said('get', ...events), ...(await Promise.all(logs))].join('\n');
  };
  const apply: InNamespace['apply'] = async (...objects) => {
    await kubectl(['apply', '--filename=-'], objects.map((object) => stringify(object)).join('---\n'));
  };
  const get: InNamespace['get'] = async (kind, of) =>
    JSON.parse(await kubectl(['get', kind, of, '--output=json'])) as KubernetesObject;
  const until: InNamespace['until'] = async (what, holds) => {
    const deadline = Date.now() + WAIT_S * 1000;
    while (!(await holds())) {
      if (Date.now() > deadline) throw new Error(`not within ${WAIT_S} s: ${what}\n${await described()}`);
      await delay(200);
    }
  };
  return {
    name,
    cluster: on,
    kubectl,
    described,
    apply,
    get,
    until,
    async wait(what, condition) {
      try {
        await kubectl(['wait', what, `--for=${condition}`, `--timeout=${WAIT_S}s`]);
      } catch (cause) {
        throw new Error(`${what} has no ${condition}:\n${await described()}`, { cause });
      }
    },
    async run(job) {
      const { name: of } = job.metadata;
      await apply(job);
      await until(`job/${of} has ended`, async () => {
        const { conditions = [] } = ((await get('job', of)).status ?? {}) as JobStatus;
        const ended = conditions.find(({ type, status }) => status === 'True' && /^(Complete|Failed)$/.test(type));
        if (ended?.type === 'Failed') throw new Error(`job/${of} failed:\n${await described()}`);
        return ended !== undefined;
      });
      return kubectl(['logs', `job/${of}`]);
    },
  };
}

/** What the restricted Pod Security Standard asks of a container. */
export const restricted = {
  runAsNonRoot: true,
  runAsUser: 10_002,
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  seccompProfile: { type: 'RuntimeDefault' },
} as const;

/**
 * Makes a PersistentVolumeClaim and the volume that it is bound to, which takes a pod's `fsGroup`. Returns its folder, as this
 * machine sees it, where it has no `megabytes` of its own.
 */
export async function clusterVolume(on: InNamespace, name: string, megabytes?: number): Promise<string> {
  const volume = `${on.name}-${name}`;
  await mkdir(join(on.cluster.varLib, volume));
  if (megabytes !== undefined)
    await on.cluster.onNode(['mount', '-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', `/var/lib/${volume}`]);
  const node = await on.kubectl(['get', 'nodes', '--output=jsonpath={.items[0].metadata.name}']);
  const shared = { accessModes: ['ReadWriteOnce'], storageClassName: '' };
  const inHostname = { key: 'kubernetes.io/hostname', operator: 'In', values: [node] };
  await on.apply(
    {
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: { name: volume },
      spec: {
        ...shared,
        capacity: { storage: '1Gi' },
        persistentVolumeReclaimPolicy: 'Retain',
        local: { path: `/var/lib/${volume}` },
        nodeAffinity: { required: { nodeSelectorTerms: [{ matchExpressions: [inHostname] }] } },
      },
    },
    {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name },
      spec: { ...shared, volumeName: volume, resources: { requests: { storage: '1Gi' } } },
    },
  );
  await on.wait(`pvc/${name}`, 'jsonpath={.status.phase}=Bound');
  return join(on.cluster.varLib, volume);
}

/** A real PostgreSQL in a pod, behind a Service. */
export interface ClusterDatabase {
  /** The Service, the Deployment, and the container. */
  readonly name: string;
  readonly password: string;
  /** As the superuser on `postgres`, for pods: by the Service's address, as there is no name service. */
  readonly url: string;
  /** The same from the test. */
  adminUrl(): Promise<string>;
}

/** Starts it and waits until it answers. `image`: `postgres` or `postgres18` of `images`. */
export async function clusterDatabase(
  on: InNamespace,
  name = 'postgresql',
  image: string = images.postgres,
): Promise<ClusterDatabase> {
  const password = `super-${randomBytes(6).toString('hex')}`;
  const labels = { 'app.kubernetes.io/name': name };
  const env = { POSTGRES_USER: 'postgres', POSTGRES_PASSWORD: password, POSTGRES_DB: 'application' };
  await on.apply(
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, labels },
      spec: { selector: labels, ports: [{ port: 5432 }] },
    },
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name, labels },
      spec: {
        selector: { matchLabels: labels },
        strategy: { type: 'Recreate' },
        template: {
          metadata: { labels },
          spec: {
            automountServiceAccountToken: false,
            securityContext: { fsGroup: 999 },
            containers: [
              {
                name,
                image,
                env: Object.entries(env).map(([key, value]) => ({ name: key, value })),
                securityContext: { ...restricted, runAsUser: 999 },
                readinessProbe: {
                  exec: { command: ['pg_isready', '--host=127.0.0.1', '--username=postgres'] },
                  periodSeconds: 1,
                },
                volumeMounts: [{ name: 'data', mountPath: '/var/lib/postgresql' }],
              },
            ],
            volumes: [{ name: 'data', emptyDir: {} }],
          },
        },
      },
    },
  );
  await on.wait(`deployment/${name}`, 'condition=Available');
  const service = await on.kubectl(['get', 'service', name, '--output=jsonpath={.spec.clusterIP}']);
  const urlAt = (host: string): string => `postgresql://postgres:${password}@${host}:5432/postgres`;
  const adminUrl = async (): Promise<string> => {
    const running = ['--selector', `app.kubernetes.io/name=${name}`, '--field-selector=status.phase=Running'];
    return urlAt(await on.kubectl(['get', 'pods', ...running, '--output=jsonpath={.items[0].status.podIP}']));
  };
  await query(await adminUrl(), 'SELECT 1');
  return { name, password, url: urlAt(service), adminUrl };
}
