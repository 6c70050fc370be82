import { mkdir, readFile, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { run, runOrThrow } from '../run.ts';
import { supervise } from '../supervise.ts';
import type { Namespaces } from './namespaces.ts';
import { programPath } from '../programs.ts';

export interface Containerd {
  readonly logFile: string;
  /** Takes images in, of a file as `docker save` makes it. Each can also be named by its digest, as though it came from a registry. */
  importImages(archive: string): Promise<void>;
  stop(): Promise<void>;
}

export interface ContainerdOptions {
  readonly dir: string;
  readonly namespaces: Namespaces;
  /** Of the network plugins. */
  readonly plugins: string;
  /** The image of the process that holds a pod's namespaces. */
  readonly pauseImage: string;
}

const READY_WITHIN_MS = 30_000;
const OVERLAYFS = 0x794c7630;

/** Starts it in a node's namespaces, where its files and its socket are where they always are. */
export async function startContainerd(options: ContainerdOptions): Promise<Containerd> {
  const { dir, namespaces, plugins } = options;
  const env = { ...process.env, PATH: programPath };
  const network = join(dir, 'network');
  await mkdir(network);
  await writeFile(join(network, '10-pods.conflist'), JSON.stringify(bridge(namespaces.podSubnet)));
  const config = join(dir, 'containerd.toml');
  // An overlay on an overlay cannot be: a machine that is a container itself copies.
  const snapshotter = (await statfs(dir)).type === OVERLAYFS ? 'native' : 'overlayfs';
  await writeFile(config, configuration({ network, plugins, snapshotter, pauseImage: options.pauseImage }));

  const logFile = join(dir, 'containerd.log');
  const containerd = supervise(namespaces.within(['containerd', `--config=${config}`]), {
    logFile,
    signal: 'TERM',
    env,
  });
  const ctr = (...args: string[]): readonly [string, string[]] => {
    const [program = '', ...rest] = namespaces.within(['ctr', '--namespace=k8s.io', ...args]);
    return [program, rest];
  };
  const deadline = Date.now() + READY_WITHIN_MS;
  while ((await run(...ctr('version'), { env })).code !== 0) {
    if (Date.now() > deadline)
      throw new Error(
        `containerd did not start. The end of its log:\n${(await readFile(logFile, 'utf8')).slice(-2000)}`,
      );
    await delay(100);
  }

  return {
    logFile,
    stop: () => containerd.stop(),
    async importImages(archive) {
      await runOrThrow(...ctr('images', 'import', archive), { env });
      const { stdout } = await runOrThrow(...ctr('images', 'list'), { env });
      for (const line of stdout.split('\n').slice(1)) {
        const [name = '', , digest = ''] = line.split(/\s+/);
        if (!name.includes(':') || name.includes('@') || name.startsWith('sha256:')) continue;
        await runOrThrow(...ctr('images', 'tag', '--force', name, `${name.replace(/:[^:]*$/, '')}@${digest}`), { env });
      }
    },
  };
}

/** Pods on a bridge. Addresses are not rewritten: the machine has a route to them. */
const bridge = (subnet: string): object => ({
  cniVersion: '0.4.0',
  name: 'pods',
  plugins: [
    {
      type: 'bridge',
      bridge: 'pods0',
      isGateway: true,
      hairpinMode: true,
      ipam: { type: 'host-local', ranges: [[{ subnet }]], routes: [{ dst: '0.0.0.0/0' }] },
    },
  ],
});

const configuration = (options: {
  readonly network: string;
  readonly plugins: string;
  readonly snapshotter: string;
  readonly pauseImage: string;
}): string => `
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = ${JSON.stringify(options.pauseImage)}
  # A machine may lack the right to protect its processes from being killed for memory.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = ${JSON.stringify(options.plugins)}
    conf_dir = ${JSON.stringify(options.network)}
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "${options.snapshotter}"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
`;
