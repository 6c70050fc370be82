/**
 * Programs in a container of their own, made like one that does not run: same image (its id: a tag may have moved),
 * environment, mounts, networks, user and limits, but not its names on the networks, its ports and its entry point.
 */
import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import type { Container, ContainerCreateOptions, ContainerInspectInfo } from 'dockerode';
import { stalled, type Failure } from '../../rollback/errors.ts';
import { NotLaunched, type Ending, type Launcher, type Program } from '../process/launcher.ts';
import { demultiplex } from './demultiplex.ts';
import { attach } from './attach.ts';
import { endingOf, lostTo } from '../process/ending.ts';
import { whyKilled } from './why-killed.ts';
import { engineFailure, messageOf, statusOf, type Engine } from './engine.ts';
import { eventsOf } from './events.ts';

/** How long after its connection has closed a program's end may be told. */
const answerWithinMs = 10_000;
const rememberedWithinMs = 5_000;
const eventsPollMs = 100;

/** By it a person knows what such a container is. */
const label = 'dev.migrationtarget.one-off-of';

/** What decides how a program in it sees the world, and what it may do and use. */
const kept = [
  'CapAdd',
  'CapDrop',
  'CpuPeriod',
  'CpuQuota',
  'CpuShares',
  'CpusetCpus',
  'Devices',
  'Dns',
  'DnsOptions',
  'DnsSearch',
  'ExtraHosts',
  'GroupAdd',
  'IpcMode',
  'Memory',
  'MemorySwap',
  'NanoCpus',
  'PidsLimit',
  'Privileged',
  'ReadonlyRootfs',
  'Runtime',
  'SecurityOpt',
  'ShmSize',
  'Sysctls',
  'Tmpfs',
  'UsernsMode',
] as const;

/** Of the container that it is made like. Pure. */
export function oneOffOptions(
  like: ContainerInspectInfo,
  { program, args, cwd, env }: Program,
): ContainerCreateOptions {
  const { Config, HostConfig } = like;
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  return {
    Image: like.Image,
    Entrypoint: [program],
    Cmd: [...args],
    Env: [...(Config.Env ?? []), ...variables],
    User: Config.User,
    WorkingDir: cwd ?? Config.WorkingDir,
    Labels: { [label]: like.Name.replace(/^\//, '') },
    // Its input ends with our connection, whatever ends us; and then so does the program.
    OpenStdin: true,
    StdinOnce: true,
    AttachStdin: true,
    AttachStdout: true,
    AttachStderr: true,
    Tty: false,
    Healthcheck: { Test: ['NONE'] },
    HostConfig: {
      ...Object.fromEntries(
        kept.map((name) => [name, HostConfig[name] as unknown] as const).filter(([, value]) => value != null),
      ),
      ...ulimitsOf(HostConfig),
      NetworkMode: networkOf(like),
      // All of its mounts, anonymous volumes too.
      VolumesFrom: [like.Id],
      AutoRemove: true,
    },
  };
}

/** The network that it is made with. Podman says bridge of any, also where it is on others only. */
function networkOf({ HostConfig, NetworkSettings }: ContainerInspectInfo): string | undefined {
  const { NetworkMode: mode } = HostConfig;
  const [first] = Object.keys(NetworkSettings.Networks);
  return mode === 'bridge' && first !== undefined && !(mode in NetworkSettings.Networks) ? first : mode;
}

/** Podman tells them by the kernel's names (`RLIMIT_NOFILE`), and takes them by Docker's. */
function ulimitsOf({
  Ulimits,
}: ContainerInspectInfo['HostConfig']): Pick<ContainerInspectInfo['HostConfig'], 'Ulimits'> {
  if (Ulimits == null) return {};
  return {
    Ulimits: Ulimits.map((one) => ({ ...one, Name: (one.Name ?? '').replace(/^RLIMIT_/, '').toLowerCase() })),
  };
}

export function oneOffLauncher(engine: Engine, like: ContainerInspectInfo): Launcher {
  const name = like.Name.replace(/^\//, '');
  return {
    async launch(program) {
      // Before anything has run whose end could not be told.
      const isPodman = await engine.isPodman();
      const since = new Date();
      const container = await create(engine, like, program, name);
      let connection: Duplex;
      let left: Promise<{ readonly StatusCode: number } | Failure>;
      try {
        connection = await attach(engine, container);
        // Asked before it starts: afterwards it may be gone already.
        left = container
          .wait({ condition: 'removed' })
          .then((answer: { readonly StatusCode: number }) => (isPodman ? exitOf(engine, container.id, since) : answer))
          .catch((error: unknown) => engineFailure(engine, error, `A program ran in a container made like ${name}`));
        await container.start();
      } catch (error) {
        await container.remove({ force: true }).catch(() => undefined); // it removes itself as well
        throw notStarted(engine, name, error);
      }
      connection.on('error', () => undefined); // `ended` tells what became of it.
      const streams = demultiplex(connection);

      let isKilled = false;
      const ended = (async (): Promise<Ending> => {
        const answer = await Promise.race([left, unanswered(engine, name, streams.ended)]);
        connection.destroy();
        await streams.ended;
        if (!('StatusCode' in answer)) return lostTo(answer);
        const isUnexpected = answer.StatusCode === 137 && !isKilled;
        const why = isUnexpected ? await whyKilled(engine, { id: container.id, name }, since) : null;
        return endingOf(answer.StatusCode, why);
      })();
      return {
        stdin: connection,
        stdout: streams.stdout,
        stderr: streams.stderr,
        ended,
        kill: (signal) => {
          isKilled = true;
          // Where that can't be done it has ended already.
          void container.kill({ signal }).catch(() => undefined);
        },
      };
    },
  };
}

/** Podman answers 0 of whatever is gone, and remembers how it ended. */
async function exitOf(engine: Engine, id: string, since: Date): Promise<{ readonly StatusCode: number }> {
  const endsAt = performance.now() + rememberedWithinMs;
  for (;;) {
    const end = (await eventsOf(engine, id, since)).find(({ action }) => action === 'die' || action === 'died');
    if (end !== undefined && end.exitCode !== null) return { StatusCode: end.exitCode };
    if (performance.now() > endsAt) throw new Error('it kept no event of the end');
    await delay(eventsPollMs);
  }
}

/**
 * An engine that dies while it is asked how a program ended never answers, and dockerode waits for ever: but the program's
 * own connection is cut then, which is otherwise the end of the program.
 */
async function unanswered(engine: Engine, name: string, closed: Promise<void>): Promise<Failure> {
  await closed;
  await delay(answerWithinMs, undefined, { ref: false });
  const silent = new Error('the connection was cut, and nothing was said of the end');
  return engineFailure(engine, silent, `A program ran in a container made like ${name}`);
}

async function create(engine: Engine, like: ContainerInspectInfo, program: Program, name: string): Promise<Container> {
  try {
    const container = await engine.docker.createContainer(oneOffOptions(like, program));
    const others = Object.keys(like.NetworkSettings.Networks).filter((one) => one !== networkOf(like));
    for (const network of others) {
      if (network === 'bridge' && like.HostConfig.NetworkMode === 'default') continue;
      // Without its aliases: nobody may take this container for the application.
      await engine.docker.getNetwork(network).connect({ Container: container.id });
    }
    return container;
  } catch (error) {
    throw notStarted(engine, name, error);
  }
}

function notStarted(engine: Engine, name: string, error: unknown): Error {
  const said = messageOf(error);
  if (/executable file not found|no such file or directory|permission denied/.test(said) && /exec/.test(said))
    return new NotLaunched('program', said.replace(/^.*unable to start container process: /s, ''), { cause: error });
  const status = statusOf(error);
  if (status === 404 || status === 409)
    return stalled(
      'ContainerNotRunning',
      `The container ${name} does not run, and one made like it could not be started: ${said}. Start it: docker start ${name}; then: migration-target reconcile NAME`,
      error,
    );
  return engineFailure(engine, error, `Starting a container made like ${name}`);
}
