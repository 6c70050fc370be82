/** Backups in S3-compatible storage. */
import type { BackupStore, Home, Owner } from '../../rollback/ports.ts';
import { createKnown, type Known } from '../storage/known.ts';
import { ObjectStore } from '../storage/object-store.ts';
import { openBucket, type S3Storage } from './client.ts';

/** Of one process. */
export interface Buckets {
  /** Asks the service nothing yet. Throws SecretNotFound. */
  open(storage: S3Storage, owner: Owner, secrets: Pick<Home, 'resolve'>): Promise<BackupStore>;
}

/** A request for the list and one for each backup, at every look at every target, would be most of what is asked of a service. */
const oldestMs = 60 * 60_000;

export function createBuckets(): Buckets {
  const opened = new Map<string, Known>();
  return {
    async open(storage, owner, secrets) {
      const whose = JSON.stringify([storage, owner.namespace, owner.name, owner.uid, owner.serviceAccountName]);
      const known = opened.get(whose) ?? createKnown(oldestMs);
      opened.set(whose, known);
      return new ObjectStore(await openBucket(storage, owner, secrets), owner, known);
    },
  };
}
