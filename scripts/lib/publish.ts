import { mkdir, readdir, readlink, rm, symlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { randomBytes } from 'node:crypto';

/**
 * Makes the folder `path` of the cache appear whole or not at all, without a lock: `build` fills a folder of its own beside it, and `path`
 * becomes a symbolic link to that in one step. Of several callers the first to finish wins, and the others use its folder.
 * (A link, not a rename, as virtual environments hold their own path.) What killed runs left behind is removed.
 */
export async function publish(path: string, build: (dir: string) => Promise<void>): Promise<void> {
  const parent = dirname(path);
  await mkdir(parent, { recursive: true, mode: 0o755 }).catch((cause: unknown) => {
    throw new Error(`cannot make the folder ${parent}: set MIGRATION_TARGET_CACHE to one that you may write to`, {
      cause,
    });
  });
  await removeAbandoned(path);
  const own = `${basename(path)}.build-${process.pid}-${randomBytes(4).toString('hex')}`;
  const dir = join(parent, own);
  try {
    await mkdir(dir, { mode: 0o755 });
    await build(dir);
    await symlink(own, path);
  } catch (error) {
    await rm(dir, { recursive: true, force: true });
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
  }
}

async function removeAbandoned(path: string): Promise<void> {
  const parent = dirname(path);
  const prefix = `${basename(path)}.build-`;
  const published = await readlink(path).catch(() => null);
  for (const entry of await readdir(parent)) {
    if (!entry.startsWith(prefix) || entry === published) continue;
    const pid = Number(entry.slice(prefix.length).split('-')[0]);
    if (!isAlive(pid)) await rm(join(parent, entry), { recursive: true, force: true });
  }
  // A link to a folder that somebody removed.
  if (published !== null && !(await readdir(path).catch(() => null))) await rm(path, { force: true });
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
