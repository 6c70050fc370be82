import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import type { OnProgress } from './cache.ts';
import { openNamespaces } from './cluster/namespaces.ts';
import { untilReady } from './docker-engine.ts';
import { ensureProgram, programPath } from './programs.ts';
import { run } from './run.ts';
import { supervise } from './supervise.ts';

/** Podman's service, which speaks Docker's API. Ends with this process, and all that it runs with it. */
export interface Podman {
  /** Path of its Unix socket. */
  readonly socketPath: string;
  readonly logFile: string;
  stop(): Promise<void>;
}

export interface PodmanPrograms {
  readonly podman: string;
  readonly runc: string;
}

const helperFolders = ['/usr/lib/podman', '/usr/libexec/podman', '/usr/local/libexec/podman'];

/**
 * As root on Debian the packages that are missing are installed; no service is started of them. Throws, with what to install,
 * elsewhere, and where Podman could not be run.
 */
export async function ensurePodman(onProgress: OnProgress = () => undefined): Promise<PodmanPrograms> {
  if (process.platform !== 'linux') throw new Error(`Podman runs on Linux, not on ${process.platform}`);
  if (process.getuid?.() !== 0) throw new Error("a Podman of one's own is started by root alone");
  const podman = await ensureProgram({ file: 'podman', from: 'podman' }, onProgress);
  for (const file of ['netavark', 'aardvark-dns'])
    await ensureProgram({ file, folders: helperFolders, from: file }, onProgress);
  await ensureProgram({ file: 'iptables', from: 'iptables' }, onProgress);
  await ensureProgram({ file: 'ip', from: 'iproute2' }, onProgress);
  // crun, Debian's default, refuses a machine that has control groups of both versions.
  return { podman, runc: await ensureProgram({ file: 'runc', from: 'runc' }, onProgress) };
}

/**
 * Starts it and waits until it answers, in namespaces of its own: its files are where they always are, its rules of the firewall
 * are not the machine's, and what watches each program for it ends too. All that is left of a killed run are empty control
 * groups. The machine reaches its containers by their addresses, not by published ports. Throws with the end of its log where it fails.
 */
export async function startPodman({ podman, runc }: PodmanPrograms): Promise<Podman> {
  const dir = await mkdtemp(join(tmpdir(), 'migration-target-podman-'));
  const [socketPath, logFile, settings] = ['podman.sock', 'podman.log', 'containers.conf'].map((name) =>
    join(dir, name),
  ) as [string, string, string];
  const namespaces = await openNamespaces(dir);
  await writeFile(settings, configuration(namespaces.podSubnet));
  const env = { ...process.env, PATH: programPath, CONTAINERS_CONF: settings };
  const command = (...args: string[]): readonly string[] =>
    namespaces.within([podman, `--runtime=${runc}`, '--storage-driver=vfs', ...args]);
  const service = supervise(command('system', 'service', '--time=0', `unix://${socketPath}`), {
    logFile,
    signal: 'TERM',
    env,
  });
  const stop = async (): Promise<void> => {
    await service.stop();
    // So that no control groups are left.
    const [program = '', ...args] = command('rm', '--all', '--force', '--time=0');
    await run(program, args, { env });
    await namespaces.stop();
  };
  try {
    await untilReady(service, socketPath);
  } catch (cause) {
    const log = await readFile(logFile, 'utf8').catch(() => '(it has no log)');
    await stop();
    throw new Error(`Podman did not start. The end of its log:\n${log.split('\n').slice(-12).join('\n')}`, { cause });
  }
  return { socketPath, logFile, stop };
}

const configuration = (subnet: string): string => `[containers]
# More is not to be had without CAP_SYS_RESOURCE.
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
# Those in memory are shared by all that root runs, and a new Podman takes them for its own.
lock_type = "file"
[network]
network_backend = "netavark"
default_subnet_pools = [{"base" = "${subnet}", "size" = 28}]
`;
