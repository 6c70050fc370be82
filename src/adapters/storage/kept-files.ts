/** Small files beside the dumps: manifests, schemas, records. Wherever backups are kept, what is in them is the same. */
import { readdir, rm, stat, utimes } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errorCode } from './errors.ts';
import { onStorage } from './failures.ts';
import { ensureDirectory, readBounded, writeDurably } from './files.ts';

/** Paths are relative to where the backups are, with `/`. Each method throws StorageUnavailable. */
export interface KeptFiles {
  /** All of it; null: there is none. Throws a plain Error for one that is longer than `limit`, or is no file. */
  read(path: string, limit: number): Promise<Buffer | null>;
  /** Replaces it at once, and for good when this resolves. */
  write(path: string, content: string | Uint8Array): Promise<void>;
  /** As if it had been written again; false: that takes its content. */
  renew(path: string): Promise<boolean>;
  /** Those right in a folder; one that is missing is empty. `at`: when each was written or renewed, in ms. */
  list(folder: string): Promise<readonly { readonly name: string; readonly at: number }[]>;
  /** What is not there is removed already. */
  remove(path: string): Promise<void>;
  /** For messages: its whole name, and what to type to look at a folder, and to remove a file. */
  nameOf(path: string): string;
  looking(folder: string): string;
  removing(path: string): string;
}

export function keptInDirectory(root: string): KeptFiles {
  const missing = (error: unknown): null => {
    if (errorCode(error) === 'ENOENT') return null;
    throw error;
  };
  const at = (path: string): string => join(root, path);
  return {
    read: (path, limit) => onStorage(root, () => readBounded(at(path), limit).catch(missing)),
    write: (path, content) =>
      onStorage(root, async () => {
        await ensureDirectory(dirname(at(path)));
        await writeDurably(at(path), content);
      }),
    renew: (path) =>
      onStorage(root, async () => {
        const now = new Date();
        return (await utimes(at(path), now, now).then(() => true, missing)) ?? false;
      }),
    list: (folder) =>
      onStorage(root, async () => {
        const names = (await readdir(at(folder)).catch(missing)) ?? [];
        const files = await Promise.all(
          names.map(async (name) => ({ name, at: (await stat(join(at(folder), name)).catch(missing))?.mtimeMs ?? 0 })),
        );
        return files;
      }),
    remove: (path) => onStorage(root, () => rm(at(path), { force: true })),
    nameOf: at,
    looking: (folder) => `ls -la '${at(folder)}'`,
    removing: (path) => `rm '${at(path)}'`,
  };
}
