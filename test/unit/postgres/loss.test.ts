import { describe, expect, test } from '@jest/globals';

import type { Column, Relation } from '../../../src/adapters/postgres/loss-catalogue.ts';
import { sumUp } from '../../../src/adapters/postgres/loss-report.ts';
import { compareSorted, type HashedRow } from '../../../src/adapters/postgres/loss-rows.ts';
import { matchTables, mayBeUntouched } from '../../../src/adapters/postgres/loss-tables.ts';

/** In batches of two, so that what is known by the same lies in several. */
async function* batches(all: readonly HashedRow[]): AsyncGenerator<readonly HashedRow[]> {
  for (let at = 0; at < all.length; at += 2) yield all.slice(at, at + 2);
}
const rows = (
  ...all: readonly (readonly [key: number, value: string, g?: boolean])[]
): AsyncGenerator<readonly HashedRow[]> =>
  batches(all.map(([key, v, g = false]) => ({ k0: BigInt(key), k1: 0n, v, g })));

describe('rows, sorted by what they are known by', () => {
  test('that are missing are gone, those with other values changed, new ones nothing', async () => {
    expect(
      await compareSorted(
        rows([-5, 'a'], [1, 'b'], [2, 'c'], [9, 'd']),
        rows([-7, 'n'], [1, 'b'], [2, 'x'], [3, 'n'], [10, 'n']),
      ),
    ).toEqual({ gone: 2, changed: 1, withoutValues: 3, changedKeys: [2n] });
  });

  test('none on a side', async () => {
    expect(await compareSorted(rows(), rows([1, 'a']))).toMatchObject({ gone: 0, changed: 0 });
    expect(await compareSorted(rows([1, 'a'], [1, 'a']), rows())).toMatchObject({ gone: 2, changed: 0 });
  });

  test('of which several are known by the same are paired with equal ones first', async () => {
    expect(
      await compareSorted(rows([1, 'a'], [1, 'b'], [1, 'b'], [1, 'c']), rows([1, 'c'], [1, 'b'], [1, 'x'])),
    ).toEqual({ gone: 1, changed: 1, withoutValues: 2, changedKeys: [1n] });
  });

  test('which lose a value anyway are counted as such, and not twice', async () => {
    expect(await compareSorted(rows([1, 'a', true], [1, 'a'], [2, 'b', true]), rows([1, 'a']))).toMatchObject({
      gone: 2,
      withoutValues: 0,
    });
  });

  test('are told apart by the second half of what they are known by', async () => {
    const was = [
      { k0: 1n, k1: 1n, v: 'a', g: false },
      { k0: 1n, k1: 2n, v: 'b', g: false },
    ];
    expect(await compareSorted(batches(was), batches(was.slice(1)))).toMatchObject({ gone: 1, changed: 0 });
  });
});

const column = (number: number, name: string, type = '23'): Column => ({
  number,
  name,
  type,
  typeModifier: -1,
  generated: false,
});
const table = (oid: string, name: string, change: Partial<Relation> = {}): Relation => ({
  oid,
  schema: 's',
  name,
  kind: 'r',
  root: oid,
  heap: true,
  columns: [column(1, 'i'), column(2, 'v')],
  keys: [],
  ...change,
});
const told = (before: readonly Relation[], after: readonly Relation[], isCopy = true) =>
  matchTables(before, after, isCopy).map((match) => [
    match.table,
    match.gone ? 'gone' : match.after.map(({ relation }) => relation.name).join(),
  ]);

describe('tables are found again', () => {
  test('in a copy by oid, and by name only where the oid is gone', () => {
    expect(told([table('1', 't')], [table('1', 'u'), table('2', 't')])).toEqual([['s.t', 'u']]);
    expect(told([table('1', 't')], [table('2', 't')])).toEqual([['s.t', 't']]);
    expect(told([table('1', 't'), table('2', 'u')], [table('2', 't')])).toEqual([
      ['s.t', 'gone'],
      ['s.u', 't'],
    ]);
  });

  test('otherwise by name alone', () => {
    expect(told([table('1', 't'), table('2', 'u')], [table('2', 't'), table('1', 'w')], false)).toEqual([
      ['s.t', 't'],
      ['s.u', 'gone'],
    ]);
  });

  test('with the partitions that they have let go or taken in', () => {
    const before = [table('1', 'p', { kind: 'p' }), table('2', 'p1', { root: '1' }), table('3', 'q')];
    const after = [
      table('1', 'p', { kind: 'p' }),
      table('2', 'z'),
      table('3', 'q', { root: '1' }),
      table('4', 'n', { root: '1' }),
    ];
    expect(told(before, after)).toEqual([
      ['s.p', 'z,n'],
      ['s.q', 'q'],
    ]);
    expect(told(before, [table('1', 'p', { kind: 'p' })])).toEqual([
      ['s.p', ''],
      ['s.q', 'gone'],
    ]);
  });
});

describe('columns', () => {
  const match = (before: Partial<Relation>, after: Partial<Relation>, isCopy = true) => {
    const [found] = matchTables([table('1', 't', before)], [table('1', 't', after)], isCopy);
    if (!found) throw new Error('not found');
    return {
      found,
      common: found.common.map(({ name }, index) => `${name}=${found.after[0]?.columns[index]?.name}`),
      gone: found.columnsGone.map(({ name }) => name),
    };
  };

  test('are found again by number in a copy, and by name where they were made anew', () => {
    const after = { columns: [column(1, 'v'), column(3, 'i')] };
    expect(match({}, after)).toMatchObject({ common: ['i=v'], gone: ['v'] });
    expect(match({}, { columns: [column(1, 'k'), column(3, 'v')] })).toMatchObject({
      common: ['i=k', 'v=v'],
      gone: [],
    });
    expect(match({}, after, false)).toMatchObject({ common: ['i=i', 'v=v'], gone: [] });
  });

  test('of the first key that stays come first', () => {
    const keys = [[1], [2]];
    expect(match({ keys }, { columns: [column(2, 'v')] })).toMatchObject({
      common: ['v=v'],
      gone: ['i'],
      found: { keyLength: 1 },
    });
    expect(match({ keys: [[2]] }, {})).toMatchObject({ common: ['v=v', 'i=i'], found: { keyLength: 1 } });
    expect(match({ keys: [[1, 2]] }, { columns: [column(2, 'v')] })).toMatchObject({ found: { keyLength: null } });
  });

  test.each([
    ['as they were', {}, true, true],
    ['renamed', { columns: [column(1, 'a'), column(2, 'b')] }, true, true],
    ['of another type', { columns: [column(1, 'i', '20'), column(2, 'v')] }, true, false],
    ['of a type whose labels changed', { columns: [column(1, 'i', '20000'), column(2, 'v')] }, false, false],
    ['made anew', { columns: [column(1, 'i'), column(3, 'v')] }, true, false],
    ['in no heap', { heap: false }, true, false],
  ])('%s may need no reading', (_, after, sameTypes, expected) => {
    const before = 'columns' in after && after.columns[0]?.type === '20000' ? after : {};
    const { found } = match(before, after);
    const [leaf] = found.after;
    expect(leaf && mayBeUntouched(found, leaf, sameTypes)).toBe(expected);
  });
});

test('a report names what loses most, and counts what is not compared as lost', () => {
  const loss = { gone: false, rowsGone: 0, rowsChanged: 0, columnsChanged: [], columnsGone: [], notCompared: null };
  const judged = [
    { loss: { ...loss, table: 'a', rowsBefore: 9, rowsGone: 2 }, rows: 2 },
    { loss: { ...loss, table: 'none', rowsBefore: 900 }, rows: 0 },
    { loss: { ...loss, table: 'b', rowsBefore: 5, rowsGone: null, rowsChanged: null, notCompared: 'x' }, rows: null },
  ];
  expect(sumUp(judged)).toMatchObject({ tables: [{ table: 'b' }, { table: 'a' }], moreTables: 0, rows: null });
  expect(sumUp(judged.slice(0, 2))).toMatchObject({ tables: [{ table: 'a' }], rows: 2 });
});
