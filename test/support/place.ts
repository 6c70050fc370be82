/** What a user of a cluster has: a namespace with a Secret, a database with a real alembic history, kubectl, the program. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from '@jest/globals';
import pg from 'pg';
import type { MigrationTarget } from '../../src/api/target.ts';
import { targetDocument, writeHistory, type AlembicProject, type HistorySpec } from './alembic.ts';
import { apiServer, namespace, type ApiServer } from './apiserver.ts';
import { migrationTarget, startOperator, type Operator, type OperatorOptions, type Pod } from './operator.ts';
import { createDatabase, query, testServer, type TestDatabase } from './postgres.ts';

/** Waits until nobody holds the advisory lock 42: in the middle of a migration for as long as a test wants. */
const gate = `op.execute("DO $$ BEGIN WHILE NOT pg_try_advisory_xact_lock(42) LOOP PERFORM pg_sleep(0.02); END LOOP; END $$")`;

const users = `op.create_table('users', sa.Column('id', sa.Integer, primary_key=True), sa.Column('name', sa.Text))
op.execute("INSERT INTO users SELECT g, 'user ' || g FROM generate_series(1, 100) g")`;

export const unicorns: HistorySpec = {
  revisions: [
    { id: 'a1', up: users, downgrade: `op.drop_table('users')` },
    {
      id: 'a2',
      up: `op.add_column('users', sa.Column('email', sa.Text))\n${gate}`,
      downgrade: `${gate}\nop.drop_column('users', 'email')`,
    },
    {
      id: 'a3',
      up: `op.execute("DELETE FROM users WHERE id > 90")`,
      downgrade: `raise NotImplementedError("deleted users are gone")`,
    },
  ],
};

let server: ApiServer;
let binDir: string;
const cleanups: (() => Promise<unknown>)[] = [];

/**
 * Starts what `place` needs, to be called once in a test file; what was made is cleared away after its last test. `of`: the
 * cluster that it is in, where it is not to be the API server alone.
 */
export function useCluster(of: () => Promise<ApiServer> = apiServer): void {
  beforeAll(async () => {
    [server, { binDir }] = await Promise.all([of(), testServer(16)]);
    // Another file's tests, which share the server, may be doing the same; wait fails where one is missing.
    await server.kubectl(['create', '-f', 'crds/']);
    await kubectl(['wait', '--for=condition=Established', '--timeout=60s', '-f', 'crds/']);
  });
  afterAll(async () => {
    for (const cleanup of cleanups.toReversed()) await cleanup();
  });
}

/** To be called after the last test, the newest first. */
export const afterwards = (cleanup: () => Promise<unknown>): void => void cleanups.push(cleanup);

export async function kubectl(args: readonly string[], input?: string): Promise<string> {
  const { code, stdout, stderr } = await server.kubectl(args, input === undefined ? {} : { input });
  if (code !== 0) throw new Error(`kubectl ${args.join(' ')}: ${stderr}`);
  return stdout;
}

/** A namespace with a Secret, a database and a history; nothing is declared in it yet. */
export interface Place {
  readonly ns: string;
  readonly server: ApiServer;
  readonly options: OperatorOptions;
  readonly database: TestDatabase;
  readonly project: AlembicProject;
  readonly backups: string;
  /** A folder of the test's own, for whatever it needs. */
  readonly dir: string;
  kubectl(args: readonly string[], input?: string): Promise<string>;
  /** Applies a MigrationTarget with kubectl. */
  apply(name: string, revision: string, spec?: object): Promise<void>;
  document(name: string, revision: string, spec?: object): Promise<Record<string, unknown>>;
  patch(name: string, spec: object): Promise<void>;
  /** kubectl wait; the API server's own word. */
  wait(name: string, what: string): Promise<void>;
  target(name: string): Promise<MigrationTarget>;
  command(...args: readonly string[]): ReturnType<typeof migrationTarget>;
  version(): Promise<string>;
}

export async function place(history: HistorySpec = unicorns): Promise<Place> {
  const ns = await namespace(server);
  const dir = await mkdtemp(join(tmpdir(), 'mt-operator-'));
  const database = await createDatabase(16);
  cleanups.push(async () => {
    await database.drop();
    await rm(dir, { recursive: true, force: true });
  });
  const project = await writeHistory(join(dir, 'app'), history);
  const backups = join(dir, 'backups');
  const options = { kubeconfig: server.kubeconfig, namespace: ns, binDir };
  const here = (args: readonly string[], input?: string): Promise<string> => kubectl(['-n', ns, ...args], input);
  await here(['create', 'secret', 'generic', 'unicorn', `--from-literal=url=${database.url}`]);
  const document: Place['document'] = (name, revision, spec = {}) =>
    targetDocument({
      name,
      database,
      project,
      revision,
      backups,
      spec: {
        database: { urlFrom: { secretKeyRef: { name: 'unicorn' } } },
        policy: { dataLoss: 'Allow', rehearsal: 'Never' },
        ...spec,
      },
    });
  const target = async (name: string): Promise<MigrationTarget> =>
    JSON.parse(await here(['get', 'mtgt', name, '-o', 'json'])) as MigrationTarget;
  return {
    ns,
    server,
    dir,
    options,
    database,
    project,
    backups,
    kubectl: here,
    document,
    apply: async (name, revision, spec) =>
      void (await here(['apply', '-f', '-'], JSON.stringify(await document(name, revision, spec)))),
    patch: async (name, spec) =>
      void (await here(['patch', 'mtgt', name, '--type=merge', '-p', JSON.stringify({ spec })])),
    async wait(name, what) {
      const { code, stderr } = await server.kubectl([
        '-n',
        ns,
        'wait',
        `--for=${what}`,
        '--timeout=60s',
        `mtgt/${name}`,
      ]);
      if (code !== 0) throw new Error(`${stderr}\n${JSON.stringify((await target(name)).status, null, 2)}`);
    },
    target,
    command: (...args) => migrationTarget(options, ...args),
    version: async () => {
      const rows = await query<{ version_num: string }>(database.adminUrl, 'SELECT version_num FROM alembic_version');
      return rows.map(({ version_num }) => version_num).join();
    },
  };
}

export async function operatorFor(somewhere: Place, options: Partial<OperatorOptions> = {}): Promise<Operator> {
  const operator = await startOperator({ ...somewhere.options, ...options });
  cleanups.push(async () => operator[Symbol.asyncDispose]());
  return operator;
}

/** A pod of that namespace, with a service account that may do everything there. */
export async function podOf(somewhere: Place, env: Readonly<Record<string, string>> = {}): Promise<Pod> {
  const { ns } = somewhere;
  await somewhere.kubectl(['create', 'serviceaccount', 'controller']);
  const bind = ['create', 'rolebinding', 'controller', '--clusterrole=cluster-admin'];
  await somewhere.kubectl([...bind, `--serviceaccount=${ns}:controller`]);
  return podAs(somewhere, 'controller', env);
}

/** A pod of that namespace, with a service account that is there already. */
export async function podAs(
  somewhere: Place,
  serviceAccount: string,
  env: Readonly<Record<string, string>> = {},
): Promise<Pod> {
  const ca = [
    'config',
    'view',
    '--raw',
    '--flatten',
    '-o',
    "jsonpath={.clusters[0].cluster['certificate-authority-data']}",
  ];
  const { ns, dir } = somewhere;
  const token = await somewhere.kubectl(['create', 'token', serviceAccount]);
  const root = join(dir, `pod-${serviceAccount}`);
  const account = join(root, 'var/run/secrets/kubernetes.io/serviceaccount');
  await mkdir(account, { recursive: true });
  await writeFile(join(account, 'token'), token.trim(), { mode: 0o600 });
  await writeFile(join(account, 'ca.crt'), Buffer.from(await kubectl(ca), 'base64'));
  await writeFile(join(account, 'namespace'), ns);
  const { hostname, port } = new URL(server.url);
  return { root, env: { KUBERNETES_SERVICE_HOST: hostname, KUBERNETES_SERVICE_PORT: port, ...env } };
}

export async function eventually(
  what: string,
  holds: () => Promise<boolean>,
  { everyMs = 50, withinMs = 60_000 } = {},
): Promise<void> {
  const until = Date.now() + withinMs;
  while (!(await holds())) {
    if (Date.now() > until) throw new Error(`never: ${what}`);
    await new Promise((resolve) => void setTimeout(resolve, everyMs));
  }
}

/** Holds the gate of a migration until it is opened. */
export async function closeGate({
  database,
}: Place): Promise<{ readonly reached: () => Promise<void>; readonly open: () => Promise<void> }> {
  const client = new pg.Client({ connectionString: database.adminUrl });
  await client.connect();
  await client.query('SELECT pg_advisory_lock(42)');
  const open = async (): Promise<void> => client.end().catch(() => undefined);
  cleanups.push(open);
  return {
    open,
    reached: () =>
      eventually('a migration stands at the gate', async () => {
        const { rows } = await client.query(
          `SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%pg_try_advisory_xact_lock(42)%'`,
        );
        return rows.length > 0;
      }),
  };
}

export const condition = (target: MigrationTarget, type: string) =>
  target.status?.conditions.find((one) => one.type === type);
