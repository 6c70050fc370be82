/** A folder of dumps that somebody else's scripts fill: it is read, and nothing in it is ever changed. */
import { constants } from 'node:fs';
import { lstat, open, readdir, realpath } from 'node:fs/promises';
import { basename, join, relative, resolve } from 'node:path';
import { isNativeError } from 'node:util/types';
import { stalled, type Failure } from '../../rollback/errors.ts';
import type { DumpFile, DumpFolder, FoundDump } from '../../rollback/import-in-place.ts';
import { errorCode } from './errors.ts';
import { fingerprint } from './files.ts';
import { otherFormats } from './plain-backup.ts';

/** What the file's content is, is told by its content. */
const isNamedLikeADump = (name: string): boolean => /\.(sql|sql\.gz|dump)$/i.test(name);

/** Throws BackupNotFound, BackupInvalid where the folder itself can't be read; what is the matter with a file is told of the file. */
export async function openDumpFolder(dir: string): Promise<DumpFolder> {
  const said = resolve(dir);
  let root: string;
  let names: readonly string[];
  try {
    root = await realpath(said);
    names = await readdir(root);
  } catch (error) {
    throw folderFailure(said, error);
  }
  const dumps = names.filter(isNamedLikeADump).toSorted();
  return {
    path: root,
    found: await Promise.all(dumps.map((name) => look(root, name))),
    others: names.length - dumps.length,
  };
}

function folderFailure(path: string, error: unknown): Failure {
  switch (errorCode(error)) {
    case 'ENOENT':
      return stalled(
        'BackupNotFound',
        `There is no folder ${path}. Name the one with the dumps: ls -d '${path}'*`,
        error,
      );
    case 'ENOTDIR':
      return stalled(
        'BackupInvalid',
        `${path} is no folder. To restore one file: migration-target restore NAME '${path}'`,
        error,
      );
    default:
      return stalled(
        'BackupInvalid',
        `The folder ${path} can't be read: ${isNativeError(error) ? error.message : String(error)}. Look at it: ls -ld '${path}'`,
        error,
      );
  }
}

async function look(root: string, name: string): Promise<FoundDump> {
  const path = join(root, name);
  const unusable = (because: string): FoundDump => ({ kind: 'unusable', name, because });
  try {
    const stat = await lstat(path);
    if (stat.isSymbolicLink()) return unusable(await linkText(root, path));
    if (!stat.isFile()) return unusable(stat.isDirectory() ? 'it is a folder' : 'it is not a regular file');
    if (stat.size === 0) return unusable('it is empty: its backup failed');
    const begin = await firstBytes(path);
    const other = otherFormats.find(({ magic }) => begin.subarray(0, magic.length).equals(magic));
    if (other?.readable === false) return unusable(`it is ${other.is}. ${other.remedy} '${path}'`);
    const dump: DumpFile = {
      path,
      name,
      sizeBytes: stat.size,
      modifiedAt: stat.mtime,
      format: other?.format ?? 'plain',
      fingerprint: () => fingerprint(path),
      isUnchanged: async () => {
        const now = await lstat(path);
        return now.size === stat.size && now.mtimeMs === stat.mtimeMs && now.ino === stat.ino;
      },
    };
    return { kind: 'dump', dump };
  } catch (error) {
    const code = errorCode(error);
    if (code === null) throw error;
    return unusable(
      code === 'EACCES' || code === 'EPERM'
        ? `user ${process.getuid?.() ?? 'of this process'} may not read it`
        : `it can't be read (${code})`,
    );
  }
}

/** Links are not followed: what they lead to can be exchanged by whoever may write there. */
async function linkText(root: string, path: string): Promise<string> {
  const target = await realpath(path).catch(() => null);
  if (target === null) return 'it is a symbolic link that leads nowhere';
  return relative(root, target).startsWith('..')
    ? `it is a symbolic link out of the folder, to ${target}. Import the folder with the file itself`
    : `it is a symbolic link to ${basename(target)}`;
}

async function firstBytes(path: string): Promise<Buffer> {
  await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  const { buffer, bytesRead } = await file.read(Buffer.alloc(8), 0, 8, 0);
  return buffer.subarray(0, bytesRead);
}
