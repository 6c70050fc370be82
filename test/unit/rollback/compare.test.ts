import { describe, expect, test } from '@jest/globals';

import { beyondDrift, compareCounts, compareSchemas, findRestoreFault } from '../../../src/rollback/compare.ts';

describe('a difference between schemas', () => {
  test('names what is missing and what is left over', () => {
    expect(compareSchemas(['table a', 'table b'], ['table b', 'table c'])).toEqual({
      missing: ['table a'],
      unexpected: ['table c'],
    });
  });

  // The expected schema has `users`; the change was to drop `extra`. A DBA once added `ix` and dropped `old`.
  const expected = ['table old', 'table users'];
  const recorded = ['table extra', 'table old', 'table users'];
  const found = ['index ix', 'table extra', 'table users'];

  test.each<[string, { present: string[]; recorded: string[] | null }, { missing: string[]; unexpected: string[] }]>([
    [
      'is none beyond what had drifted before',
      { present: ['index ix', 'table users'], recorded },
      { missing: [], unexpected: [] },
    ],
    [
      'is what the change left behind',
      { present: ['index ix', 'table extra', 'table users'], recorded },
      { missing: [], unexpected: ['table extra'] },
    ],
    [
      'is what the change took too much',
      { present: ['index ix'], recorded },
      { missing: ['table users'], unexpected: [] },
    ],
    [
      'may be drift where the origin was never recorded and the change did not touch it',
      { present: ['index ix', 'table users'], recorded: null },
      { missing: [], unexpected: [] },
    ],
    [
      'is still what the change itself did, where the origin was never recorded',
      { present: ['table mine'], recorded: null },
      { missing: ['table users'], unexpected: ['table mine'] },
    ],
  ])('%s', (_, { present, recorded: known }, beyond) => {
    expect(beyondDrift(compareSchemas(expected, present), { found, recorded: known })).toEqual(beyond);
  });
});

test('row counts are compared table by table, tables of one side only too', () => {
  expect(compareCounts({ a: 1, b: 2, c: 3 }, { a: 1, b: 5, d: 4 })).toEqual([
    { table: 'b', before: 2, after: 5 },
    { table: 'c', before: 3, after: null },
    { table: 'd', before: null, after: 4 },
  ]);
});

describe('a restored backup', () => {
  const facts = (lines: string[], major = 16) => ({ major, lines, digest: lines.join() });
  const manifest = { rowCounts: { 'public.users': 3 }, revisions: ['a1'], schema: null };
  const restored = {
    schema: facts(['table users']),
    rowCounts: { 'public.users': 3 },
    versionTable: { kind: 'present', revisions: ['a1'] },
  } as const;

  test.each([
    ['is whole', restored, /^nothing$/],
    ['lacks rows', { ...restored, rowCounts: { 'public.users': 2 } }, /public\.users has 2 rows, and had 3/],
    ['lacks a table', { ...restored, rowCounts: {} }, /public\.users/],
    [
      'is at another revision',
      { ...restored, versionTable: { kind: 'present', revisions: ['a2'] } as const },
      /says a2, and was a1/,
    ],
    ['has no version table', { ...restored, versionTable: { kind: 'missing' } as const }, /no version table/],
    ['has another schema', { ...restored, schema: facts([]) }, /missing: table users/],
  ] as const)('%s', (_, contents, fault) => {
    expect(findRestoreFault(manifest, facts(['table users']), contents) ?? 'nothing').toMatch(fault);
  });

  test('of another major version is not compared by its schema', () => {
    expect(findRestoreFault(manifest, facts(['rendered otherwise'], 15), restored)).toBeNull();
  });
});
