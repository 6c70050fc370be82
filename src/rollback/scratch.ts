/**
 * Scratch databases: what a backup is tried in, and a schema compared in. Each is journalled before it exists and until
 * it is gone, so that the next start drops what a dead one left.
 */
import type { OwnDatabase } from './model.ts';
import type { LiveDatabase } from './ports.ts';

export interface Scratch {
  readonly database: OwnDatabase;
  /** Resolves once it exists; what needs no database yet can go on meanwhile. */
  readonly created: Promise<unknown>;
}

export interface Scratches {
  /** Those that exist or may come to exist: what the journal has to name. */
  readonly names: () => readonly OwnDatabase[];
  /** Names as many for later, if there are not yet; true: the journal has to be told. */
  readonly reserve: (wanted: number) => Promise<boolean>;
  /** Begins to make a reserved one, while the server has little else to do. Only once the journal has it. */
  readonly createAhead: () => void;
  /** Hands out a reserved one, made or not, or a new one that `journal` writes down; afterwards it is dropped in the background. */
  readonly use: <T>(
    journal: () => Promise<unknown>,
    work: (scratch: Scratch) => Promise<T>,
    make?: (named: OwnDatabase) => Promise<unknown>,
  ) => Promise<T>;
  /** Has the one that is in use outlive its use, for the next step, until it is let go of. */
  readonly keep: (scratch: Scratch) => void;
  /** What was kept; null: nothing. */
  readonly kept: () => OwnDatabase | null;
  /** Drops what was kept, in the background. */
  readonly letGo: () => void;
  /** Drops all of them, and waits until they are gone. */
  readonly clear: () => Promise<void>;
  /** Waits for what goes on in the background. */
  readonly settled: () => Promise<void>;
}

export function createScratches(
  database: Pick<LiveDatabase, 'newDatabase' | 'createDatabase' | 'dropDatabase'>,
  operationId: string,
): Scratches {
  const names = new Map<number, OwnDatabase>();
  let reserved: { readonly named: OwnDatabase; readonly created: Promise<unknown> | null }[] = [];
  let background: Promise<unknown> = Promise.resolve();
  let count = 0;
  let held: OwnDatabase | null = null;

  /** A failure is told to whoever needs what comes of it; what could not be dropped `clear` tries again. */
  const inBackground = (work: Promise<unknown>): void => {
    background = Promise.allSettled([background, work]);
  };
  const name = async (): Promise<OwnDatabase> => {
    // Names that are only reserved are in no catalogue yet, so no two may be the same.
    const id = count === 0 ? operationId : `${operationId}${count}`;
    count += 1;
    const named = await database.newDatabase('scratch', id);
    names.set(named.oid, named);
    return named;
  };
  const empty = (named: OwnDatabase): Promise<unknown> => database.createDatabase(named, 'scratch');
  const create = (named: OwnDatabase, make = empty): Promise<unknown> => {
    const created = make(named);
    inBackground(created);
    return created;
  };
  const drop = async (named: OwnDatabase): Promise<void> => {
    await database.dropDatabase(named);
    names.delete(named.oid);
  };

  const letGo = (): void => {
    if (held !== null) inBackground(drop(held));
    held = null;
  };

  return {
    names: () => [...names.values()],
    async reserve(wanted) {
      const isEnough = reserved.length >= wanted;
      while (reserved.length < wanted) reserved.push({ named: await name(), created: null });
      return !isEnough;
    },
    createAhead() {
      reserved = reserved.map(({ named, created }, index) => ({
        named,
        created: created ?? (index === 0 ? create(named) : null),
      }));
    },
    async use(journal, work, make) {
      // One that was made ahead is empty.
      const index = make === undefined ? 0 : reserved.findIndex(({ created }) => created === null);
      const [ahead] = index < 0 ? [] : reserved.splice(index, 1);
      const named = ahead?.named ?? (await name());
      if (ahead === undefined) await journal();
      const created = ahead?.created ?? create(named, make);
      try {
        return await work({ database: named, created });
      } finally {
        if (held !== named) inBackground(created.catch(() => undefined).then(() => drop(named)));
      }
    },
    keep({ database: named }) {
      letGo();
      held = named;
    },
    kept: () => held,
    letGo,
    async clear() {
      reserved = [];
      held = null;
      await background;
      for (const named of names.values()) await drop(named);
    },
    async settled() {
      letGo();
      await background;
    },
  };
}
