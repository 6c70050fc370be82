/**
 * Workloads in an API server that has no controllers. What kube-controller-manager and a kubelet would do is played here:
 * status is written, and a pod that is told to end stays until a test lets it. The real ones are in test/cluster.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import * as kubernetes from '@kubernetes/client-node';
import { createClient, mergePatch, type ApiClient } from '../../src/adapters/kubernetes/client.ts';
import { workloadsIn } from '../../src/adapters/kubernetes/workloads.ts';
import type { WorkloadReference, Workloads } from '../../src/rollback/ports.ts';
import { namespace, type ApiServer } from './apiserver.ts';

/** An object as the API server answers it, as far as tests look at it. */
export interface Stored {
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly generation: number;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly managedFields: readonly { readonly manager: string }[];
    readonly deletionTimestamp?: string;
  };
  readonly spec: {
    readonly replicas?: number;
    readonly suspend?: boolean;
    readonly template: { readonly metadata: { readonly annotations?: Readonly<Record<string, string>> } };
  };
  readonly status?: { readonly observedGeneration?: number; readonly replicas?: number };
}

const paths: Readonly<Record<string, string>> = {
  Deployment: '/apis/apps/v1/namespaces/NS/deployments',
  StatefulSet: '/apis/apps/v1/namespaces/NS/statefulsets',
  CronJob: '/apis/batch/v1/namespaces/NS/cronjobs',
  Job: '/apis/batch/v1/namespaces/NS/jobs',
  Pod: '/api/v1/namespaces/NS/pods',
};

export interface WorkloadScene extends AsyncDisposable {
  readonly ns: string;
  readonly server: ApiServer;
  readonly client: ApiClient;
  /** As the adapter of the target `unicorn`, or of another. */
  workloads(target?: string, options?: Parameters<typeof workloadsIn>[2]): Workloads;
  /** The manifest of a workload; `spec` is merged over its own, `pod` over that of its pods. */
  manifest(kind: WorkloadReference['kind'], name: string, spec?: object, pod?: object): object;
  /** Applied server-side by kubectl. */
  apply(document: object, ...args: readonly string[]): Promise<void>;
  create(kind: string, document: object): Promise<Stored>;
  get(kind: string, name: string): Promise<Stored>;
  patch(kind: string, name: string, body: object, query?: Readonly<Record<string, string>>): Promise<void>;
  writeStatus(kind: string, name: string, status: object): Promise<void>;
  /** One of a workload's pods, on a node, so that it stays terminating once it is deleted. */
  pod(name: string, of: Stored & { readonly kind?: string }, kind: 'ReplicaSet' | 'StatefulSet'): Promise<void>;
  /** As the kubelet does once its containers have ended. */
  endPod(name: string): Promise<void>;
  kubectl(...args: readonly string[]): Promise<string>;
  /** Calls as a service account that has no rights but these. */
  as(account: string, ...rules: readonly object[]): Promise<ApiClient>;
}

interface SceneOptions {
  /** Whether what a controller would write is written. */
  readonly plays?: boolean;
  /** A namespace that there is; left out: one of its own. */
  readonly ns?: string;
}

export async function workloadScene(
  server: ApiServer,
  { plays = true, ns: given }: SceneOptions = {},
): Promise<WorkloadScene> {
  const ns = given ?? (await namespace(server));
  const clients: ApiClient[] = [];
  const clientOf = (config: kubernetes.KubeConfig): ApiClient => {
    const client = createClient(kubernetes, {
      config,
      server: server.url,
      namespace: ns,
      ownNamespace: ns,
      inPod: false,
    });
    clients.push(client);
    return client;
  };
  const config = new kubernetes.KubeConfig();
  config.loadFromFile(server.kubeconfig);
  const client = clientOf(config);
  const pathOf = (kind: string): string => (paths[kind] ?? '').replace('NS', ns);

  async function kubectl(args: readonly string[], input?: string): Promise<string> {
    const { code, stdout, stderr } = await server.kubectl(['-n', ns, ...args], input === undefined ? {} : { input });
    if (code !== 0) throw new Error(`kubectl ${args.join(' ')}: ${stderr}`);
    return stdout;
  }
  const writeStatus = async (kind: string, name: string, status: object): Promise<void> =>
    void (await client.call({
      method: 'PATCH',
      path: `${pathOf(kind)}/${name}/status`,
      query: { fieldManager: 'kube-controller-manager' },
      contentType: mergePatch,
      body: { status },
    }));

  // Made by a controller elsewhere; without it no pod is admitted.
  await kubectl(['create', 'serviceaccount', 'default']);

  const stop = new AbortController();
  const played = plays ? playControllers(client, pathOf, writeStatus, stop.signal) : Promise.resolve();

  return {
    ns,
    server,
    client,
    workloads: (name = 'unicorn', options = {}) => workloadsIn(client, { namespace: ns, name }, options),
    manifest: (kind, name, spec = {}, pod = {}) => ({
      ...template(kind, name, spec, pod),
      metadata: { name, namespace: ns },
    }),
    apply: async (document, ...args) =>
      void (await kubectl(['apply', '--server-side', ...args, '-f', '-'], JSON.stringify(document))),
    create: async (kind, document) =>
      (await client.call({ method: 'POST', path: pathOf(kind), body: document })) as Stored,
    get: async (kind, name) => (await client.call({ method: 'GET', path: `${pathOf(kind)}/${name}` })) as Stored,
    patch: async (kind, name, body, query = {}) =>
      void (await client.call({
        method: 'PATCH',
        path: `${pathOf(kind)}/${name}`,
        query,
        contentType: mergePatch,
        body,
      })),
    writeStatus,
    pod: async (name, of, kind) => {
      const owner = kind === 'StatefulSet' ? of.metadata : { name: `${of.metadata.name}-1`, uid: 'a-replica-set' };
      await client.call({
        method: 'POST',
        path: pathOf('Pod'),
        body: {
          metadata: {
            name,
            labels: { app: of.metadata.name },
            ownerReferences: [{ apiVersion: 'apps/v1', kind, name: owner.name, uid: owner.uid, controller: true }],
          },
          spec: { nodeName: 'node1', containers: [{ name: 'app', image: 'app:1' }] },
        },
      });
      await writeStatus('Pod', name, { phase: 'Running' });
    },
    endPod: async (name) =>
      void (await client.call({
        method: 'DELETE',
        path: `${pathOf('Pod')}/${name}`,
        body: { gracePeriodSeconds: 0 },
      })),
    kubectl: (...args) => kubectl(args),
    async as(account, ...rules) {
      await kubectl(['create', 'serviceaccount', account]);
      const metadata = { name: account };
      const role = { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'Role', metadata, rules };
      await kubectl(['create', '-f', '-'], JSON.stringify(role));
      await kubectl(['create', 'rolebinding', account, `--role=${account}`, `--serviceaccount=${ns}:${account}`]);
      const theirs = new kubernetes.KubeConfig();
      const cluster = config.getCurrentCluster();
      if (cluster === null) throw new Error('the kubeconfig has no cluster');
      theirs.loadFromClusterAndUser(cluster, {
        name: account,
        token: (await kubectl(['create', 'token', account])).trim(),
      });
      return clientOf(theirs);
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await played;
      await Promise.all(clients.map((one) => one[Symbol.asyncDispose]()));
    },
  };
}

function template(kind: WorkloadReference['kind'], name: string, spec: object, podSpec: object): object {
  const labels = { app: name };
  const pod = { containers: [{ name: 'app', image: 'app:1' }], ...podSpec };
  const pods = { metadata: { labels }, spec: pod };
  const scaled = { replicas: 3, selector: { matchLabels: labels }, template: pods };
  if (kind === 'CronJob') {
    const jobTemplate = { spec: { template: { spec: { ...pod, restartPolicy: 'Never' } } } };
    return { apiVersion: 'batch/v1', kind, spec: { schedule: '0 3 * * *', jobTemplate, ...spec } };
  }
  const service = kind === 'StatefulSet' ? { serviceName: name } : {};
  return { apiVersion: 'apps/v1', kind, spec: { ...scaled, ...service, ...spec } };
}

/** Says in the status of each Deployment and StatefulSet that it is as its spec wants it. */
async function playControllers(
  client: ApiClient,
  pathOf: (kind: string) => string,
  writeStatus: (kind: string, name: string, status: object) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    for (const kind of ['Deployment', 'StatefulSet']) {
      const { items } = (await client.insist({ method: 'GET', path: pathOf(kind) })) as { readonly items: Stored[] };
      for (const { metadata, spec, status } of items) {
        const { replicas = 1 } = spec;
        if (status?.observedGeneration === metadata.generation && (status.replicas ?? 0) === replicas) continue;
        await writeStatus(kind, metadata.name, {
          observedGeneration: metadata.generation,
          replicas,
          updatedReplicas: replicas,
          readyReplicas: replicas,
          availableReplicas: replicas,
        }).catch(unlessGone);
      }
    }
    await sleep(50);
  }
}

function unlessGone(thrown: unknown): void {
  if (!String(thrown).includes('not found')) throw thrown;
}
