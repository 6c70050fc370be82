import { stalled } from '../../rollback/errors.ts';
import type { BackupStores } from '../../rollback/ports.ts';
import { DirectoryStore } from './directory-store.ts';

export { newBackupId } from './backup-id.ts';
export { plainBackup, type PlainBackup } from './plain-backup.ts';

/** The storages that `spec.backup.storage` can name; so far a directory. */
export function createBackupStores(): BackupStores {
  return {
    async open(storage, target) {
      const path = storage.directory?.path;
      if (path === undefined) {
        const named = Object.keys(storage).join(', ') || 'nothing';
        throw stalled(
          'NotSupported',
          `spec.backup.storage of ${target.namespace}/${target.name} names ${named}, and this version stores backups ` +
            'in a directory only. Write instead: storage: {directory: {path: /var/backups/database}}',
        );
      }
      return new DirectoryStore(path, target);
    },
  };
}
