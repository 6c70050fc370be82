/** The backups of one target in a volume, without asking it for what is known already: each question may cost a Job. */
import type { TargetKey } from '../../api/target.ts';
import type { BackupStore } from '../../rollback/ports.ts';
import type { Database } from '../storage/common-store.ts';
import type { ObjectPlace } from '../storage/object-place.ts';
import { ObjectStore } from '../storage/object-store.ts';

type Catalogue = Awaited<ReturnType<BackupStore['list']>>;

/** What others changed is seen after so long at the latest. */
const oldestMs = 24 * 60 * 60 * 1000;

/** What is known of one target's backups, for as long as the process lives. */
export interface Known {
  /** Takes the place's changes to be what they are: after one, the catalogue has to be read. */
  watching(place: ObjectPlace): ObjectPlace;
  catalogue(read: () => Promise<Catalogue>, options: { readonly mayBeOld: boolean }): Promise<Catalogue>;
  /** Restores that were done: no one undoes that. */
  readonly restored: Set<string>;
}

export function createKnown(now: () => number = () => performance.now()): Known {
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
      ...place,
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

export class VolumeStore extends ObjectStore {
  readonly #known: Known;

  constructor(place: ObjectPlace, target: TargetKey, known: Known) {
    super(known.watching(place), target);
    this.#known = known;
  }

  override list({ mayBeOld = false } = {}): Promise<Catalogue> {
    return this.#known.catalogue(() => super.list(), { mayBeOld });
  }

  override async recordRestore(id: string, database: Database, state: 'intended' | 'done'): Promise<void> {
    await super.recordRestore(id, database, state);
    if (state === 'done') this.#known.restored.add(restoreKey(id, database));
    else this.#known.restored.delete(restoreKey(id, database));
  }

  /** Asked for at each visit while `spec.restoreFrom` is declared. */
  override async restoreRecord(id: string, database: Database): Promise<'intended' | 'done' | null> {
    if (this.#known.restored.has(restoreKey(id, database))) return 'done';
    const found = await super.restoreRecord(id, database);
    if (found === 'done') this.#known.restored.add(restoreKey(id, database));
    return found;
  }
}

const restoreKey = (id: string, { systemIdentifier, name }: Database): string => `${id}\n${systemIdentifier}\n${name}`;
