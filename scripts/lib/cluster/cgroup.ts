import { access, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';

import { runOrThrow } from '../run.ts';

const ROOT = '/sys/fs/cgroup';
const PREFIX = 'migration-target-node-';

/** A control group that all pods of a node are in. */
export interface Cgroup {
  /** As the kubelet is told: `/name`. */
  readonly path: string;
  /** Once nothing runs in it. */
  remove(): Promise<void>;
}

/** Makes it, in each hierarchy that there is, and removes those that killed runs left: they are called by their process. */
export async function createCgroup(): Promise<Cgroup> {
  const hierarchies = await findHierarchies();
  for (const hierarchy of hierarchies) {
    for (const name of await readdir(hierarchy)) {
      if (name.startsWith(PREFIX) && !(await exists(`/proc/${name.slice(PREFIX.length)}`)))
        await remove(join(hierarchy, name));
    }
  }
  const name = `${PREFIX}${process.pid}`;
  for (const hierarchy of hierarchies) await mkdir(join(hierarchy, name));
  return {
    path: `/${name}`,
    async remove() {
      for (const hierarchy of hierarchies) await remove(join(hierarchy, name));
    },
  };
}

/** One (version 2), or one for each controller. */
async function findHierarchies(): Promise<readonly string[]> {
  if (await exists(join(ROOT, 'cgroup.procs'))) return [ROOT];
  const found: string[] = [];
  for (const entry of await readdir(ROOT, { withFileTypes: true })) {
    if (entry.isDirectory() && (await exists(join(ROOT, entry.name, 'cgroup.procs'))))
      found.push(join(ROOT, entry.name));
  }
  return found;
}

/** Folders alone can be removed, the inner ones first. */
async function remove(cgroup: string): Promise<void> {
  await runOrThrow('find', [cgroup, '-depth', '-type', 'd', '-delete']);
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );
