import { access, readFile, writeFile } from 'node:fs/promises';

import type { OnProgress } from './cache.ts';
import { runOrThrow } from './run.ts';

/** Installs a package as root on Debian or Ubuntu. Throws, with the command to type, for others and elsewhere. */
export async function installDebianPackage(name: string, onProgress: OnProgress): Promise<void> {
  const hasApt = await access('/usr/bin/apt-get').then(
    () => true,
    () => false,
  );
  if (!hasApt) throw new Error(`${name} is not installed, and this is not Debian: install what corresponds to it`);
  if (process.getuid?.() !== 0) throw new Error(`${name} is not installed: sudo apt-get install ${name}`);

  onProgress(`installing ${name} with apt-get`);
  // Run level 1: what the package brings of services is not started.
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  const install = (wanted: string) =>
    runOrThrow('apt-get', ['install', '-y', '-q', '--no-install-recommends', wanted], { env });
  await runOrThrow('apt-get', ['update', '-q'], { env });
  if (name.startsWith('postgresql-')) {
    // The package would otherwise make and start a server of its own.
    await install('postgresql-common');
    const settings = '/etc/postgresql-common/createcluster.conf';
    await writeFile(settings, `${await readFile(settings, 'utf8')}\ncreate_main_cluster = false\n`);
  }
  await install(name);
}
