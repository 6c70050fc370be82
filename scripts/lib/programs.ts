import { access, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';

import type { OnProgress } from './cache.ts';
import { installDebianPackage } from './debian.ts';

/** What runs containers is found where Debian has it, whatever PATH the tests were started with. */
export const programPath = [process.env['PATH'] ?? '', '/usr/local/sbin', '/usr/sbin', '/sbin'].join(delimiter);

export interface NeededProgram {
  readonly file: string;
  /** Left out: those of `programPath`. */
  readonly folders?: readonly string[];
  /** Debian's package that brings it. */
  readonly from: string;
}

/** The program's path. As root on Debian its package is installed where it is missing; else it throws, with what to install. */
export async function ensureProgram(
  { file, folders = programPath.split(delimiter), from }: NeededProgram,
  onProgress: OnProgress,
): Promise<string> {
  const found = await find(file, folders);
  if (found !== null) return found;
  await installDebianPackage(from, onProgress);
  const installed = await find(file, folders);
  if (installed === null) throw new Error(`${from} is installed, and brought no ${file}`);
  return installed;
}

/** In the first of the folders that has it. */
async function find(file: string, folders: readonly string[]): Promise<string | null> {
  for (const folder of folders) {
    const path = join(folder, file);
    const isThere = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (folder !== '' && isThere) return path;
  }
  return null;
}
