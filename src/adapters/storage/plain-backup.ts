import { constants } from 'node:fs';
import { lstat, open } from 'node:fs/promises';
import { resolve } from 'node:path';
import { isNativeError } from 'node:util/types';
import { stalled, type Failure } from '../../rollback/errors.ts';
import { errorCode } from './errors.ts';
import { fingerprint } from './files.ts';

/** A dump in SQL that lies in no catalogue, as `pg_dump` without `-F` and the scripts of old make it. */
export interface PlainBackup {
  /** Absolute. */
  readonly path: string;
  readonly format: 'plain';
  readonly sizeBytes: number;
  /** Hex. */
  readonly sha256: string;
}

const invalid = (path: string, why: string, remedy: string, cause?: unknown): Failure =>
  stalled('BackupInvalid', `${path} can't be restored: ${why}. ${remedy}`, cause);

/** What other kinds of files than SQL begin with, what to do with them, and as what they can be imported where they lie. */
export const otherFormats: readonly {
  readonly magic: Buffer;
  readonly is: string;
  readonly remedy: string;
  readonly readable: boolean;
  readonly format: 'plain' | 'custom';
}[] = [
  {
    magic: Buffer.from('PGDMP'),
    is: 'a dump in pg_dump’s custom format',
    remedy: 'Make SQL of it: pg_restore -f FILE.sql',
    readable: true,
    format: 'custom',
  },
  {
    magic: Buffer.from([0x1f, 0x8b]),
    is: 'compressed by gzip',
    remedy: 'Unpack it: gunzip -k',
    readable: true,
    format: 'plain',
  },
  {
    magic: Buffer.from([0x28, 0xb5, 0x2f, 0xfd]),
    is: 'compressed by zstd',
    remedy: 'Unpack it: unzstd',
    readable: false,
    format: 'plain',
  },
];

/**
 * Describes a plain `.sql` file, reading it once.
 * Throws BackupNotFound where there is none, BackupInvalid for a link, a folder, an empty file, or another format.
 */
export async function plainBackup(file: string): Promise<PlainBackup> {
  const path = resolve(file);
  try {
    const stat = await lstat(path);
    if (stat.isSymbolicLink())
      throw invalid(path, 'it is a symbolic link', `Name the file itself: readlink -f '${path}'`);
    if (stat.isDirectory()) {
      throw invalid(
        path,
        'it is a folder',
        `Take the dumps in it into the catalogue: migration-target backups import NAME '${path}'`,
      );
    }
    if (!stat.isFile()) throw invalid(path, 'it is not a regular file', 'Name a .sql file');
    if (stat.size === 0) throw invalid(path, 'it is empty', 'Name another, and see why its backup failed');
    const begin = await firstBytes(path);
    const other = otherFormats.find(({ magic }) => begin.subarray(0, magic.length).equals(magic));
    if (other !== undefined) throw invalid(path, `it is ${other.is}`, `${other.remedy} '${path}'`);
    const { bytes, sha256 } = await fingerprint(path);
    return { path, format: 'plain', sizeBytes: bytes, sha256 };
  } catch (error) {
    const code = errorCode(error);
    if (code === null) throw error;
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      throw stalled(
        'BackupNotFound',
        `There is no file ${path}. See the catalogue: migration-target backups NAME`,
        error,
      );
    }
    throw invalid(path, isNativeError(error) ? error.message : code, `Look at it: ls -l '${path}'`, error);
  }
}

async function firstBytes(path: string): Promise<Buffer> {
  await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  const { buffer, bytesRead } = await file.read(Buffer.alloc(8), 0, 8, 0);
  return buffer.subarray(0, bytesRead);
}
