/**
 * The servers of a test run. They live in jest's own process, so that each is started once, when a test first asks for it, is shared by
 * all workers, and ends with the run. Workers ask over a loopback address that only they are told (`MIGRATION_TARGET_TESTBED`).
 */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { cacheDirectory } from '../../scripts/lib/cache.ts';
import { startApiServer } from '../../scripts/lib/api-server.ts';
import type { ApiServer } from '../../scripts/lib/api-server.ts';
import { startCluster } from '../../scripts/lib/cluster/cluster.ts';
import type { Cluster } from '../../scripts/lib/cluster/cluster.ts';
import { ensureNodePackages } from '../../scripts/lib/cluster/packages.ts';
import { ensureDockerCompose } from '../../scripts/lib/docker-compose.ts';
import { ensureDockerEngine, reachableEngine, startDockerEngine } from '../../scripts/lib/docker-engine.ts';
import { postgresBinaries, startPostgres } from '../../scripts/lib/embedded-postgres.ts';
import type { Major, PostgresServer } from '../../scripts/lib/embedded-postgres.ts';
import { ensurePodman, startPodman } from '../../scripts/lib/podman.ts';
import { ensureKubeBinaries, ensureNodeBinaries } from '../../scripts/lib/kube-binaries.ts';
import { ensureS3Server, startS3Server } from '../../scripts/lib/s3-server.ts';
import type { S3Server } from '../../scripts/lib/s3-server.ts';
import { ensureVenv } from '../../scripts/lib/python.ts';
import type { Venv } from '../../scripts/lib/python.ts';
import { imageArchives, images } from './cluster-images.ts';
import { majors } from './majors.ts';
import { buildProgram } from './program.ts';

/** What a test may ask for, and what it gets. `venv`: by the name of a file in scripts/requirements. */
export interface TestBed {
  postgres(major: Major): Promise<PostgresServer>;
  venv(name: string): Promise<Venv>;
  apiServer(name: 'shared'): Promise<ApiServer>;
  docker(name: 'shared'): Promise<Docker>;
  podman(name: 'shared'): Promise<Docker>;
  cluster(name: 'shared'): Promise<Cluster>;
  s3(name: 'shared'): Promise<S3Server>;
}

/** The engine of the run, or why there is none. */
export type Docker = { readonly socketPath: string } | { readonly missing: string };

const progress = (message: string): void => void process.stderr.write(`test bed: ${message}\n`);

/** Makes one of each, however often it is asked for; what failed is tried again. */
class Lazily<Key, Value> {
  readonly #make: (key: Key) => Promise<Value>;
  readonly #made = new Map<Key, Promise<Value>>();

  constructor(make: (key: Key) => Promise<Value>) {
    this.#make = make;
  }

  get(key: Key): Promise<Value> {
    const known = this.#made.get(key);
    if (known) return known;
    const made = this.#make(key);
    this.#made.set(key, made);
    made.catch(() => this.#made.delete(key));
    return made;
  }

  /** Those that were made, once none is in the making. */
  async all(): Promise<Value[]> {
    const settled = await Promise.allSettled(this.#made.values());
    return settled.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  }
}

const venvs = new Lazily((name: string) =>
  ensureVenv({
    name,
    requirements: join(import.meta.dirname, '../../scripts/requirements', `${name}.txt`),
    onProgress: progress,
  }),
);
const postgresServers = new Lazily(async (major: Major) => {
  const binDir = await postgresBinaries(major, await venvs.get('test'), progress);
  const settings = {
    fsync: 'off',
    full_page_writes: 'off',
    wal_level: 'logical',
    max_prepared_transactions: 5,
    max_connections: 200,
  };
  return startPostgres({ major, binDir, settings });
});
const apiServers = new Lazily(async (_name: 'shared') => startApiServer(await ensureKubeBinaries(progress)));

const s3Servers = new Lazily(async (_name: 'shared') => startS3Server(await ensureS3Server(progress)));

const engines = new Lazily(async (_name: 'shared') => startDockerEngine(await ensureDockerEngine()));

const podmans = new Lazily(async (_name: 'shared') => startPodman(await ensurePodman()));

const clusters = new Lazily(async (_name: 'shared') => {
  const binaries = { ...(await ensureKubeBinaries(progress)), ...(await ensureNodeBinaries(progress)) };
  const plugins = await ensureNodePackages(progress);
  const venv = await venvs.get('test');
  const binDir = await postgresBinaries(16, venv, progress);
  const machine = { venv, binDir, binDir18: await postgresBinaries(18, venv, progress) };
  const archives = await imageArchives(machine, async () => {
    progress('building the images');
    return (await engines.get('shared')).socketPath;
  });
  progress('starting a Kubernetes cluster');
  return startCluster({ binaries, plugins, archives, pauseImage: images.pause });
});

/** One of our own where that can be, else the machine's, else none. */
async function findDocker(): Promise<Docker> {
  try {
    const { socketPath } = await engines.get('shared');
    return { socketPath };
  } catch (error) {
    const socketPath = await reachableEngine();
    if (socketPath !== null) return { socketPath };
    return { missing: error instanceof Error ? error.message : String(error) };
  }
}

/** One of our own, or none: the machine's may have containers that are somebody's. */
async function findPodman(): Promise<Docker> {
  const programs = await ensurePodman().catch((error: unknown) => String(error));
  if (typeof programs === 'string') return { missing: programs };
  const { socketPath } = await podmans.get('shared');
  return { socketPath };
}

const bed: TestBed = {
  postgres: (major) => postgresServers.get(major),
  venv: (name) => venvs.get(name),
  apiServer: (name) => apiServers.get(name),
  docker: () => findDocker(),
  podman: () => findPodman(),
  cluster: (name) => clusters.get(name),
  s3: (name) => s3Servers.get(name),
};

let server: Server | null = null;
/** Of this run: the program, built, and the graphs of migrations that are remembered. */
let folder: string | null = null;

/** Opens the test bed to jest's workers. */
export async function setUp(): Promise<void> {
  if (server) return;
  // Now, as what takes minutes on a new machine would exceed a test's time.
  for (const name of ['test', 'buildbot-4.2.1', 'buildbot-4.3.0']) await venvs.get(name);
  for (const major of majors) await postgresBinaries(major, await venvs.get('test'), progress);
  await ensureS3Server(progress);
  const secret = randomUUID();
  server = createServer((request, response) => {
    const [, key, kind, name = ''] = (request.url ?? '').split('/');
    // One that is kept open might be closed here at the very moment at which a test asks by it again.
    const answer = (status: number, body: unknown): void =>
      void response.writeHead(status, { connection: 'close' }).end(JSON.stringify(body));
    if (key !== secret) return answer(403, 'forbidden');
    give(kind, decodeURIComponent(name)).then(
      (value) => answer(200, value),
      (error: unknown) => answer(500, error instanceof Error ? error.message : String(error)),
    );
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('a TCP socket has no port');
  folder = await mkdtemp(join(tmpdir(), 'migration-target-tests-'));
  await buildProgram(join(folder, 'package'));
  process.env['MIGRATION_TARGET_GRAPHS'] = join(folder, 'graphs');
  // Processes in Node that tests start would strip and compile the whole program each time.
  process.env['NODE_COMPILE_CACHE'] ??= join(cacheDirectory(), 'node-compile-cache');
  process.env['MIGRATION_TARGET_TESTBED'] = `http://127.0.0.1:${address.port}/${secret}`;
}

/** Without an engine the tests that need one are skipped, and say so; in CI none is. */
async function prepareDocker(): Promise<void> {
  try {
    await ensureDockerEngine(progress);
    await ensureDockerCompose(progress);
  } catch (error) {
    if ((await reachableEngine()) !== null) return;
    if (process.env['CI']) throw error;
    progress(`NO DOCKER ENGINE, so the tests of the Docker host are skipped: ${String(error)}`);
  }
}

async function preparePodman(): Promise<void> {
  try {
    await ensurePodman(progress);
  } catch (error) {
    if (process.env['CI']) throw error;
    progress(`NO PODMAN, so its tests are skipped: ${String(error)}`);
  }
}

/** As `setUp`, with the programs of the Kubernetes API, whose first build takes minutes. */
export async function setUpKube(): Promise<void> {
  await ensureKubeBinaries(progress);
  await setUp();
}

/** As `setUp`, with engines for containers. */
export async function setUpDocker(): Promise<void> {
  await prepareDocker();
  await preparePodman();
  await setUp();
}

/** As `setUp`, with a cluster, which takes longer to start than a test may take. */
export async function setUpCluster(): Promise<void> {
  await setUp();
  try {
    await clusters.get('shared');
  } catch (error) {
    // Nobody is told that a cluster works because none was there.
    await tearDown();
    throw error;
  }
}

/** Stops every server that was started. */
export async function tearDown(): Promise<void> {
  server?.closeAllConnections();
  server?.close();
  server = null;
  if (folder !== null) await rm(folder, { recursive: true, force: true });
  folder = null;
  const servers: readonly { stop(): Promise<void> }[] = [
    ...(await postgresServers.all()),
    ...(await apiServers.all()),
    ...(await engines.all()),
    ...(await podmans.all()),
    ...(await clusters.all()),
    ...(await s3Servers.all()),
  ];
  await Promise.all(servers.map((each) => each.stop()));
}

function give(kind: string | undefined, name: string): Promise<unknown> {
  switch (kind) {
    case 'postgres':
      return bed.postgres(Number(name) as Major);
    case 'venv':
      return bed.venv(name);
    case 'apiServer':
      return bed.apiServer('shared');
    case 'docker':
      return bed.docker('shared');
    case 'podman':
      return bed.podman('shared');
    case 'cluster':
      return bed.cluster('shared');
    case 's3':
      return bed.s3('shared');
    default:
      throw new Error(`the test bed has no ${kind}`);
  }
}

/** What of an answer survives being sent: its data, not its methods. */
type Data<T> = { readonly [Name in keyof T as T[Name] extends (...args: never[]) => unknown ? never : Name]: T[Name] };

/** Asks the test bed of this run, from a test. */
export async function fromTestBed<Kind extends keyof TestBed>(
  kind: Kind,
  name: Parameters<TestBed[Kind]>[0],
): Promise<Data<Awaited<ReturnType<TestBed[Kind]>>>> {
  const address = process.env['MIGRATION_TARGET_TESTBED'];
  if (!address) throw new Error('no test bed: only the projects integration, faults, e2e and cluster have one');
  const response = await fetch(`${address}/${kind}/${encodeURIComponent(name)}`).catch((cause: unknown) => {
    const { message, cause: why } = cause as Error;
    throw new Error(`asking the test bed for ${kind} ${name}: ${message} (${String(why)})`, { cause });
  });
  const body: unknown = await response.json();
  if (!response.ok) throw new Error(`test bed: ${String(body)}`);
  return body as Data<Awaited<ReturnType<TestBed[Kind]>>>;
}
