/** Containers for tests, of an image without contents: programs and libraries are the machine's own, mounted read-only. */
import { randomBytes } from 'node:crypto';
import { chmod, chown, cp, lstat, mkdir, mkdtemp, readlink, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { spawn } from 'node:child_process';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { afterAll, beforeAll } from '@jest/globals';
import Docker from 'dockerode';
import pg from 'pg';

import { cacheDirectory } from '../../scripts/lib/cache.ts';
import { ensureDockerEngine, startDockerEngine } from '../../scripts/lib/docker-engine.ts';
import type { DockerEngine } from '../../scripts/lib/docker-engine.ts';
import { databaseUrl, query, testServer } from './postgres.ts';
import { fromTestBed } from './testbed.ts';

const image = 'migration-target-test:mounts';
/** Of the image's /etc/passwd. */
const accounts = { postgres: 999, app: 1000 } as const;
/** Of the container's file system, below which PostgreSQL's data are in a volume. */
const postgresHome = '/var/lib/postgresql';

export interface TestEngine {
  readonly docker: Docker;
  readonly socketPath: string;
}

/** The engine of this run; null where the machine can have none (the run has said so, and in CI it has failed). */
export async function testEngine(kind: 'docker' | 'podman' = 'docker'): Promise<TestEngine | null> {
  const found = await fromTestBed(kind, 'shared');
  return 'missing' in found ? null : open(found.socketPath);
}

/** One of the test's own, to be killed and started again. */
export async function startOwnEngine(): Promise<TestEngine & { readonly engine: DockerEngine }> {
  const engine = await startDockerEngine(await ensureDockerEngine());
  return { ...(await open(engine.socketPath)), engine };
}

async function open(socketPath: string): Promise<TestEngine> {
  const docker = new Docker({ socketPath });
  const images = await docker.listImages({ filters: { reference: [image] } });
  if (images.length === 0) await importImage(docker);
  return { docker, socketPath };
}

/** Mount points, links between them, accounts; and the application's files, where there are any. */
async function importImage(docker: Docker, name = image, app?: string): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), 'migration-target-image-'));
  try {
    for (const folder of ['app', 'dev', 'etc', 'proc', 'run', 'sys', 'tmp', 'usr', `.${postgresHome}`]) {
      await mkdir(join(root, folder), { recursive: true });
    }
    for (const linked of ['bin', 'lib', 'lib64', 'sbin']) {
      const found = await lstat(`/${linked}`).catch(() => null);
      if (found?.isSymbolicLink()) await symlink(await readlink(`/${linked}`), join(root, linked));
      else if (found !== null) await mkdir(join(root, linked));
    }
    await chmod(root, 0o755);
    await chmod(join(root, 'tmp'), 0o1777);
    // A volume takes the owner of the folder that it covers.
    await chown(join(root, postgresHome), accounts.postgres, accounts.postgres);
    const people = Object.entries(accounts);
    const passwd = people.map(([user, id]) => `${user}:x:${id}:${id}::/tmp:/bin/sh\n`).join('');
    await writeFile(join(root, 'etc/passwd'), `root:x:0:0:root:/tmp:/bin/sh\n${passwd}`);
    await writeFile(join(root, 'etc/group'), `root:x:0:\n${people.map(([user, id]) => `${user}:x:${id}:\n`).join('')}`);
    if (app !== undefined) await cp(app, join(root, 'app'), { recursive: true });
    const tar = spawn('tar', ['-C', root, '-c', '.'], { stdio: ['ignore', 'pipe', 'inherit'] });
    const answer = await docker.importImage(tar.stdout, { repo: name });
    await new Promise((resolve, reject) => {
      answer.on('end', resolve).on('error', reject).resume();
    });
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

/** What every container sees of the machine: its programs, and the test bed's Python and PostgreSQL. */
async function machineMounts(python: string): Promise<string[]> {
  const folders = ['/usr', cacheDirectory()];
  // The virtual environment's programs and library are those of the Python that made it.
  const base = dirname(dirname(await realpath(python)));
  if (base !== '/usr') folders.push(base);
  for (const name of ['/bin', '/lib', '/lib64', '/sbin']) {
    const found = await lstat(name).catch(() => null);
    if (found?.isDirectory()) folders.push(name);
  }
  return folders.map((folder) => `${folder}:${folder}:ro`);
}

/** A network of a test's own, and the containers on it; all of it goes with `dispose`. */
export interface DockerScene extends AsyncDisposable {
  readonly engine: TestEngine;
  readonly network: string;
  /** A real PostgreSQL 16, reached as `name` on the network. */
  database(options?: DatabaseContainerOptions): Promise<DatabaseContainer>;
  /** A small HTTP application with `dir` as its /app; it answers at /api/v1/system/status. */
  application(options: ApplicationContainerOptions): Promise<Docker.Container>;
  /** An image with that folder as its /app; removed with the scene. Returns its id. */
  imageOf(dir: string): Promise<string>;
  /** A name that no other test has. */
  name(of: string): string;
}

/**
 * For the tests of one `describe`: a scene, and a server on it that is also reached at a port of the loopback interface, from
 * before the first of them until after the last one.
 */
export function dockerHost(engine: TestEngine | null): {
  readonly docker: DockerScene;
  readonly server: DatabaseContainer;
} {
  const host = {} as { docker: DockerScene; server: DatabaseContainer };
  beforeAll(async () => {
    if (engine === null) return;
    host.docker = await dockerScene(engine);
    host.server = await host.docker.database({ published: true });
  });
  afterAll(async () => host.docker[Symbol.asyncDispose]());
  return host;
}

export interface DatabaseContainerOptions {
  /** Also reached at a port of the loopback interface. */
  readonly published?: boolean;
  readonly name?: string;
}

export interface ApplicationContainerOptions {
  readonly name: string;
  readonly dir: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly user?: string;
  /** With the application's files in it; left out: `dir` is mounted. */
  readonly image?: string;
  /** Instead of the HTTP application. */
  readonly command?: readonly string[];
  readonly host?: Docker.HostConfig;
  readonly more?: Pick<Docker.ContainerCreateOptions, 'Healthcheck' | 'StopTimeout'>;
  readonly labels?: Readonly<Record<string, string>>;
  /** Default: the test bed's Python first. */
  readonly path?: string;
}

export interface DatabaseContainer {
  readonly container: Docker.Container;
  readonly name: string;
  readonly superuserPassword: string;
  /** The published port. */
  readonly port: number | null;
  /** As the superuser on `postgres`, as the test reaches it. */
  adminUrl(): Promise<string>;
  /** After the container was started again. */
  untilItAnswers(): Promise<void>;
  /** A database and its owner: its URL on the network. */
  createDatabase(): Promise<ContainedDatabase>;
}

export interface ContainedDatabase {
  readonly name: string;
  readonly owner: string;
  readonly password: string;
  /** As the owner, on the network: what the application is given. */
  readonly url: string;
  /** As the superuser, on the network. */
  readonly networkAdminUrl: string;
  /** As the superuser, from the test. */
  adminUrl(): Promise<string>;
}

export async function dockerScene(engine: TestEngine): Promise<DockerScene> {
  const { docker } = engine;
  const id = randomBytes(4).toString('hex');
  const network = `mt-${id}`;
  await docker.createNetwork({ Name: network, Driver: 'bridge', CheckDuplicate: true });
  const { python } = await fromTestBed('venv', 'test');
  const mounts = await machineMounts(python);
  const images = new Set<string>();
  const run = async (options: Docker.ContainerCreateOptions): Promise<Docker.Container> => {
    const { HostConfig, ...rest } = options;
    const container = await docker.createContainer({
      Image: image,
      ...rest,
      HostConfig: { ...HostConfig, Binds: [...mounts, ...(HostConfig?.Binds ?? [])], NetworkMode: network },
    });
    await container.start();
    return container;
  };

  return {
    engine,
    network,
    name: (of) => `${of}-${id}`,

    async database({ published = false, name = `unicorn-postgresql-${id}` } = {}) {
      const { binDir } = await testServer(16);
      const superuserPassword = `super-${randomBytes(6).toString('hex')}`;
      const data = `${postgresHome}/data`;
      const flags = ['listen_addresses=*', 'fsync=off', 'max_connections=100', 'unix_socket_directories=/tmp'];
      const container = await run({
        name,
        User: 'postgres',
        Env: [`PATH=${binDir}:/usr/bin:/bin`, `POSTGRES_PASSWORD=${superuserPassword}`, 'TZ=UTC'],
        Cmd: ['sh', '-c', startPostgres, 'sh', data, ...flags.flatMap((flag) => ['-c', flag])],
        ExposedPorts: { '5432/tcp': {} },
        Volumes: { [postgresHome]: {} },
        HostConfig: {
          ...(published ? { PortBindings: { '5432/tcp': [{ HostIp: '127.0.0.1', HostPort: '' }] } } : {}),
          ShmSize: 256 * 1024 * 1024,
        },
      });
      const adminUrl = async (): Promise<string> => {
        const { NetworkSettings } = await container.inspect();
        const address = NetworkSettings.Networks[network]?.IPAddress ?? '';
        return `postgresql://postgres:${superuserPassword}@${address}:5432/postgres`;
      };
      await untilItAnswers(container, adminUrl);
      const ports = (await container.inspect()).NetworkSettings.Ports['5432/tcp'];
      return {
        container,
        name,
        superuserPassword,
        port: published ? Number(ports?.[0]?.HostPort) : null,
        adminUrl,
        untilItAnswers: () => untilItAnswers(container, adminUrl),
        async createDatabase() {
          const own = randomBytes(4).toString('hex');
          const [database, owner, password] = [`unicorn_${own}`, `owner_${own}`, `secret-${own}`];
          const here = await adminUrl();
          await query(here, `CREATE ROLE ${owner} LOGIN PASSWORD ${pg.escapeLiteral(password)} CREATEDB`);
          await query(here, `CREATE DATABASE ${database} OWNER ${owner} TEMPLATE template0`);
          return {
            name: database,
            owner,
            password,
            url: `postgresql://${owner}:${password}@${name}:5432/${database}`,
            networkAdminUrl: `postgresql://postgres:${superuserPassword}@${name}:5432/${database}`,
            adminUrl: async () => databaseUrl(await adminUrl(), { database }),
          };
        },
      };
    },

    async imageOf(dir) {
      const name = `mt-${id}:v${images.size + 1}`;
      await importImage(docker, name, dir);
      const { Id } = await docker.getImage(name).inspect();
      images.add(Id);
      return Id;
    },

    async application({ name, dir, env = {}, user, command, host, more, path, labels = {}, image: own }) {
      const searched = path ?? `${dirname(python)}:/usr/bin:/bin`;
      await writeFile(join(dir, 'server.py'), application);
      return run({
        name,
        ...(own === undefined ? {} : { Image: own }),
        WorkingDir: '/app',
        Env: [`PATH=${searched}`, ...Object.entries(env).map(([key, value]) => `${key}=${value}`)],
        Cmd: [...(command ?? ['python3', 'server.py'])],
        ExposedPorts: { '8084/tcp': {} },
        Labels: { ...labels },
        ...(user === undefined ? {} : { User: user }),
        ...more,
        HostConfig: { ...host, Binds: [...(own === undefined ? [`${dir}:/app:ro`] : []), ...(host?.Binds ?? [])] },
      });
    },

    async [Symbol.asyncDispose]() {
      // By what is on the network, so that what the tested code left there goes too.
      const containers = await docker.listContainers({ all: true, filters: { network: [network] } });
      await Promise.all(containers.map(({ Id }) => docker.getContainer(Id).remove({ force: true, v: true })));
      await docker.getNetwork(network).remove();
      // One that a test has removed is gone.
      for (const one of images)
        await docker
          .getImage(one)
          .remove({ force: true })
          .catch(() => undefined);
    },
  };
}

/** As the official image does: makes a cluster at the first start. "$1": its folder; the rest goes to the server. */
const startPostgres = `
data=$1; shift
if [ ! -s "$data/PG_VERSION" ]; then
  umask 077
  printf '%s\\n' "$POSTGRES_PASSWORD" > "$data.password"
  initdb -D "$data" -U postgres -A scram-sha-256 --pwfile="$data.password" -E UTF8 --locale=C --no-sync >/dev/null || exit 1
  echo 'host all all all scram-sha-256' >> "$data/pg_hba.conf"
fi
exec postgres -D "$data" "$@"`;

async function untilItAnswers(container: Docker.Container, url: () => Promise<string>): Promise<void> {
  const deadline = Date.now() + 60_000;
  for (;;) {
    try {
      await query(await url(), 'SELECT 1');
      return;
    } catch (cause) {
      const { State } = await container.inspect();
      if (State.Running && Date.now() < deadline) {
        await delay(100);
        continue;
      }
      const log = (await container.logs({ stdout: true, stderr: true, tail: 20 })).toString();
      throw new Error(`PostgreSQL did not start in its container:\n${log}`, { cause });
    }
  }
}

/** Answers 200 at the status page once the database does. */
const application = `
import http.server, os, signal, sys
import psycopg

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        code = 404
        if self.path == "/api/v1/system/status":
            try:
                with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
                    connection.execute("SELECT 1")
                code = 200
            except psycopg.Error:
                code = 503
        self.send_response(code)
        self.end_headers()

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
http.server.ThreadingHTTPServer(("", 8084), Page).serve_forever()
`;

/** Runs a program in a container to its end, as a person would. */
export async function inContainer(
  container: Docker.Container,
  command: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<{ readonly code: number | null; readonly output: string }> {
  const exec = await container.exec({
    Cmd: [...command],
    AttachStdout: true,
    AttachStderr: true,
    Tty: false,
    Env: Object.entries(env).map(([name, value]) => `${name}=${value}`),
  });
  const stream = await exec.start({ hijack: true });
  const chunks: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  await new Promise((resolve) => stream.on('end', resolve).on('close', resolve));
  const { ExitCode } = await exec.inspect();
  return { code: ExitCode, output: withoutHeaders(Buffer.concat(chunks)) };
}

/** Both streams in the order in which they came: each piece has a header of eight bytes, its length in the last four. */
function withoutHeaders(stream: Buffer): string {
  const pieces: Buffer[] = [];
  for (let at = 0; at + 8 <= stream.length;) {
    const end = at + 8 + stream.readUInt32BE(at + 4);
    pieces.push(stream.subarray(at + 8, end));
    at = end;
  }
  return Buffer.concat(pieces).toString();
}
