import type { Major } from '../../scripts/lib/embedded-postgres.ts';

const all: readonly Major[] = [15, 16, 18];
const chosen = process.env['MIGRATION_TARGET_TEST_MAJORS'] ?? '';
/** Everything that is about a server, on each of them: before a release, and for a major that is new. */
export const isWhole = chosen === 'each';

/**
 * The server versions to test with: all, or `MIGRATION_TARGET_TEST_MAJORS=16,18`.
 *
 * What a test is about says on which of them it runs:
 * - it speaks with the server in our own words (catalogues, dump and restore, sessions, rights, renames): on each,
 *   `describe.each(majors)`;
 * - it is built on what speaks with the server, or one of many cases of a thing (statements to be refused, shapes of env.py,
 *   points to be killed at): on one, `describeInTurn`, `test.each(inTurn(cases))`, so that the thing is seen on all of them.
 *   `MIGRATION_TARGET_TEST_MAJORS=each` has the former on each;
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
  if (chosen === '' || isWhole) return all;
  const numbers = chosen.split(',').map(Number);
  const found = all.filter((major) => numbers.includes(major));
  if (found.length !== numbers.length)
    throw new Error(`MIGRATION_TARGET_TEST_MAJORS is '${chosen}': give some of ${all.join(',')}, or each`);
  return found;
}
