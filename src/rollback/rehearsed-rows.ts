/** What a change does to the numbers of rows, on the copy and in the live database. Pure. */
import type { RowChange } from './model.ts';

/**
 * Tables whose number of rows moved otherwise than on the copy. `isSameState`: both began with the same rows; else a
 * table counts only by the direction of its change, and where it is there at all, since what was written between the
 * two went through the change too.
 */
export function unforeseenChanges(
  rehearsed: readonly RowChange[],
  found: readonly RowChange[],
  isSameState: boolean,
): readonly RowChange[] {
  const expected = new Map(rehearsed.map((change) => [change.table, change]));
  const seen = new Map(found.map((change) => [change.table, change]));
  const differing = found.filter((change) => !isForeseen(expected.get(change.table), change, isSameState));
  // What should have changed and did not.
  const missed = rehearsed.filter((change) => !seen.has(change.table) && (isSameState || isStructural(change)));
  return [...differing, ...missed.map(({ table, before }) => ({ table, before, after: before }))];
}

function isForeseen(expected: RowChange | undefined, found: RowChange, isSameState: boolean): boolean {
  if (expected === undefined) return false;
  if (isSameState) return expected.before === found.before && expected.after === found.after;
  if (isStructural(found) || isStructural(expected)) {
    return (
      (expected.before === null) === (found.before === null) && (expected.after === null) === (found.after === null)
    );
  }
  return Math.sign(difference(expected)) === Math.sign(difference(found));
}

/** The table itself comes or goes. */
const isStructural = ({ before, after }: RowChange): boolean => before === null || after === null;

const difference = ({ before, after }: RowChange): number => (after ?? 0) - (before ?? 0);
