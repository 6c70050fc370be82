import { describe, expect, test } from '@jest/globals';

import type { RowChange } from '../../../src/rollback/model.ts';
import { unforeseenChanges } from '../../../src/rollback/rehearsed-rows.ts';

const change = (table: string, before: number | null, after: number | null): RowChange => ({ table, before, after });

describe('rows after a change that was tried on a copy', () => {
  test.each<[string, boolean, readonly RowChange[], readonly RowChange[], readonly RowChange[]]>([
    ['are foreseen where they moved alike', true, [change('a', 10, 7)], [change('a', 10, 7)], []],
    ['are not where more went', true, [change('a', 10, 7)], [change('a', 10, 6)], [change('a', 10, 6)]],
    ['are not where another table moved', true, [], [change('b', 3, 0)], [change('b', 3, 0)]],
    ['are not where nothing moved', true, [change('a', 10, 7)], [], [change('a', 10, 10)]],
    [
      'are not where a table is gone that stayed',
      true,
      [change('a', 10, 0)],
      [change('a', 10, null)],
      [change('a', 10, null)],
    ],
    ['of another state are foreseen by their direction', false, [change('a', 10, 7)], [change('a', 12, 8)], []],
    [
      'of another state are not in the other direction',
      false,
      [change('a', 10, 7)],
      [change('a', 12, 13)],
      [change('a', 12, 13)],
    ],
    ['of another state may have stayed', false, [change('a', 10, 7)], [], []],
    [
      'of another state are not where a table stayed that should go',
      false,
      [change('a', 10, null)],
      [],
      [change('a', 10, 10)],
    ],
    [
      'of another state are foreseen where a table goes, with more rows',
      false,
      [change('a', 10, null)],
      [change('a', 12, null)],
      [],
    ],
    ['of another state are foreseen in a new table', false, [change('a', null, 5)], [change('a', null, 6)], []],
  ])('%s', (_, isSameState, rehearsed, found, unforeseen) => {
    expect(unforeseenChanges(rehearsed, found, isSameState)).toEqual(unforeseen);
  });
});
