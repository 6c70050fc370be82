/**
 * The images of the cluster's tests, made by a Docker Engine of programs of this machine and by our Dockerfiles; no registry is asked.
 * They are kept in the cache as archives, by what they were made of.
 */
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { cp, glob, lstat, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';

import Docker from 'dockerode';

import { cacheDirectory } from '../../scripts/lib/cache.ts';
import { ensureDockerCompose } from '../../scripts/lib/docker-compose.ts';
import { publish } from '../../scripts/lib/publish.ts';
import { runOrThrow } from '../../scripts/lib/run.ts';
import { importAbsent, importMachine, importNode, importPause, importPostgres, type Machine } from './images.ts';

const image = (name: string): string => `migration-target-test/${name}`;

/** As a pod names them. */
export const images = {
  pause: image('pause:1'),
  /** Of our Dockerfile. */
  controller: image('controller:1'),
  /** PostgreSQL 16 with its tools, Python with alembic, Node, a shell; started with nothing said it is a server of PostgreSQL. */
  postgres: image('postgres:16'),
  /** PostgreSQL 18 with its tools, and a shell; the same server otherwise. */
  postgres18: image('postgres:18'),
  /** The application of examples/docker-host, with all of its revisions. */
  application: image('application:2'),
  /** The one before: it doesn't know the newest revision. */
  applicationBefore: image('application:1'),
  /** The one before that: it knows only what leads to the older revision, and works there and nowhere else. */
  applicationOlder: image('application:0'),
} as const;

/** Of the application's migrations. */
export const revisions = { newest: '5e2a9c41d7b0', before: 'c83f0b6d19e4', older: '7b05e9d4f261' } as const;

const node = image('node:24');
/** What the controller's is built on: Node, and PostgreSQL's tools. */
const base = image('base:1');
/** In the place of PostgreSQL 15 and 17. */
const absent = image('postgres:absent');
const baseImage = 'examples/kubernetes/base-image';
const root = join(import.meta.dirname, '../..');
const application = 'examples/docker-host/ops-center';
/** What makes the images, beside what is in them. */
const makers = ['test/support/images.ts', 'test/support/cluster-images.ts', 'scripts/requirements/*'];
const ofController = ['Dockerfile', '.npmrc', 'LICENSE', 'package*.json', 'tsconfig.json', '{bin,scripts,src}/**'];

const DAY_MS = 24 * 3600_000;

export interface ClusterMachine extends Machine {
  /** Programs of PostgreSQL 18. */
  readonly binDir18: string;
}

/** Paths of archives as `docker save` makes them, with all of the images; `engine` is asked for where one has to be made. */
export async function imageArchives(
  machine: ClusterMachine,
  engine: () => Promise<string>,
): Promise<readonly string[]> {
  let prepared: Promise<string> | null = null;
  /** The engine, with the images that others are built on. */
  const builder = (): Promise<string> => (prepared ??= prepare(engine, machine));
  const { controller, ...others } = images;
  return [
    await cached('others', [...makers, `${application}/**`], async (file) => {
      const socketPath = await builder();
      await buildApplication(socketPath);
      await save(Object.values(others), socketPath, file);
    }),
    await cached('controller', [...makers, ...ofController, `${baseImage}/**`], async (file) => {
      const socketPath = await builder();
      await build(socketPath, base, join(root, baseImage), {
        NODE_IMAGE: node,
        POSTGRES_15_IMAGE: absent,
        POSTGRES_16_IMAGE: images.postgres,
        POSTGRES_17_IMAGE: absent,
        POSTGRES_18_IMAGE: images.postgres18,
      });
      await build(socketPath, controller, root, { BUILD_IMAGE: images.postgres, RUNTIME_IMAGE: base });
      await save([controller], socketPath, file);
    }),
  ];
}

/** Made again where a file that is matched has changed, or Node. Those that nobody made for a day are removed. */
async function cached(
  name: string,
  patterns: readonly string[],
  make: (file: string) => Promise<void>,
): Promise<string> {
  const hash = createHash('sha256').update(process.version);
  const files: string[] = [];
  for await (const entry of glob(patterns, { cwd: root, withFileTypes: true }))
    if (entry.isFile()) files.push(join(entry.parentPath, entry.name));
  for (const file of files.toSorted()) hash.update(`\0${file.slice(root.length)}\0`).update(await readFile(file));
  const prefix = `images-${name}-`;
  const current = `${prefix}${hash.digest('hex').slice(0, 16)}`;
  const dir = join(cacheDirectory(), current);
  const archive = join(dir, 'images.tar');
  if ((await lstat(archive).catch(() => null)) === null) {
    await publish(dir, (own) => make(join(own, 'images.tar')));
    for (const entry of await readdir(cacheDirectory())) {
      const path = join(cacheDirectory(), entry);
      const isOld = async (): Promise<boolean> => Date.now() - (await lstat(path)).mtimeMs > DAY_MS;
      if (entry.startsWith(prefix) && !entry.startsWith(current) && (await isOld()))
        await rm(path, { recursive: true, force: true });
    }
  }
  return archive;
}

async function prepare(engine: () => Promise<string>, machine: ClusterMachine): Promise<string> {
  const socketPath = await engine();
  const docker = new Docker({ socketPath });
  await Promise.all([
    importPause(docker, images.pause),
    importNode(docker, node),
    importMachine(docker, images.postgres, machine),
    importPostgres(docker, images.postgres18, { major: 18, binDir: machine.binDir18, venv: machine.venv }),
    importAbsent(docker, absent, [15, 17]),
  ]);
  return socketPath;
}

async function buildApplication(socketPath: string): Promise<void> {
  const args = { PYTHON_IMAGE: images.postgres };
  await build(socketPath, images.application, join(root, application), args);
  for (const { name, lacks, works } of [
    { name: images.applicationBefore, lacks: [revisions.newest], works: null },
    { name: images.applicationOlder, lacks: [revisions.newest, revisions.before], works: revisions.older },
  ]) {
    const dir = await mkdtemp(join(tmpdir(), 'migration-target-application-'));
    try {
      const isKnown = (path: string): boolean => !lacks.some((revision) => path.includes(`versions/${revision}_`));
      await cp(join(root, application), dir, { recursive: true, filter: isKnown });
      if (works !== null) {
        const code = join(dir, 'ops_center/database.py');
        const text = await readFile(code, 'utf8');
        await writeFile(code, text.replace(/^WORKS_AT = .*$/m, `WORKS_AT = frozenset({"${works}"})`));
      }
      await build(socketPath, name, dir, args);
    } finally {
      await rm(dir, { recursive: true, force: true });
    }
  }
}

/** Of a Dockerfile. */
async function build(
  socketPath: string,
  name: string,
  context: string,
  args: Readonly<Record<string, string>>,
): Promise<void> {
  const [program = '', ...compose] = await ensureDockerCompose();
  const dir = await mkdtemp(join(tmpdir(), 'migration-target-compose-'));
  try {
    const services = { built: { image: name, build: { context, args, network: 'host' } } };
    const file = join(dir, 'compose.json');
    await writeFile(file, JSON.stringify({ services }));
    const env = {
      ...process.env,
      DOCKER_HOST: `unix://${socketPath}`,
      // The engine builds by itself: it has neither BuildKit's plugin nor a registry.
      DOCKER_BUILDKIT: '0',
      COMPOSE_DOCKER_CLI_BUILD: '0',
    };
    await runOrThrow(program, [...compose, '--file', file, 'build'], { env });
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** Into one archive; what they share is in it once. */
async function save(names: readonly string[], socketPath: string, file: string): Promise<void> {
  const query = new URLSearchParams(names.map((name): [string, string] => ['names', name]));
  const asked = get({ socketPath, path: `/images/get?${query.toString()}` });
  const [answer] = (await once(asked, 'response')) as [IncomingMessage];
  if (answer.statusCode !== 200) throw new Error(`the engine gives no archive of its images: ${answer.statusCode}`);
  await pipeline(answer, createWriteStream(file));
}
