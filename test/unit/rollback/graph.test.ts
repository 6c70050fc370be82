import { describe, expect, test } from '@jest/globals';

import { appliedBelow, headsOf, resolveRevision, simulate, stepsBetween } from '../../../src/rollback/graph.ts';
import type { RevisionGraph } from '../../../src/rollback/model.ts';
import { history } from './histories.ts';

const linear = history('a1', 'a2 < a1', 'a3 < a2');
const branched = history('r0', 'a1 < r0', 'b1 < r0', 'a2 < a1', 'b2 < b1');
const merged = history('r0', 'a1 < r0', 'b1 < r0', 'm < a1 b1', 'n < m');
const depending = history('a1', 'b1', 'b2 < b1 & a1', 'a2 < a1');

function steps(graph: RevisionGraph, from: readonly string[], to: readonly string[]): string[] {
  const below = (heads: readonly string[]): ReadonlySet<string> => {
    const applied = appliedBelow(graph, heads);
    if (applied.kind === 'unknown') throw new Error(`unknown: ${applied.missing.join()}`);
    return applied.applied;
  };
  return stepsBetween(graph, below(from), below(to)).map(({ direction, revision }) => `${direction} ${revision}`);
}

describe('the steps between two sets of heads', () => {
  test.each<[string, RevisionGraph, string[], string[], string[]]>([
    ['nothing where they are equal', linear, ['a2'], ['a2'], []],
    ['up from base, oldest first', linear, [], ['a3'], ['up a1', 'up a2', 'up a3']],
    ['down to base, newest first', linear, ['a3'], [], ['down a3', 'down a2', 'down a1']],
    ['several down in one go', linear, ['a3'], ['a1'], ['down a3', 'down a2']],
    [
      'another branch: down to the common ancestor, then up',
      branched,
      ['a2'],
      ['b2'],
      ['down a2', 'down a1', 'up b1', 'up b2'],
    ],
    ['one head more', branched, ['a2'], ['a2', 'b1'], ['up b1']],
    ['one head fewer', branched, ['a2', 'b2'], ['a2'], ['down b2', 'down b1']],
    ['a merge, up', merged, ['a1', 'b1'], ['m'], ['up m']],
    ['a merge, down to both', merged, ['n'], ['a1', 'b1'], ['down n', 'down m']],
    ['a merge, down to one: the other branch goes too', merged, ['m'], ['a1'], ['down m', 'down b1']],
    ['what it depends on comes first', depending, [], ['b2'], ['up a1', 'up b1', 'up b2']],
    ['what depends on it goes first', depending, ['b2'], ['b1'], ['down b2', 'down a1']],
  ])('%s', (_, graph, from, to, expected) => {
    expect(steps(graph, from, to)).toEqual(expected);
  });
});

describe('the version table', () => {
  test('leaves out what another applied revision depends on', () => {
    expect(headsOf(depending, new Set(['a1', 'b1', 'b2']))).toEqual(['b2']);
    expect(headsOf(depending, new Set(['a1', 'b1', 'b2', 'a2']))).toEqual(['a2', 'b2']);
  });

  test('is simulated step by step', () => {
    expect(
      simulate(
        merged,
        ['n'],
        [
          { direction: 'down', revision: 'n' },
          { direction: 'down', revision: 'm' },
        ],
      ),
    ).toEqual(['a1', 'b1']);
  });

  test.each([
    ['a revision that something applied needs', ['a3'], [{ direction: 'down', revision: 'a2' }]],
    ['a revision whose ancestor is not applied', ['a1'], [{ direction: 'up', revision: 'a3' }]],
    ['a revision that is not there', ['a1'], [{ direction: 'up', revision: 'zz' }]],
    ['anything, from a revision that is not there', ['zz'], [{ direction: 'down', revision: 'a1' }]],
  ] as const)('can not run %s', (_, from, run) => {
    expect(simulate(linear, from, run)).toBeNull();
  });
});

describe('what a person types', () => {
  const ids = history('4f1c2d9ab0e7', '4fa0aaaaaaaa < 4f1c2d9ab0e7', 'b00000000000 < 4fa0aaaaaaaa');
  const tip = ['b00000000000'];
  test.each<[string, string, readonly string[], readonly string[] | RegExp]>([
    ['base', 'base', tip, []],
    ['head', 'head', [], tip],
    ['a whole id', '4f1c2d9ab0e7', tip, ['4f1c2d9ab0e7']],
    ['the beginning of an id', 'b0', [], tip],
    ['an ambiguous beginning', '4f', [], /beginning of 4f1c2d9ab0e7, 4fa0aaaaaaaa/],
    ['two steps back', '-2', tip, ['4f1c2d9ab0e7']],
    ['as many steps back as there are: base', '-3', tip, []],
    ['a step too many', '-4', tip, /past the base: only 3 steps/],
    ['one step on', '+1', ['4fa0aaaaaaaa'], tip],
    ['one step on from base', '+1', [], ['4f1c2d9ab0e7']],
    ['steps on past the head', '+1', tip, /past the head/],
    ['steps from an unknown revision', '-1', ['zz'], /nothing to count from/],
    ['something else', 'nonsense', tip, /No revision, beginning of one, or label 'nonsense'/],
  ])('%s', (_, typed, current, expected) => {
    const resolved = resolveRevision(ids, typed, current);
    const said = resolved.kind === 'resolved' ? resolved.revisions.join() : resolved.message;
    expect(said).toMatch(expected instanceof RegExp ? expected : new RegExp(`^${expected.join()}$`));
  });

  test('a branch label is the newest revision of its branch', () => {
    const labelled: RevisionGraph = {
      ...branched,
      revisions: branched.revisions.map((revision) =>
        revision.id === 'b1' ? { ...revision, labels: ['billing'] } : revision,
      ),
    };
    expect(resolveRevision(labelled, 'billing', [])).toEqual({ kind: 'resolved', revisions: ['b2'] });
  });

  test('head is refused where there are several', () => {
    expect(resolveRevision(branched, 'head', [])).toMatchObject({
      kind: 'unknown',
      message: expect.stringContaining('a2, b2'),
    });
  });

  test('a step on is refused at a branch point', () => {
    expect(resolveRevision(branched, '+1', ['r0'])).toMatchObject({
      kind: 'unknown',
      message: expect.stringContaining('a1, b1'),
    });
  });
});
