import type { MigrationTarget } from '../api/target.ts';
import type { BackupStore, Ports } from './ports.ts';
import { ownerOf } from './visit.ts';

/** The backups of a target, where it declares them to be. Throws as `BackupStores.open` does. */
export const openStore = (
  target: MigrationTarget,
  { backups, home }: Pick<Ports, 'backups' | 'home'>,
): Promise<BackupStore> => backups.open(target.spec.backup.storage, ownerOf(target), home);
