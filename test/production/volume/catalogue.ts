/** A catalogue in a folder that an agent serves, as a process of this machine instead of a Job's. */
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll } from '@jest/globals';

import { localLauncher } from '../../../src/adapters/process/local.ts';
import type { Launcher } from '../../../src/adapters/process/launcher.ts';
import { temporaryName } from '../../../src/adapters/storage/files.ts';
import { createVolumes, type VolumeAgent } from '../../../src/adapters/volume/index.ts';
import type { BackupStore } from '../../../src/rollback/ports.ts';
import { target } from '../../unit/storage/samples.ts';
import { adding, type ObjectCatalogue } from '../s3/catalogue.ts';

const ending: (() => Promise<unknown>)[] = [];
afterAll(async () => void (await Promise.all(ending.map((end) => end()))));

/** That goes after the last test. */
export async function temporaryFolder(): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'mt-volume-'));
  ending.push(() => rm(root, { recursive: true, force: true }));
  return root;
}

const main = join(import.meta.dirname, '../../../src/main.ts');

export const agentOf = (
  root: string,
  launcher: Launcher = localLauncher({ environment: {}, group: false }),
): VolumeAgent => ({ launcher, program: { program: process.execPath, args: [main, 'serve-volume', root], env: {} } });

/** Ended after the last test. `path`: in the volume. */
export function openVolume(agent: VolumeAgent, { path = '/', idleMs = 60_000 } = {}): BackupStore {
  const volumes = createVolumes(() => agent, idleMs);
  ending.push(async () => volumes[Symbol.asyncDispose]());
  return volumes.open({ claimName: 'backups', path }, target);
}

export interface VolumeCatalogue extends ObjectCatalogue {
  readonly root: string;
}

export async function volumeCatalogue(path = ''): Promise<VolumeCatalogue> {
  const root = await temporaryFolder();
  const store = openVolume(agentOf(root), { path: `/${path}` });
  const all = async (): Promise<readonly string[]> => {
    const found = await readdir(root, { recursive: true, withFileTypes: true });
    return found
      .filter((entry) => !entry.isDirectory())
      .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
      .toSorted();
  };
  const isUnfinished = (key: string): boolean => temporaryName.test(key.split('/').at(-1) ?? '');
  return {
    root,
    store,
    add: adding(store),
    objects: {
      keys: async () => (await all()).filter((key) => !isUnfinished(key)),
      unfinished: async () => (await all()).filter(isUnfinished),
      put: async (key, content) => {
        await mkdir(dirname(join(root, key)), { recursive: true });
        await writeFile(join(root, key), content);
      },
      remove: (key) => rm(join(root, key)),
      looking: (folder) => `ls -laR '/${folder}' (in a pod that mounts it`,
      removing: (key) => `rm '/${key}' (in a pod that mounts it`,
    },
  };
}
