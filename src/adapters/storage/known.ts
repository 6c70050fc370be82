/** What this process knows of a catalogue, where asking for it costs requests, or a Job. */
import type { BackupStore } from '../../rollback/ports.ts';
import type { Database } from './common-store.ts';
import type { ObjectPlace } from './object-place.ts';

export type Catalogue = Awaited<ReturnType<BackupStore['list']>>;

/** What is known of one target's backups, for as long as the process lives. */
export interface Known {
  /** Takes the place's changes to be what they are: after one, the catalogue has to be read. */
  watching(place: ObjectPlace): ObjectPlace;
  catalogue(read: () => Promise<Catalogue>, options: { readonly mayBeOld: boolean }): Promise<Catalogue>;
  /** Restores that were done, by `restoreKey`: no one undoes that. */
  readonly restored: Set<string>;
}

/** `oldestMs`: what others changed is seen after so long at the latest. */
export function createKnown(oldestMs: number, now: () => number = () => performance.now()): Known {
  let changes = 0;
  let last: { readonly catalogue: Catalogue; readonly changes: number; readonly at: number } | null = null;
  const changing = async <T>(work: Promise<T>): Promise<T> => {
    changes += 1;
    try {
      return await work;
    } finally {
      changes += 1;
    }
  };
  return {
    watching: (place) => ({
      list: (...args) => place.list(...args),
      read: (...args) => place.read(...args),
      abandonUploads: (...args) => place.abandonUploads(...args),
      download: (...args) => place.download(...args),
      freeBytes: () => place.freeBytes(),
      nameOf: (...args) => place.nameOf(...args),
      looking: (...args) => place.looking(...args),
      removing: (...args) => place.removing(...args),
      removingAll: (...args) => place.removingAll(...args),
      write: (...args) => changing(place.write(...args)),
      remove: (...args) => changing(place.remove(...args)),
      upload: (...args) => changing(place.upload(...args)),
    }),
    async catalogue(read, { mayBeOld }) {
      const isGood = last !== null && last.changes === changes && now() - last.at < oldestMs;
      if (mayBeOld && isGood && last !== null) return last.catalogue;
      const begun = changes;
      const catalogue = await read();
      last = { catalogue, changes: begun, at: now() };
      return catalogue;
    },
    restored: new Set(),
  };
}

export const restoreKey = (id: string, { systemIdentifier, name }: Database): string =>
  `${id}\n${systemIdentifier}\n${name}`;
