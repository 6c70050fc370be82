import type { Major } from '../../scripts/lib/embedded-postgres.ts';

/** The server versions to test with: all, or `MIGRATION_TARGET_TEST_MAJORS=16,18`. */
export const majors: readonly Major[] = chosenMajors();

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
