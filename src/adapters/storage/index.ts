import { stalled } from '../../rollback/errors.ts';
import type { BackupStores } from '../../rollback/ports.ts';
import type { Buckets } from '../s3/index.ts';
import type { Volumes } from '../volume/index.ts';
import { DirectoryStore } from './directory-store.ts';

export { newBackupId } from './backup-id.ts';
export { openDumpFolder } from './dump-folder.ts';
export { plainBackup, type PlainBackup } from './plain-backup.ts';

/** The storages that `spec.backup.storage` can name. `volumes`: those of a cluster, opened when one is first named. */
export function createBackupStores(volumes?: () => Promise<Pick<Volumes, 'open' | 'letGo'>>): BackupStores {
  let buckets: Buckets | null = null;
  let claims: ReturnType<NonNullable<typeof volumes>> | null = null;
  return {
    async open(storage, target, secrets) {
      if (storage.s3 !== undefined) {
        const { createBuckets } = await import('../s3/index.ts');
        buckets ??= createBuckets();
        return buckets.open(storage.s3, target, secrets);
      }
      if (storage.persistentVolumeClaim !== undefined && volumes !== undefined)
        return (await (claims ??= volumes())).open(storage.persistentVolumeClaim, target);
      const path = storage.directory?.path;
      if (path === undefined) {
        const named = Object.keys(storage).join(', ') || 'nothing';
        throw stalled(
          'NotSupported',
          `spec.backup.storage of ${target.namespace}/${target.name} names ${named}, and backups are stored ` +
            'in a directory or a bucket only here. Write instead: storage: {directory: {path: /var/backups/database}}',
        );
      }
      return new DirectoryStore(path, target);
    },
    async letGo(target) {
      buckets?.letGo(target);
      (await claims)?.letGo(target);
    },
  };
}
