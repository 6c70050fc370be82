/** Programs in a container that runs: `docker exec`, without a terminal. */
import { randomUUID } from 'node:crypto';
import type { Duplex, Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import type { Exec } from 'dockerode';
import { retry, stalled, type Failure } from '../../rollback/errors.ts';
import { NotLaunched, type Child, type Ending, type Launcher, type Program } from '../process/launcher.ts';
import { demultiplex, type Demultiplexed } from './demultiplex.ts';
import { endingOf, lostTo } from '../process/ending.ts';
import { whyKilled } from './why-killed.ts';
import { answerInTime, engineFailure, messageOf, statusOf, type Engine } from './engine.ts';
import { wrapped } from './private-files.ts';

export interface ContainerRef {
  readonly id: string;
  readonly name: string;
}

/** A program that ends all processes whose environment carries a mark, with all that they started. */
export type Killer = (mark: string, signal: 'TERM' | 'KILL') => readonly string[];

/** The engine knows of no way to end what it runs by exec: so it is ended from inside. */
const markVariable = 'MIGRATION_TARGET_RUN';
/** How often the engine is asked whether it still runs: one that left a child behind keeps the connection open. */
const pollMs = 1_000;
/** What is left of a program that has ended may hold the connection open for ever: so long is waited. */
const patienceMs = 1_000;
/** After the connection's end the exit code is there at once; where it is not, the connection was cut. */
const settleMs = 3_000;
/** What can't be started fails at once. */
const begunMs = 2_000;
/** How it ends what could not be started. */
const notBegun: ReadonlySet<number> = new Set([125, 126, 127]);
/** What the engine says of a program whose connection was cut, whether it still runs or not. */
const attachFailed = 126;

export const killByShell: Killer = (mark, signal) => [
  'sh',
  '-c',
  `for process in /proc/[0-9]*; do
  grep -qs "$1" "$process/environ" && [ "\${process#/proc/}" != $$ ] && kill -s "$2" "\${process#/proc/}"
done; true`,
  'sh',
  `${markVariable}=${mark}`,
  signal,
];

export const killByPython =
  (python: string): Killer =>
  (mark, signal) => [
    python,
    '-c',
    `import os, signal, sys
for process in filter(str.isdigit, os.listdir("/proc")):
    try:
        with open("/proc/%s/environ" % process, "rb") as file:
            if sys.argv[1].encode() in file.read().split(b"\\0") and int(process) != os.getpid():
                os.kill(int(process), getattr(signal, "SIG" + sys.argv[2]))
    except OSError:
        pass`,
    `${markVariable}=${mark}`,
    signal,
  ];

/** Starts programs in that container, as its own user. */
export function execLauncher(engine: Engine, container: ContainerRef, killer: Killer): Launcher {
  return {
    async launch(program) {
      const mark = randomUUID();
      const { command, preamble } = wrapped(program);
      const since = new Date();
      const exec = await createExec(engine, container, program, command, mark);
      const connection = await begin(engine, container, exec);
      connection.on('error', () => undefined); // The engine tells what became of the program.
      const streams = demultiplex(connection);
      await assertBegun(engine, container, exec, streams, program);
      if (preamble !== '') connection.write(preamble);

      let isKilled = false;
      const kill: Child['kill'] = (signal) => {
        isKilled = true;
        const how = killer(mark, signal === 'SIGTERM' ? 'TERM' : 'KILL');
        // Where that can't be done, the end of its input ends it, or of its session: whoever waits for it sees.
        void runDetached(engine, container, how).catch(() => connection.destroy());
      };
      const ended = (async (): Promise<Ending> => {
        const exitCode = await exitCodeOf(engine, container, exec, { connection, streams });
        if (typeof exitCode !== 'number') {
          kill('SIGKILL');
          return lostTo(exitCode);
        }
        const why = exitCode === 137 && !isKilled ? await whyKilled(engine, container, since) : null;
        return endingOf(exitCode, why);
      })();
      return { stdin: connection, stdout: streams.stdout, stderr: streams.stderr, ended, kill };
    },
  };
}

async function createExec(
  engine: Engine,
  { id, name }: ContainerRef,
  { env, cwd }: Program,
  command: readonly string[],
  mark: string,
): Promise<Exec> {
  const variables = { ...env, [markVariable]: mark };
  try {
    return await engine.docker.getContainer(id).exec({
      Cmd: [...command],
      Env: Object.entries(variables).map(([key, value]) => `${key}=${value}`),
      ...(cwd === undefined ? {} : { WorkingDir: cwd }),
      AttachStdin: true,
      AttachStdout: true,
      AttachStderr: true,
      // With one, stdout and stderr would be the same, and input would be typed.
      Tty: false,
      abortSignal: answerInTime(),
    });
  } catch (error) {
    throw unusable(engine, name, error);
  }
}

async function begin(engine: Engine, { name }: ContainerRef, exec: Exec): Promise<Duplex> {
  try {
    return await exec.start({ hijack: true, stdin: true, Tty: false });
  } catch (error) {
    // Newer engines tell by the answer what older ones write into the stream.
    if (isNotBegun(messageOf(error))) throw notLaunched(messageOf(error));
    throw unusable(engine, name, error);
  }
}

function unusable(engine: Engine, name: string, error: unknown): Failure {
  const status = statusOf(error);
  if (status === 404)
    return stalled(
      'ContainerNotFound',
      `The container ${name} was removed meanwhile. Make it again, then: migration-target reconcile NAME`,
      error,
    );
  if (status === 409)
    return retry(
      'ContainerNotRunning',
      `Nothing can run in the container ${name} now: ${messageOf(error)}. It is tried again by itself. See: docker inspect ${name}`,
      error,
    );
  return engineFailure(engine, error, `Running a program in the container ${name}`);
}

const isNotBegun = (said: string): boolean => /OCI runtime exec failed|unable to start container process/.test(said);

function notLaunched(said: string): NotLaunched {
  const why = said
    .replace(/^.*unable to start container process: /s, '')
    .replace(/: unknown\s*$/, '')
    .trim();
  return new NotLaunched(/chdir to cwd/.test(said) ? 'folder' : 'program', why);
}

/**
 * Throws NotLaunched. What can't be started has no process, and the reason comes as if the program had written it. That
 * one has a process is not always told (seen with 20.10 under load: the id stays 0), so what is still said to run after
 * a while does; where it was only slow to fail, its exit code is one that counts as lost, and it is tried again.
 */
async function assertBegun(
  engine: Engine,
  container: ContainerRef,
  exec: Exec,
  streams: Demultiplexed,
  { program, cwd }: Program,
): Promise<void> {
  const since = performance.now();
  for (let waitMs = 5; ; waitMs = Math.min(100, waitMs * 2)) {
    const { Pid, Running, ExitCode } = await exec.inspect({ abortSignal: answerInTime() }).catch((error: unknown) => {
      throw engineFailure(engine, error, `Starting ${program}`);
    });
    if (Pid > 0 || (Running && performance.now() - since > begunMs)) return;
    // Neither running nor ended: the engine answers before it begins.
    if (!Running && ExitCode !== null) {
      // Podman forgets the process of what has ended already.
      if (!notBegun.has(ExitCode) && (await engine.isPodman())) return;
      const said = await text(streams.stdout);
      if (said !== '') throw notLaunched(said);
      // Podman tells the reason to its own log alone.
      if (cwd !== undefined && (await isMissing(engine, container, cwd)))
        throw new NotLaunched('folder', 'it is not there');
      throw new NotLaunched('program', `exit code ${ExitCode}`);
    }
    await delay(waitMs);
  }
}

const isMissing = ({ docker }: Engine, { id }: ContainerRef, path: string): Promise<boolean> =>
  docker
    .getContainer(id)
    .infoArchive({ path, abortSignal: answerInTime() })
    .then(
      () => false,
      (error: unknown) => statusOf(error) === 404,
    );

const cut = ({ where }: Engine, name: string): Failure =>
  retry(
    'DockerUnreachable',
    `The connection to the Docker Engine at ${where} was cut while a program ran in the container ${name}. It is tried again by itself.`,
  );

/** The exit code, or why nobody can tell any more. */
async function exitCodeOf(
  engine: Engine,
  { name }: ContainerRef,
  exec: Exec,
  { connection, streams }: { readonly connection: Duplex; readonly streams: Demultiplexed },
): Promise<number | Failure> {
  let isOver = false;
  const over = streams.ended.then(() => (isOver = true));
  let silentSince: number | null = null;
  for (;;) {
    await Promise.race([over, delay(pollMs, undefined, { ref: false })]);
    let found: Awaited<ReturnType<Exec['inspect']>>;
    try {
      found = await exec.inspect({ abortSignal: answerInTime() });
    } catch (error) {
      const failure = engineFailure(engine, error, `A program ran in the container ${name}`);
      // An engine that goes on without this container has forgotten the program as well.
      if (isOver || statusOf(error) === 404) return failure;
      continue;
    }
    if (!found.Running && found.ExitCode === attachFailed) return cut(engine, name);
    if (!found.Running && found.ExitCode !== null) {
      await Promise.race([over, delay(patienceMs, undefined, { ref: false })]);
      connection.destroy();
      await over;
      return found.ExitCode;
    }
    if (!isOver) continue;
    silentSince ??= Date.now();
    if (Date.now() - silentSince > settleMs) return cut(engine, name);
    await delay(50);
  }
}

/** Runs a program of ours whose output nobody needs. */
async function runDetached(engine: Engine, { id }: ContainerRef, command: readonly string[]): Promise<void> {
  const exec = await engine.docker
    .getContainer(id)
    .exec({ Cmd: [...command], AttachStdout: true, AttachStderr: true, Tty: false });
  const output: Readable = await exec.start({ hijack: true, stdin: false });
  output.resume();
}
