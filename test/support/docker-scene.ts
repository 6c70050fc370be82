/** The procedure wired to real containers: an application with a history in its /app, and PostgreSQL in another one. */
import { pythonPlace, serverPlace } from '../../src/main/places.ts';
import { createServer, type AddressInfo } from 'node:net';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import type Docker from 'dockerode';
import { stringify } from 'yaml';

import { createAlembicRunner } from '../../src/adapters/alembic/index.ts';
import { createDirectoryHome } from '../../src/adapters/directory/index.ts';
import { createDockerHost } from '../../src/adapters/docker/index.ts';
import { probeHttp } from '../../src/adapters/http/probe.ts';
import { createDatabases } from '../../src/adapters/postgres/index.ts';
import { createBackupStores } from '../../src/adapters/storage/index.ts';
import type { MigrationTarget } from '../../src/api/target.ts';
import type { OperationEvent, Ports } from '../../src/rollback/ports.ts';
import { reconcile, type Reconciled } from '../../src/rollback/reconcile.ts';
import { type HistorySpec, writeHistory } from './alembic.ts';
import type { ApplicationContainerOptions, ContainedDatabase, DatabaseContainer, DockerScene } from './docker.ts';
import { contentChecksum, query } from './postgres.ts';

export interface ContainedScene extends AsyncDisposable {
  readonly dir: string;
  readonly backups: string;
  readonly application: Docker.Container;
  /** The application's container's name. */
  readonly name: string;
  readonly database: ContainedDatabase;
  readonly ports: Ports;
  readonly observed: readonly OperationEvent[];
  /** Merged over what was declared before, field by field of the spec. */
  declare(spec: Readonly<Record<string, unknown>>): Promise<void>;
  reconcile(): Promise<Reconciled>;
  goTo(revision: string, spec?: Readonly<Record<string, unknown>>): Promise<Reconciled>;
  target(): Promise<MigrationTarget>;
  version(): Promise<string>;
  query(sql: string): Promise<readonly Record<string, unknown>[]>;
  checksum(): Promise<string>;
}

export interface ContainedOptions {
  readonly history: HistorySpec;
  readonly server: Pick<DatabaseContainer, 'name' | 'createDatabase'>;
  readonly application?: Partial<ApplicationContainerOptions>;
  readonly spec?: Readonly<Record<string, unknown>>;
  /** The declared URL; left out: as on the network. */
  readonly url?: (database: ContainedDatabase) => string;
  /** Directories of this machine's PostgreSQL tools; left out: it has none. */
  readonly toolDirectories?: readonly string[];
  /** Of the engine; left out: the scene's. */
  readonly engine?: string;
}

export async function containedScene(docker: DockerScene, options: ContainedOptions): Promise<ContainedScene> {
  const dir = await mkdtemp(join(tmpdir(), 'mt-docker-scene-'));
  const backups = join(dir, 'backups');
  const database = await options.server.createDatabase();
  await writeHistory(join(dir, 'app'), options.history);
  const name = options.application?.name ?? docker.name(`ops-center-${database.name.slice(-8)}`);
  const application = await docker.application({
    name,
    dir: join(dir, 'app'),
    env: { DATABASE_URL: database.url },
    ...options.application,
  });

  await mkdir(join(dir, 'secrets', 'unicorn'), { recursive: true });
  await writeFile(join(dir, 'secrets', 'unicorn', 'url'), options.url?.(database) ?? database.url, { mode: 0o600 });
  await mkdir(join(dir, 'targets'));
  const home = createDirectoryHome(dir);
  const host = createDockerHost(options.engine ?? `unix://${docker.engine.socketPath}`);
  const places = { docker: () => Promise.resolve(host), jobs: () => Promise.resolve(null) };
  const observed: OperationEvent[] = [];
  const ports: Ports = {
    // No tools of this machine that a test has not named: what is found is the container's.
    databases: createDatabases({
      toolDirectories: options.toolDirectories ?? [],
      standardDirectories: false,
      placeOf: (place) => serverPlace(places, place),
    }),
    alembic: createAlembicRunner({ placeOf: (settings, image) => pythonPlace(places, settings, image) }),
    backups: createBackupStores(),
    home,
    workloads: () => host.workloads,
    probe: probeHttp,
    clock: { now: () => new Date() },
    observe: (_key, _id, event) => void observed.push(event),
  };
  let spec: Readonly<Record<string, unknown>> = {
    revision: 'base',
    database: { urlFrom: { secretKeyRef: { name: 'unicorn', key: 'url' } } },
    alembic: { workingDir: '/app' },
    runtime: { docker: { container: name, databaseContainer: options.server.name } },
    backup: { storage: { directory: { path: backups } } },
    policy: { rehearsal: 'Never', dataLoss: 'Allow' },
    ...options.spec,
  };
  const scene: ContainedScene = {
    dir,
    backups,
    application,
    name,
    database,
    ports,
    observed,
    declare: async (changes) => {
      spec = { ...spec, ...changes };
      const document = {
        apiVersion: 'migrationtarget.dev/v1alpha1',
        kind: 'MigrationTarget',
        metadata: { name: 'unicorn' },
        spec,
      };
      await writeFile(join(dir, 'targets', 'unicorn.yaml'), stringify(document));
    },
    reconcile: async () => reconcile(await scene.target(), ports, { kind: 'reconcile' }, new AbortController().signal),
    goTo: async (revision, changes = {}) => {
      await scene.declare({ revision, ...changes });
      return scene.reconcile();
    },
    target: async () => {
      const declaration = await home.get({ namespace: 'default', name: 'unicorn' });
      if (declaration?.kind !== 'target') throw new Error(`no target: ${JSON.stringify(declaration)}`);
      return declaration.target;
    },
    version: async () => {
      const rows = await scene.query('SELECT version_num FROM alembic_version ORDER BY 1');
      return rows.map(({ version_num }) => String(version_num)).join(',');
    },
    query: async (sql) => query(await database.adminUrl(), sql),
    checksum: async () => contentChecksum(await database.adminUrl()),
    [Symbol.asyncDispose]: async () => {
      // It may have been removed, or renamed, by its test; the rest goes with the network.
      await application.remove({ force: true, v: true }).catch(() => undefined);
      await rm(dir, { recursive: true, force: true });
    },
  };
  await scene.declare({});
  return scene;
}

export async function freePort(): Promise<number> {
  const listener = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => listener.once('listening', resolve));
  const { port } = listener.address() as AddressInfo;
  await new Promise((resolve) => listener.close(resolve));
  return port;
}

/**
 * A health check is answered once the engine has what the application wrote of it since its start: it copies lines when it
 * comes to it, and who asks for the log at once may be too early.
 */
export function answerOnceLogged({ ports, application }: ContainedScene, text: string): void {
  const { probe } = ports;
  const isLogged = async (): Promise<boolean> => {
    const since = Math.floor(Date.parse((await application.inspect()).State.StartedAt) / 1000);
    return (await application.logs({ stdout: true, stderr: true, since })).includes(text);
  };
  Object.assign(ports, {
    probe: async (...asked: Parameters<typeof probe>) => {
      const answer = await probe(...asked);
      while (answer.state === 'healthy' && !(await isLogged()));
      return answer;
    },
  });
}

/** Somebody more listens to what is told. */
export function listen(scene: ContainedScene, heard: (event: OperationEvent) => void): void {
  const { observe } = scene.ports;
  Object.assign(scene.ports, {
    observe: (...told: Parameters<typeof observe>) => {
      observe(...told);
      heard(told[2]);
    },
  });
}

/** Whether the application ran at the beginning of each migration on the live database. */
export function whileMigrating(scene: ContainedScene): () => Promise<readonly boolean[]> {
  const looks: Promise<boolean>[] = [];
  listen(scene, (event) => {
    if (event.kind === 'migration' && event.copy !== true && event.event.kind === 'started')
      looks.push(stateOf(scene.application).then(({ Running }) => Running));
  });
  return () => Promise.all(looks);
}

export const stateOf = async (container: Docker.Container): Promise<Docker.ContainerInspectInfo['State']> =>
  (await container.inspect()).State;
