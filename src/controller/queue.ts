/**
 * A queue of keys, each in it at most once, none taken twice at a time: a key that is added while it is being worked
 * on comes back once, when that work is done. First in, first out.
 */
export interface Queue<K> {
  /** True where this made the key due, false where it was due already. */
  add(key: K): boolean;
  /** The next key that nobody works on; undefined: none is due. */
  take(): K | undefined;
  /** To be called when the work on a taken key is over. True where it was added meanwhile, so is due again. */
  done(key: K): boolean;
  /** Keys that wait; those that will come back when their work is done are not among them. */
  readonly depth: number;
  readonly running: ReadonlySet<K>;
}

export function createQueue<K>(): Queue<K> {
  // Sets keep the order of insertion, which makes them queues without duplicates.
  const waiting = new Set<K>();
  const running = new Set<K>();
  const dirty = new Set<K>();
  return {
    add(key) {
      const target = running.has(key) ? dirty : waiting;
      if (target.has(key)) return false;
      target.add(key);
      return true;
    },
    take() {
      const next = waiting.values().next();
      if (next.done === true) return undefined;
      waiting.delete(next.value);
      running.add(next.value);
      return next.value;
    },
    done(key) {
      running.delete(key);
      const again = dirty.delete(key);
      if (again) waiting.add(key);
      return again;
    },
    get depth() {
      return waiting.size;
    },
    running,
  };
}
