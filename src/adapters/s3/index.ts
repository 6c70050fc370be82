/** Backups in S3-compatible storage. */
import type { TargetKey } from '../../api/target.ts';
import type { BackupStore, Home, Owner } from '../../rollback/ports.ts';
import { createKnown, type Known } from '../storage/known.ts';
import { ObjectStore } from '../storage/object-store.ts';
import { perTarget } from '../storage/per-target.ts';
import { openBucket, type S3Storage } from './client.ts';

/** Of one process. */
export interface Buckets {
  /** Asks the service nothing yet. Throws SecretNotFound. */
  open(storage: S3Storage, owner: Owner, secrets: Pick<Home, 'resolve'>): Promise<BackupStore>;
  letGo(target: TargetKey): void;
}

/** A request for the list and one for each backup, at every look at every target, would be most of what is asked of a service. */
const oldestMs = 60 * 60_000;

export function createBuckets(): Buckets {
  const opened = perTarget<Known>();
  return {
    async open(storage, owner, secrets) {
      const named = JSON.stringify([storage, owner.uid, owner.serviceAccountName]);
      const known = opened.keep(owner, named, () => createKnown(oldestMs));
      return new ObjectStore(await openBucket(storage, owner, secrets), owner, known);
    },
    letGo: opened.letGo,
  };
}
