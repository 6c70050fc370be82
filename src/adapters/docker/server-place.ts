/** A database server in a container, with its tools: dumps are streamed from there to the backup folder, and back. */
import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { connect } from 'node:net';
import type { ContainerInspectInfo } from 'dockerode';
import { retry, stalled } from '../../rollback/errors.ts';
import type { Endpoint } from '../postgres/database-url.ts';
import type { ServerPlace } from '../postgres/place.ts';
import { majorOf, versionIn, type Tools } from '../postgres/tools.ts';
import type { Launcher } from '../process/launcher.ts';
import { NotLaunched } from '../process/launcher.ts';
import { run } from '../process/run.ts';
import { addressesOf, nameOf, wayInto, type Address } from './address.ts';
import { assertServes, findContainer } from './containers.ts';
import type { Engine } from './engine.ts';
import { execLauncher, killByShell } from './exec.ts';

const field = 'spec.runtime.docker.databaseContainer';
const probeMs = 2_000;

/** Throws ContainerNotFound, ContainerNotRunning (retry), DockerUnreachable (retry), DockerForbidden. */
export async function serverIn(engine: Engine, name: string): Promise<ServerPlace> {
  const found = await findContainer(engine, name, field);
  assertServes(found);
  // By its id: whoever renames it meanwhile changes nothing, and another one of that name is not the same.
  const ref = { id: found.Id, name };
  const launcher = execLauncher(engine, ref, killByShell);
  const tools = new Map<number, Promise<Tools>>();
  /** Which address answered last, and since which start of the container. */
  let reached: { readonly startedAt: string; readonly port: number; readonly address: Address } | null = null;

  const look = async (): Promise<ContainerInspectInfo> => {
    const now = await findContainer(engine, ref.id, field);
    assertServes(now);
    return now;
  };
  return {
    isThisMachine: false,
    tools: {
      find(major) {
        const known = tools.get(major);
        if (known) return known;
        const finding = findTools(launcher, ref.name, major);
        tools.set(major, finding);
        finding.catch(() => tools.delete(major));
        return finding;
      },
    },
    async fromHere(endpoint) {
      const now = await look();
      const way = wayInto(now, endpoint, engine.host);
      // What leads elsewhere, and a published port, are addresses that this machine knows.
      if (way === null || way.by === 'published') return endpoint;
      const { StartedAt: startedAt } = now.State;
      if (reached?.startedAt !== startedAt || reached.port !== way.port) {
        reached = { startedAt, port: way.port, address: await firstThatAnswers(engine, now, endpoint, way.port) };
      }
      return { ...endpoint, address: reached.address };
    },
    async fromTools(endpoint) {
      const way = wayInto(await look(), endpoint, engine.host);
      return way === null ? endpoint : { ...endpoint, address: { host: '127.0.0.1', port: way.port } };
    },
  };
}

/** On Linux the container's own address does; where Docker runs in a virtual machine only a published port. */
async function firstThatAnswers(
  engine: Engine,
  container: ContainerInspectInfo,
  endpoint: Endpoint,
  port: number,
): Promise<Address> {
  const tried: string[] = [];
  for (const { host, port: at } of addressesOf(container, port, engine.host)) {
    const address = await lookup(host).catch(() => null);
    if (address !== null && (await answers(address.address, at))) return { host: address.address, port: at };
    tried.push(`${host}:${at}`);
  }
  const name = nameOf(container);
  throw retry(
    'DatabaseUnreachable',
    `${endpoint.host} is the container ${name}, and this machine reaches it nowhere (tried ${tried.join(', ') || 'nothing: it has no address'}). It is tried again by itself. See: docker logs ${name}; or publish its port: --publish 127.0.0.1::${port}`,
  );
}

async function answers(host: string, port: number): Promise<boolean> {
  const socket = connect({ host, port });
  try {
    await once(socket, 'connect', { signal: AbortSignal.timeout(probeMs) });
    return true;
  } catch {
    // Whatever it is, it is not reached there; what was tried is told.
    return false;
  } finally {
    socket.destroy();
  }
}

/** Prints the directory and the versions of the three tools, a line each, of the first directory that has all of "$@". */
const search = `
for dir in "$@"; do
  for tool in pg_dump pg_restore psql; do printf '%s\\t%s\\n' "$dir$tool" "$("$dir$tool" --version 2>/dev/null)"; done
done`;

/** The empty one: as PATH says, which the official images have right. */
const directories = (major: number): readonly string[] => [
  '',
  `/usr/lib/postgresql/${major}/bin/`,
  `/usr/pgsql-${major}/bin/`,
  '/opt/bitnami/postgresql/bin/',
  '/usr/local/pgsql/bin/',
];

async function findTools(launcher: Launcher, container: string, major: number): Promise<Tools> {
  const missing = (found: string, cause?: unknown) =>
    stalled(
      'ToolsNotFound',
      `The server is PostgreSQL ${major}, and pg_dump, pg_restore and psql must be of that major; the container ${container} has ${found}. Take an image of postgres:${major}, or leave ${field} out and install postgresql-client-${major} beside the controller.`,
      cause,
    );
  const outcome = await run({
    launcher,
    program: 'sh',
    args: ['-c', search, 'sh', ...directories(major)],
    env: { LC_ALL: 'C' },
  }).catch((error: unknown) => {
    throw error instanceof NotLaunched ? missing(`no shell (${error.why})`, error) : error;
  });
  if (outcome.lost !== null) throw outcome.lost;
  const lines = outcome.stdout.split('\n').map((line) => line.split('\t'));
  for (let at = 0; at + 2 < lines.length; at += 3) {
    const three = lines.slice(at, at + 3);
    const versions = three.map(([, printed = '']) => versionIn(printed));
    if (!versions.every((version) => version !== null && majorOf(version) === major)) continue;
    const [pgDump = '', pgRestore = '', psql = ''] = three.map(([path = '']) => path);
    return {
      launcher,
      where: ` in the container ${container}`,
      seeFiles: false,
      pgDump,
      pgRestore,
      psql,
      version: versions[0] ?? '',
    };
  }
  const found = lines.map(([, printed = '']) => versionIn(printed)).filter((version) => version !== null);
  throw missing(found.length === 0 ? 'none of them' : [...new Set(found)].join(', '));
}
