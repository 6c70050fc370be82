import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import type { OnProgress } from './cache.ts';
import { ensureProgram, programPath } from './programs.ts';
import { supervise } from './supervise.ts';
import type { Supervised } from './supervise.ts';

/** A Docker Engine of our own, apart from any other of the machine: own data, own networks. Ends with this process. */
export interface DockerEngine {
  /** Path of its Unix socket. */
  readonly socketPath: string;
  readonly logFile: string;
  /** Containers that still run are ended with it. */
  stop(): Promise<void>;
  /** Kills it (SIGKILL): its containers run on until it is started again. */
  kill(): Promise<void>;
  /** Starts it again after `kill`, and waits until it answers. */
  start(): Promise<void>;
}

const READY_WITHIN_MS = 60_000;

/**
 * Path of `dockerd`. As root on Debian its packages are installed where they are missing; no service is started of them.
 * Throws, with what to install, elsewhere, and where it could not be run.
 */
export async function ensureDockerEngine(onProgress: OnProgress = () => undefined): Promise<string> {
  if (process.platform !== 'linux')
    throw new Error(`a Docker Engine of one's own runs on Linux, not on ${process.platform}`);
  if (process.getuid?.() !== 0) throw new Error("a Docker Engine of one's own is started by root alone");
  const dockerd = await ensureProgram({ file: 'dockerd', from: 'docker.io' }, onProgress);
  // The name service of Docker's networks is made of rules of iptables in each container.
  await ensureProgram({ file: 'iptables', from: 'iptables' }, onProgress);
  return dockerd;
}

/**
 * Starts it in a temporary folder and waits until it answers. How it keeps images is its own choice: overlaid where the
 * file system can be, else copied. Throws with the end of its log where it fails.
 */
export async function startDockerEngine(dockerd: string): Promise<DockerEngine> {
  const dir = await mkdtemp(join(tmpdir(), 'migration-target-docker-'));
  const socketPath = join(dir, 'docker.sock');
  const logFile = join(dir, 'dockerd.log');
  const command = [
    // In mounts of its own: whatever ends it, none is left that would hold the folder.
    'unshare',
    '--mount',
    '--propagation=private',
    dockerd,
    `--data-root=${join(dir, 'data')}`,
    `--exec-root=${join(dir, 'exec')}`,
    `--pidfile=${join(dir, 'docker.pid')}`,
    `--host=unix://${socketPath}`,
    // Where the machine's own containerd runs, it is used, and its containers are not ours.
    '--containerd-namespace=migration-target-test',
    '--containerd-plugins-namespace=migration-target-test-plugins',
    // The machine's own rules and interfaces stay as they are: no default bridge, no forwarding, no masquerading.
    '--bridge=none',
    '--iptables=false',
    '--ip6tables=false',
    '--ip-masq=false',
    '--default-address-pool=base=172.29.0.0/16,size=24',
    '--shutdown-timeout=3',
  ];
  const env = { ...process.env, PATH: programPath };
  const launch = (): Supervised => supervise(command, { logFile, signal: 'TERM', env, removeAfterwards: dir });
  let engine = launch();
  const stop = async (): Promise<void> => {
    await engine.stop();
    await rm(dir, { recursive: true, force: true });
  };
  try {
    await untilReady(engine, socketPath);
  } catch (cause) {
    const log = await readFile(logFile, 'utf8').catch(() => '(it has no log)');
    await stop();
    throw new Error(`dockerd did not start. The end of its log:\n${log.split('\n').slice(-12).join('\n')}`, { cause });
  }
  return {
    socketPath,
    logFile,
    stop,
    kill: () => engine.kill(),
    start: async () => {
      // What was killed left its own. A process that nobody waits for would count as one that still runs.
      await rm(join(dir, 'docker.pid'), { force: true });
      await rm(join(dir, 'exec', 'containerd', 'containerd.pid'), { force: true });
      engine = launch();
      await untilReady(engine, socketPath);
    },
  };
}

/** The socket of an engine of the machine's that answers, or null: what `DOCKER_HOST` says, else the usual one. */
export async function reachableEngine(): Promise<string | null> {
  const said = process.env['DOCKER_HOST'];
  const socketPath = said === undefined || said === '' ? '/var/run/docker.sock' : said.replace(/^unix:\/\//, '');
  const isSocket = await stat(socketPath).then(
    (found) => found.isSocket(),
    () => false,
  );
  return isSocket && (await isReady(socketPath)) ? socketPath : null;
}

/** Until it answers on that socket, as Podman's service does too. Throws where it ends before, or does not in time. */
export async function untilReady(engine: Supervised, socketPath: string): Promise<void> {
  const deadline = Date.now() + READY_WITHIN_MS;
  let ended = false;
  const end = (): void => void (ended = true);
  engine.exited.then(end, end);
  while (!ended && Date.now() < deadline) {
    if (await isReady(socketPath)) return;
    await delay(100);
  }
  throw new Error(ended ? 'it ended' : `it did not answer within ${READY_WITHIN_MS / 1000} s`);
}

const isReady = (socketPath: string): Promise<boolean> =>
  new Promise((resolve) => {
    const ping = request({ socketPath, path: '/_ping', timeout: 2000 }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    ping.on('timeout', () => ping.destroy());
    ping.on('error', () => resolve(false));
    ping.end();
  });
