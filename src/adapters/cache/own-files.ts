/** Files that we wrote and nobody else could have: a cache, which may be missing or damaged at any time. */
import { createHash, randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { lstat, mkdir, open, rename, rm, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import type { BigIntStats } from 'node:fs';
import { debuglog } from 'node:util';

const debug = debuglog('migration-target');

/**
 * A folder below the one where bin/migration-target keeps what Node compiled, which is that of scripts/lib/cache.ts;
 * `chosen`: in its place. null: neither is an absolute path.
 */
export function cacheFolder(name: string, chosen?: string): string | null {
  const { env } = process;
  const folder = chosen || join(env['MIGRATION_TARGET_CACHE'] || usualCache(env), name);
  return isAbsolute(folder) ? folder : null;
}

function usualCache(env: NodeJS.ProcessEnv): string {
  if (process.getuid?.() === 0) return '/var/cache/migration-target';
  return join(env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'migration-target');
}

/** null where the work fails, whatever it is. `what`: for whoever debugs, e.g. `graphs`. */
export async function quietly<T>(what: string, work: () => Promise<T>): Promise<T | null> {
  try {
    return await work();
  } catch (error) {
    debug('%s are not remembered: %s', what, error);
    return null;
  }
}

/** Makes it where it is missing. */
export async function ensureOurs(folder: string): Promise<void> {
  await mkdir(join(folder, '..'), { recursive: true });
  await mkdir(folder, { mode: 0o700 }).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  });
  await assertOurs(folder);
}

/** Nobody else may have written it. */
export async function assertOurs(folder: string): Promise<void> {
  const found = await lstat(folder);
  if (!found.isDirectory() || !isOnlyOurs(found)) throw new Error(`${folder} is no folder that only we may write to`);
}

const isOnlyOurs = ({ uid, mode }: { readonly uid: number; readonly mode: number }): boolean =>
  uid === process.getuid?.() && (mode & 0o022) === 0;

/** Its first line is the digest of the rest. */
export async function readOurs(file: string): Promise<unknown> {
  const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    if (!isOnlyOurs(await handle.stat())) throw new Error(`${file} may have been written by somebody else`);
    const text = await handle.readFile('utf8');
    const end = text.indexOf('\n');
    const content = text.slice(end + 1);
    if (text.slice(0, end) !== sha256(content)) throw new Error(`${file} is damaged`);
    return JSON.parse(content);
  } finally {
    await handle.close();
  }
}

export async function writeOurs(file: string, entry: unknown): Promise<void> {
  const content = JSON.stringify(entry);
  const draft = `${file}.${randomBytes(6).toString('hex')}`;
  try {
    await writeFile(draft, `${sha256(content)}\n${content}`, { mode: 0o600, flag: 'wx' });
    await rename(draft, file);
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
}

/** A file's identity, size and times. */
export const stampOf = ({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string =>
  [dev, ino, size, mtimeNs, ctimeNs].join(' ');

export const sha256 = (content: string | Buffer): string => createHash('sha256').update(content).digest('hex');
