/** A database in a pod, the application's Deployment, and the procedure in this process, with PostgreSQL's tools beside it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import type { Outcome } from '../../src/api/conditions.ts';
import type { TargetStatus } from '../../src/api/target.ts';
import { createKubernetesHome } from '../../src/adapters/kubernetes/home.ts';
import { createDatabases } from '../../src/adapters/postgres/index.ts';
import { lazyAdapters } from '../../src/main/adapters.ts';
import type { OperationEvent, Ports } from '../../src/rollback/ports.ts';
import { reconcile } from '../../src/rollback/reconcile.ts';
import { cluster, clusterDatabase, clusterNamespace, images } from './cluster.ts';
import { query, testServer } from './postgres.ts';

export interface JobScene extends AsyncDisposable {
  readonly ns: Awaited<ReturnType<typeof clusterNamespace>>;
  readonly ports: Ports;
  /** PostgreSQL's tools. */
  readonly binDir: string;
  readonly observed: OperationEvent[];
  /** The application's database, as its owner, from a pod and from here alike. */
  readonly url: string;
  /** The Deployment's container is of this image from now on. It has no pods. */
  deploy(image: string): Promise<void>;
  /** Declares a revision, with changes of the spec that stay. */
  declare(revision: string, changes?: Readonly<Record<string, unknown>>): Promise<void>;
  /** The same, and lets the procedure run once. */
  goTo(revision: string, changes?: Readonly<Record<string, unknown>>): Promise<Visited>;
  /** Lets the procedure run once more, with what is declared already. */
  again(): Promise<Visited>;
  version(): Promise<string>;
  jobs(): Promise<readonly string[]>;
}

export interface Visited {
  readonly outcome: Outcome;
  readonly status: TargetStatus;
}

const root = join(import.meta.dirname, '../..');

/** `databaseOf`: whose database it has, where it is not to have one of its own. */
export async function jobScene(databaseOf?: JobScene): Promise<JobScene> {
  const on = await cluster();
  const ns = await clusterNamespace(on);
  await ns.kubectl(['apply', '--server-side', '--force-conflicts', '--filename', join(root, 'crds')]);
  await ns.kubectl(['wait', '--for=condition=Established', '--filename', join(root, 'crds')]);
  const url = databaseOf?.url ?? (await (await clusterDatabase(ns)).adminUrl()).replace(/\/postgres$/, '/application');
  await ns.kubectl(['create', 'secret', 'generic', 'unicorn-db', `--from-literal=url=${url}`]);
  const dir = await mkdtemp(join(tmpdir(), 'mt-jobs-'));
  const { binDir } = await testServer(16);
  const home = await createKubernetesHome({
    kubeconfig: on.kubeconfig,
    namespace: ns.name,
    allow: [],
    env: { ...process.env, MIGRATION_TARGET_IMAGE: images.controller },
  });
  const observed: OperationEvent[] = [];
  const adapters = lazyAdapters(() => home);
  const ports: Ports = {
    ...adapters,
    databases: createDatabases({ toolDirectories: [binDir] }),
    home,
    observe: (_key, _id, event) => void observed.push(event),
  };
  const key = { namespace: ns.name, name: 'unicorn' };
  let spec: Readonly<Record<string, unknown>> = {
    database: { urlFrom: { secretKeyRef: { name: 'unicorn-db', key: 'url' } } },
    alembic: { workingDir: '/app', databaseUrl: { env: 'DATABASE_URL', driver: 'postgresql+psycopg' } },
    runtime: { kubernetes: { deployment: { name: 'ops-center' } } },
    backup: { storage: { directory: { path: dir } } },
    policy: { rehearsal: 'Never', dataLoss: 'Allow' },
  };
  const declare: JobScene['declare'] = async (revision, changes = {}) => {
    // null: no longer declared.
    spec = Object.fromEntries(Object.entries({ ...spec, ...changes }).filter(([, value]) => value !== null));
    const target = { apiVersion: 'migrationtarget.dev/v1alpha1', kind: 'MigrationTarget' };
    const declared = { ...target, metadata: { name: 'unicorn' }, spec: { revision, ...spec } };
    // The other way a copy of it would have to go into an annotation, where a large one does not fit.
    await ns.kubectl(['apply', '--server-side', '--force-conflicts', '--filename=-'], JSON.stringify(declared));
  };
  const again: JobScene['again'] = async () => {
    const declaration = await home.get(key);
    if (declaration?.kind !== 'target') throw new Error(`no target: ${JSON.stringify(declaration)}`);
    return reconcile(declaration.target, ports, { kind: 'reconcile' }, new AbortController().signal);
  };
  return {
    ns,
    ports,
    binDir,
    observed,
    url,
    async deploy(image) {
      const labels = { app: 'ops-center' };
      await ns.apply({
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name: 'ops-center' },
        spec: {
          replicas: 0,
          selector: { matchLabels: labels },
          template: { metadata: { labels }, spec: { containers: [{ name: 'app', image }] } },
        },
      });
    },
    declare,
    async goTo(revision, changes = {}) {
      await declare(revision, changes);
      return again();
    },
    again,
    version: async () => {
      const [row] = await query<{ v: string }>(url, 'SELECT version_num AS v FROM alembic_version');
      return row?.v ?? 'none';
    },
    jobs: async () => (await ns.kubectl(['get', 'jobs', '--output=name'])).split('\n').filter((name) => name !== ''),
    async [Symbol.asyncDispose]() {
      await ns.kubectl(['delete', 'mtgt', '--all', '--wait=false']);
      await adapters[Symbol.asyncDispose]();
      await home[Symbol.asyncDispose]();
      await rm(dir, { recursive: true, force: true });
      await ns[Symbol.asyncDispose]();
    },
  };
}
