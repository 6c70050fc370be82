import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isNativeError } from 'node:util/types';
import { Failure, retry } from '../../rollback/errors.ts';
import { errorCode } from './errors.ts';
import { NotWritten } from './files.ts';

/** Free bytes for us on the disk of `path` or of its nearest parent that exists; null: can't be known. */
export async function freeBytesAt(path: string): Promise<number | null> {
  try {
    const disk = await statfs(path);
    return disk.bavail * disk.bsize;
  } catch (error) {
    if (errorCode(error) === 'ENOENT' && dirname(path) !== path) return freeBytesAt(dirname(path));
    return null;
  }
}

/** What the operating system said about the storage, as `StorageUnavailable`; other errors are returned as they are. */
export async function storageFailure(thrown: unknown, root: string): Promise<unknown> {
  const error = thrown instanceof NotWritten ? thrown.cause : thrown;
  const need = thrown instanceof NotWritten ? thrown.bytes : null;
  const code = errorCode(error);
  if (error instanceof Failure || code === null) return error;
  const detail = isNativeError(error) ? error.message : code;
  const say = (what: string, remedy: string) =>
    retry(
      'StorageUnavailable',
      `The backup folder ${root} ${what} (${detail}). ${remedy}; it is tried again by itself.`,
      error,
    );
  switch (code) {
    case 'ENOSPC':
    case 'EDQUOT': {
      const free = await freeBytesAt(root);
      const needed = need === null ? 'an unknown number of bytes' : `${need} bytes`;
      return say(
        `is full: ${needed} needed, ${free ?? 'an unknown number'} free`,
        'Make room there, or declare another folder in spec.backup.storage.directory.path',
      );
    }
    case 'EACCES':
    case 'EPERM':
      return say(
        `is not open to user ${process.getuid?.() ?? 'of this process'}`,
        `Grant the right: chown ${process.getuid?.() ?? 'USER'} '${root}' && chmod 700 '${root}'`,
      );
    case 'EROFS':
      return say('is read-only', 'Mount it writable, or declare another folder in spec.backup.storage.directory.path');
    case 'ENOTDIR':
    case 'EEXIST':
      return say('is no folder', 'Declare a folder in spec.backup.storage.directory.path');
    default:
      return say('can not be used', `Look at it: ls -la '${root}'`);
  }
}

/** Runs `work` on the storage: what the operating system refuses becomes `StorageUnavailable`. */
export async function onStorage<T>(root: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw await storageFailure(error, root);
  }
}
