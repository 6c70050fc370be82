/** Backups in S3-compatible storage. */
import type { BackupStore, Home, Owner } from '../../rollback/ports.ts';
import { ObjectStore } from '../storage/object-store.ts';
import { openBucket, type S3Storage } from './client.ts';

/** Asks the service nothing yet. Throws SecretNotFound. */
export const openS3Store = async (
  storage: S3Storage,
  owner: Owner,
  secrets: Pick<Home, 'resolve'>,
): Promise<BackupStore> => new ObjectStore(await openBucket(storage, owner, secrets), owner);
