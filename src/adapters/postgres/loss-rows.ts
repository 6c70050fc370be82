/** What a row is known by, and what it holds, as numbers. */
export interface HashedRow {
  readonly k0: bigint;
  readonly k1: bigint;
  readonly v: string;
  /** Whether a value of a column that goes is in it. */
  readonly g: boolean;
}

export interface RowDifference {
  readonly gone: number;
  readonly changed: number;
  /** Of those that are gone or changed: without a value of a column that goes, which is counted elsewhere. */
  readonly withoutValues: number;
  /** `k0` of what changed. */
  readonly changedKeys: readonly bigint[];
}

/** Rows before that are not among those by then. Both come sorted by k0, k1, in batches; several may be known by the same. */
export async function compareSorted(
  before: AsyncIterable<readonly HashedRow[]>,
  after: AsyncIterable<readonly HashedRow[]>,
): Promise<RowDifference> {
  let gone = 0;
  let changed = 0;
  let withoutValues = 0;
  const changedKeys: bigint[] = [];
  await using were = groups(before);
  await using are = groups(after);
  let is = are.next() ?? (await are.readOn());
  for (;;) {
    const was = were.next() ?? (await were.readOn());
    if (was === null) break;
    while (is !== null && order(is, was) < 0) is = are.next() ?? (await are.readOn());
    const same = is !== null && order(is, was) === 0 ? is.rows : [];
    if (same.length === 1 && was.rows.length === 1 && same[0]?.v === was.rows[0]?.v) continue;
    const missing = withoutEqual(was.rows, same);
    if (missing.length === 0) continue;
    const others = same.length - (was.rows.length - missing.length);
    const changedHere = Math.min(missing.length, others);
    changed += changedHere;
    gone += missing.length - changedHere;
    withoutValues += missing.filter(({ g }) => !g).length;
    if (changedHere > 0) changedKeys.push(was.k0);
  }
  return { gone, changed, withoutValues, changedKeys };
}

/** What is left of `rows` once each of `others` has taken away an equal one: first those that lose nothing else. */
function withoutEqual(rows: readonly HashedRow[], others: readonly HashedRow[]): readonly HashedRow[] {
  const left = new Map<string, number>();
  for (const { v } of others) left.set(v, (left.get(v) ?? 0) + 1);
  return rows
    .toSorted((a, b) => Number(a.g) - Number(b.g))
    .filter(({ v }) => {
      const count = left.get(v) ?? 0;
      if (count > 0) left.set(v, count - 1);
      return count === 0;
    });
}

interface Group {
  readonly k0: bigint;
  readonly k1: bigint;
  readonly rows: readonly HashedRow[];
}

const order = (a: Group, b: Group): number =>
  a.k0 === b.k0 ? (a.k1 === b.k1 ? 0 : a.k1 < b.k1 ? -1 : 1) : a.k0 < b.k0 ? -1 : 1;

interface Groups extends AsyncDisposable {
  /** null: it may go on, or end, in a batch that is not read yet. Millions of rows are too many to wait for each. */
  readonly next: () => Group | null;
  /** null: there are no more. */
  readonly readOn: () => Promise<Group | null>;
}

/** Rows that are known by the same, together. */
function groups(batches: AsyncIterable<readonly HashedRow[]>): Groups {
  const iterator = batches[Symbol.asyncIterator]();
  let batch: readonly HashedRow[] = [];
  let at = 0;
  /** Where the rows end that are known by the same as the one at `at`. */
  const endOfGroup = ({ k0, k1 }: HashedRow): number => {
    let end = at;
    while (end < batch.length && batch[end]?.k0 === k0 && batch[end]?.k1 === k1) end += 1;
    return end;
  };
  /** Whether there is a row at `at`. */
  const fill = async (): Promise<boolean> => {
    while (at >= batch.length) {
      const read = await iterator.next();
      if (read.done === true) return false;
      batch = read.value;
      at = 0;
    }
    return true;
  };
  return {
    next() {
      const first = batch[at];
      if (!first) return null;
      const end = endOfGroup(first);
      if (end === batch.length) return null;
      const rows = batch.slice(at, end);
      at = end;
      return { k0: first.k0, k1: first.k1, rows };
    },
    async readOn() {
      if (!(await fill())) return null;
      const first = batch[at];
      if (!first) return null;
      const rows: HashedRow[] = [];
      do {
        const end = endOfGroup(first);
        rows.push(...batch.slice(at, end));
        at = end;
      } while (at === batch.length && (await fill()));
      return { k0: first.k0, k1: first.k1, rows };
    },
    async [Symbol.asyncDispose]() {
      await iterator.return?.();
    },
  };
}
