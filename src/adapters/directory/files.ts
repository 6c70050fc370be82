/** Files that are either there whole or not at all, whatever kills the process or the machine. */
import { randomUUID } from 'node:crypto';
import { link, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

const temporaryName = (file: string): string => join(dirname(file), `.${basename(file)}.${randomUUID()}.tmp`);

/** Replaces the file, durably: when this resolves, a power cut does not undo it. Makes the folders above it. */
export async function replaceFile(file: string, content: string, mode = 0o600): Promise<void> {
  await viaTemporaryFile(file, content, { mode, durably: true }, (temporary) => rename(temporary, file));
}

/**
 * Makes the file, durably unless said otherwise; false: it is there already, and was left alone. Of several at once, one
 * wins.
 */
export async function createFile(
  file: string,
  content: string,
  { mode = 0o600, durably = true }: Partial<Manner> = {},
): Promise<boolean> {
  let created = true;
  await viaTemporaryFile(file, content, { mode, durably }, async (temporary) => {
    try {
      await link(temporary, file);
    } catch (error) {
      if (!hasCode(error, 'EEXIST')) throw error;
      created = false;
    }
    await rm(temporary);
  });
  return created;
}

/** Its content, or null where there is no such file. */
export async function readIfThere(file: string): Promise<string | null> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return null;
    throw error;
  }
}

/** Makes the folder, and those above it, durably; the project's own are nobody else's to read. */
export async function makeFolder(folder: string, mode = 0o700): Promise<void> {
  const first = await mkdir(folder, { recursive: true, mode });
  if (first === undefined) return;
  const parents: string[] = [];
  for (let made = folder; made.length >= first.length; made = dirname(made)) parents.push(dirname(made));
  // At once, so that the disk has to be waited for once.
  await Promise.all(parents.map(syncFolder));
}

/** Removes what writers left in the folder that were killed in the middle: a file is written within much less time. */
export async function removeLeftovers(folder: string, now: Date, olderThanMs = 60_000): Promise<void> {
  const names = (await readdir(folder)).filter((name) => name.startsWith('.') && name.endsWith('.tmp'));
  for (const name of names) {
    const file = join(folder, name);
    const { mtimeMs } = await stat(file).catch(() => ({ mtimeMs: Infinity }));
    if (now.getTime() - mtimeMs > olderThanMs) await rm(file, { force: true });
  }
}

/** Makes what was renamed, linked or removed in the folder survive a power cut. */
export async function syncFolder(folder: string): Promise<void> {
  await using handle = await open(folder, 'r');
  await handle.sync();
}

/** Told by its code, as Node's errors are: their class differs from one realm to another. */
export const hasCode = (error: unknown, ...codes: readonly string[]): boolean =>
  typeof error === 'object' &&
  error !== null &&
  'code' in error &&
  typeof error.code === 'string' &&
  codes.includes(error.code);

interface Manner {
  readonly mode: number;
  /** Whether it outlives a power cut: what only living processes care about need not. */
  readonly durably: boolean;
}

async function viaTemporaryFile(
  file: string,
  content: string,
  { mode, durably }: Manner,
  publish: (temporary: string) => Promise<void>,
): Promise<void> {
  await makeFolder(dirname(file));
  const temporary = temporaryName(file);
  try {
    await using handle = await open(temporary, 'wx', mode);
    await handle.writeFile(content);
    if (durably) await handle.sync();
    await publish(temporary);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  if (durably) await syncFolder(dirname(file));
}
