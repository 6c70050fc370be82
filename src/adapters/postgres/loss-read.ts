import type { HashedRow, RowDifference } from './loss-rows.ts';
import { compareSorted } from './loss-rows.ts';
import { bucketSums, buckets, sortedRows } from './loss-sql.ts';
import type { Session, Statements } from './session.ts';

/** The two databases that are compared. */
export interface Sides {
  readonly before: Session;
  readonly after: Session;
  /** Throws where the comparison is not wanted any more. To be called before each statement. */
  readonly assertWanted: () => void;
}

export const onBoth = <T>(
  { before, after, assertWanted }: Sides,
  run: (session: Session, side: 'before' | 'after') => Promise<T>,
): Promise<[T, T]> => {
  assertWanted();
  return Promise.all([run(before, 'before'), run(after, 'after')]);
};

/** More rows would have to be read than may be: so many of those before. */
export interface TooMany {
  readonly tooMany: number;
}

interface Bucket {
  readonly bucket: number;
  readonly count: string;
  readonly sum: string;
}

const everyBucket = Array.from({ length: buckets }, (_, bucket) => bucket);
const rowsPerFetch = 10_000;

/** The same of tables of no more rows than one fetch takes: summing up and a cursor would cost more than reading them. */
export async function compareFewRows(
  sides: Sides,
  rows: { readonly before: string; readonly after: string },
): Promise<RowDifference> {
  const [before, after] = await onBoth(sides, async (session, side) =>
    (await session.rows<FetchedRow>('Reading rows', sortedRows(rows[side], everyBucket))).map(hashedRow),
  );
  return compareSorted(inOneBatch(before), inOneBatch(after));
}

/** Whether tables of so many rows are for `compareFewRows`. */
export const areFew = (rows: { readonly before: number; readonly after: number }, mostRows: number): boolean =>
  Math.max(rows.before, rows.after) <= Math.min(rowsPerFetch, mostRows);

const nothing: RowDifference = { gone: 0, changed: 0, withoutValues: 0, changedKeys: [] };

/**
 * Which rows before are not there by then; `rows`: a statement for each side, with columns as `hashedRows` has them.
 * The server sums them up by bucket, and only buckets that differ are read row by row.
 */
export async function compareRows(
  sides: Sides,
  rows: { readonly before: string; readonly after: string },
  mostRows: number,
): Promise<RowDifference | TooMany> {
  const [before, after] = await onBoth(sides, (session, side) =>
    session.rows<Bucket & Record<string, unknown>>('Summing up rows', bucketSums(rows[side])),
  );
  const sums = new Map(after.map((bucket) => [bucket.bucket, bucket]));
  const differing = before.filter(({ bucket, count, sum }) => {
    const now = sums.get(bucket);
    return now?.count !== count || now.sum !== sum;
  });
  if (differing.length === 0) return nothing;
  const wanted = differing.map(({ bucket }) => bucket);
  const many = total(differing);
  if (Math.max(many, total(wanted.flatMap((bucket) => sums.get(bucket) ?? []))) > mostRows) return { tooMany: many };

  const everywhere = before.length === differing.length && after.length <= before.length;
  const read = everywhere ? everyBucket : wanted;
  return sides.before.transaction(readOnly, (was) =>
    sides.after.transaction(readOnly, (is) =>
      compareSorted(
        readRows(was, sortedRows(rows.before, read), sides.assertWanted),
        readRows(is, sortedRows(rows.after, read), sides.assertWanted),
      ),
    ),
  );
}

const readOnly = 'READ ONLY';

const total = (some: readonly Bucket[]): number => some.reduce((sum, { count }) => sum + Number(count), 0);

interface FetchedRow extends Record<string, unknown> {
  readonly k0: string;
  readonly k1: string;
  readonly v: string;
  readonly g: boolean;
}

const hashedRow = ({ k0, k1, v, g }: FetchedRow): HashedRow => ({ k0: BigInt(k0), k1: BigInt(k1), v, g });

async function* inOneBatch(rows: readonly HashedRow[]): AsyncGenerator<readonly HashedRow[]> {
  yield await Promise.resolve(rows);
}

async function* readRows(
  session: Statements,
  sql: string,
  assertWanted: () => void,
): AsyncGenerator<readonly HashedRow[]> {
  assertWanted();
  await session.script('Reading rows', `DECLARE hashed NO SCROLL CURSOR FOR ${sql}`);
  for (;;) {
    assertWanted();
    const rows = await session.script<FetchedRow>('Reading rows', `FETCH ${rowsPerFetch} FROM hashed`);
    yield rows.map(hashedRow);
    if (rows.length < rowsPerFetch) return;
  }
}
