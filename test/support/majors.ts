import type { Major } from '../../scripts/lib/embedded-postgres.ts';

/**
 * The server versions to test with: all, or `MIGRATION_TARGET_TEST_MAJORS=16,18`.
 *
 * What a test is about says on which of them it runs:
 * - it depends on the server (catalogues, dump and restore, sessions, rights, renames): on each, `describe.each(majors)`;
 * - many cases of one thing that the server decides little of (statements to be refused, shapes of env.py, points to be
 *   killed at): each case on one, `test.each(inTurn(cases))`, so that the thing is seen on all of them;
 * - it knows nothing of the server (texts, files, options): on 16.
 */
export const majors: readonly Major[] = chosenMajors();

/** The major of the case at that place of a table: the majors take turns. */
export function majorInTurn(place: number): Major {
  const major = majors[place % majors.length];
  if (major === undefined) throw new Error(`no place of a table: ${place}`);
  return major;
}

/** The rows of a table, each with the major that it is to run on before the rest. */
export function inTurn<const Row extends readonly unknown[]>(rows: readonly Row[]): (readonly [Major, ...Row])[] {
  return rows.map((row, place) => [majorInTurn(place), ...row] as const);
}

function chosenMajors(): readonly Major[] {
  const all: readonly Major[] = [15, 16, 18];
  const chosen = process.env['MIGRATION_TARGET_TEST_MAJORS'];
  if (!chosen) return all;
  const numbers = chosen.split(',').map(Number);
  const found = all.filter((major) => numbers.includes(major));
  if (found.length !== numbers.length)
    throw new Error(`MIGRATION_TARGET_TEST_MAJORS is '${chosen}': give some of ${all.join(',')}`);
  return found;
}
