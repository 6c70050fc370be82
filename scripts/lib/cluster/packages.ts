import { access, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';

import type { OnProgress } from '../cache.ts';
import { installDebianPackage } from '../debian.ts';

/** What runs pods is found where Debian has it, whatever PATH the tests were started with. */
export const programPath = [process.env['PATH'] ?? '', '/usr/local/sbin', '/usr/sbin', '/sbin'].join(delimiter);

/** Where distributions have the plugins that connect pods. */
const pluginFolders = ['/usr/lib/cni', '/opt/cni/bin', '/usr/libexec/cni'];

/** What a node needs beside Kubernetes: a file in one of the folders, and Debian's package that brings it. */
const needed = [
  { file: 'containerd', folders: programPath.split(delimiter), from: 'containerd' },
  { file: 'runc', folders: programPath.split(delimiter), from: 'runc' },
  { file: 'iptables', folders: programPath.split(delimiter), from: 'iptables' },
  { file: 'ip', folders: programPath.split(delimiter), from: 'iproute2' },
  { file: 'bridge', folders: pluginFolders, from: 'containernetworking-plugins' },
];

/**
 * The folder of the network plugins. As root on Debian the packages that are missing are installed; no service is started of them.
 * Throws, with what to install, elsewhere, and where a node could not be run.
 */
export async function ensureNodePackages(onProgress: OnProgress = () => undefined): Promise<string> {
  if (process.platform !== 'linux') throw new Error(`a Kubernetes node runs on Linux, not on ${process.platform}`);
  if (process.getuid?.() !== 0)
    throw new Error('a Kubernetes node is started by root alone: sudo npm run test:cluster');
  for (const { file, folders, from } of needed) {
    if ((await find(file, folders)) !== null) continue;
    await installDebianPackage(from, onProgress);
    if ((await find(file, folders)) === null) throw new Error(`${from} is installed, and brought no ${file}`);
  }
  const plugins = await find('bridge', pluginFolders);
  if (plugins === null) throw new Error('the network plugins are gone: install containernetworking-plugins');
  return plugins;
}

/** The first of the folders that has the program. */
async function find(program: string, folders: readonly string[]): Promise<string | null> {
  for (const folder of folders) {
    const isThere = await access(join(folder, program), constants.X_OK).then(
      () => true,
      () => false,
    );
    if (folder !== '' && isThere) return folder;
  }
  return null;
}
