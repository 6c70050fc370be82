/** Files below one folder, by keys: no key and no link leads out of it. */
import { constants } from 'node:fs';
import { lstat, open, readdir, rm, rmdir, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode } from '../storage/errors.ts';
import { freeBytesAt } from '../storage/failures.ts';
import {
  ensureDirectory,
  listTree,
  mapLimited,
  NotWritten,
  syncDirectory,
  temporaryName,
  writeDurably,
} from '../storage/files.ts';
import type { StoredObject } from '../storage/object-place.ts';

/** What a key names can't be used as a file, or is no key. */
export class NoFile extends Error {
  override readonly name = 'NoFile';
}

/** Each method throws NoFile, and what the operating system says. */
export interface Folder {
  /** All that begin so; `flat`: without those behind a further `/`. What is still being written is not told. */
  list(begin: string, flat: boolean): Promise<readonly StoredObject[]>;
  /** null: there is none. */
  open(key: string): Promise<{ readonly file: FileHandle; readonly bytes: number } | null>;
  /** Replaces it at once, and for good when this resolves; not at all where `content` throws. Throws NotWritten. */
  write(key: string, content: AsyncIterable<Uint8Array>): Promise<void>;
  /** For good when this resolves, and so are folders above it that are empty then. */
  remove(key: string): Promise<void>;
  /** What died while it was being written. */
  removeUnfinished(begin: string): Promise<void>;
  freeBytes(): Promise<number | null>;
}

/** Files looked at at a time. */
const parallel = 8;
/** How often another may remove an empty folder just before a file is made in it. */
const mostTries = 5;

export function folderAt(root: string): Folder {
  const pathOf = (parts: readonly string[]): string => join(root, ...parts);

  /** The keys of all that begin so. What goes meanwhile is left out. */
  async function find(begin: string, flat: boolean): Promise<readonly string[]> {
    const parts = begin.split('/');
    const above = parts.slice(0, -1);
    const first = parts.at(-1) ?? '';
    const folder = await followed(root, above, { make: false });
    if (folder === null) return [];
    const keys: string[] = [];
    for (const entry of (await readdir(folder, { withFileTypes: true }).catch(missing)) ?? []) {
      if (!entry.name.startsWith(first)) continue;
      const key = [...above, entry.name].join('/');
      if (!entry.isDirectory()) keys.push(key);
      else if (!flat)
        for (const { path, kind } of (await listTree(join(folder, entry.name)).catch(missing)) ?? [])
          if (kind !== 'directory') keys.push(`${key}/${path}`);
    }
    return keys;
  }

  async function remove(key: string): Promise<void> {
    const parts = partsOf(key);
    const folder = await followed(root, parts.slice(0, -1), { make: false });
    if (folder === null) return;
    await rm(pathOf(parts), { force: true });
    await syncDirectory(folder);
    await removeEmpty(root, parts.slice(0, -1));
  }

  return {
    async list(begin, flat) {
      const keys = (await find(begin, flat)).filter((key) => !isTemporary(key));
      const found = await mapLimited(keys, parallel, async (key) => {
        const stat = await lstat(pathOf(key.split('/'))).catch(missing);
        return stat === null ? [] : [{ key, bytes: stat.size, at: stat.mtimeMs }];
      });
      return found.flat().toSorted((a, b) => (a.key < b.key ? -1 : 1));
    },

    async open(key) {
      const parts = partsOf(key);
      if ((await followed(root, parts.slice(0, -1), { make: false })) === null) return null;
      const file = await open(pathOf(parts), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
        (error: unknown) => {
          if (errorCode(error) === 'ELOOP') throw new NoFile(`${key} is a symbolic link`);
          return missing(error);
        },
      );
      if (file === null) return null;
      const stat = await file.stat();
      if (stat.isFile()) return { file, bytes: stat.size };
      await file.close();
      throw new NoFile(`${key} is not a regular file`);
    },

    async write(key, content) {
      const parts = partsOf(key);
      if (isTemporary(key)) throw new NoFile(`${key} is named like what is being written`);
      for (let tries = 1; ; tries += 1) {
        await followed(root, parts.slice(0, -1), { make: true });
        try {
          return await writeDurably(pathOf(parts), content);
        } catch (error) {
          // Another removed the folder as an empty one: then nothing of the content was read yet.
          const isGone = error instanceof NotWritten && errorCode(error.cause) === 'ENOENT';
          if (!isGone || tries === mostTries) throw error;
        }
      }
    },

    remove,

    async removeUnfinished(begin) {
      for (const key of await find(begin, false)) if (isTemporary(key)) await remove(key);
      const above = begin.split('/').slice(0, -1);
      if ((await followed(root, above, { make: false })) !== null) await removeEmpty(root, above);
    },

    freeBytes: () => freeBytesAt(root),
  };
}

const isTemporary = (key: string): boolean => temporaryName.test(key.split('/').at(-1) ?? '');

function partsOf(key: string): readonly string[] {
  const parts = key.split('/');
  if (parts.some((part) => part === '' || part === '.' || part === '..' || part.includes('\0')))
    throw new NoFile(`${JSON.stringify(key)} is no key`);
  return parts;
}

/** The path of a folder, where each on the way is one, and no link; null: it is missing. */
async function followed(
  root: string,
  parts: readonly string[],
  { make }: { readonly make: boolean },
): Promise<string | null> {
  if (parts.length > 0) partsOf(parts.join('/'));
  let folder = root;
  for (const part of parts) {
    folder = join(folder, part);
    if (make) await ensureDirectory(folder);
    const stat = await lstat(folder).catch(missing);
    if (stat === null) return null;
    if (!stat.isDirectory())
      throw new NoFile(`${folder.slice(root.length + 1)} is a link or a file instead of a folder`);
  }
  return folder;
}

async function removeEmpty(root: string, parts: readonly string[]): Promise<void> {
  for (let depth = parts.length; depth > 0; depth -= 1) {
    try {
      await rmdir(join(root, ...parts.slice(0, depth)));
    } catch (error) {
      if (['ENOTEMPTY', 'EEXIST', 'ENOENT'].includes(errorCode(error) ?? '')) return;
      throw error;
    }
  }
}

function missing(error: unknown): null {
  if (errorCode(error) === 'ENOENT') return null;
  throw error;
}
