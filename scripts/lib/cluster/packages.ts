import { dirname } from 'node:path';

import type { OnProgress } from '../cache.ts';
import { ensureProgram } from '../programs.ts';

/** Where distributions have the plugins that connect pods. */
const pluginFolders = ['/usr/lib/cni', '/opt/cni/bin', '/usr/libexec/cni'];

/**
 * The folder of the network plugins, and beside them what a node needs beside Kubernetes. As root on Debian the packages that are
 * missing are installed; no service is started of them. Throws, with what to install, elsewhere, and where a node could not be run.
 */
export async function ensureNodePackages(onProgress: OnProgress = () => undefined): Promise<string> {
  if (process.platform !== 'linux') throw new Error(`a Kubernetes node runs on Linux, not on ${process.platform}`);
  if (process.getuid?.() !== 0)
    throw new Error('a Kubernetes node is started by root alone: sudo npm run test:cluster');
  for (const [file, from] of [
    ['containerd', 'containerd'],
    ['runc', 'runc'],
    ['iptables', 'iptables'],
    ['ip', 'iproute2'],
  ] as const)
    await ensureProgram({ file, from }, onProgress);
  const bridge = { file: 'bridge', folders: pluginFolders, from: 'containernetworking-plugins' };
  return dirname(await ensureProgram(bridge, onProgress));
}
