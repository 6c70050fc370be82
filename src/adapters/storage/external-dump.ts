/** A dump outside the catalogue's folder: others may change it or take it away, so it is looked at before it is used. */
import { lstat } from 'node:fs/promises';
import type { ExternalDump } from '../../rollback/model.ts';
import { errorCode } from './errors.ts';
import { fingerprint } from './files.ts';
import { BackupProblem } from './manifest.ts';

/** Throws BackupProblem where a glance tells that it is another file than the one that was imported. */
export async function assertExternalSize({ path, bytes }: ExternalDump): Promise<void> {
  const found = await orGone(path, () => lstat(path));
  if (found.isSymbolicLink()) throw new BackupProblem(`its dump ${path} is a symbolic link now`);
  if (!found.isFile()) throw new BackupProblem(`its dump ${path} is not a regular file any more`);
  if (found.size !== bytes)
    throw new BackupProblem(
      `its dump ${path} was changed since it was imported: ${found.size} bytes instead of ${bytes}`,
    );
}

/** Reads all of it. Throws BackupProblem where it is not what was imported. */
export async function assertExternalUnchanged(external: ExternalDump): Promise<void> {
  await assertExternalSize(external);
  const { sha256 } = await orGone(external.path, () => fingerprint(external.path));
  if (sha256 !== external.sha256)
    throw new BackupProblem(`its dump ${external.path} was changed since it was imported: it has another checksum`);
}

async function orGone<T>(path: string, look: () => Promise<T>): Promise<T> {
  try {
    return await look();
  } catch (error) {
    const code = errorCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR')
      throw new BackupProblem(`its dump ${path} is gone: somebody moved or removed it`, { cause: error });
    if (code === 'EACCES' || code === 'EPERM')
      throw new BackupProblem(`its dump ${path} can't be read by user ${process.getuid?.() ?? 'of this process'}`, {
        cause: error,
      });
    throw error;
  }
}
