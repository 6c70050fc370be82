import { expect, test } from '@jest/globals';

import { renderGraph, type Marks } from '../../../src/cli/render-graph.ts';
import type { Revision, RevisionGraph } from '../../../src/rollback/model.ts';

interface Given {
  readonly id: string;
  readonly down?: readonly string[];
  readonly dependsOn?: readonly string[];
  readonly labels?: readonly string[];
  readonly shape?: Revision['downgrade']['shape'];
}

const graphOf = (revisions: readonly Given[]): RevisionGraph => ({
  digest: '',
  tools: { python: '', alembic: '', sqlalchemy: '' },
  revisions: revisions.map(({ id, down = [], dependsOn = [], labels = [], shape = 'code' }) => ({
    id,
    down,
    dependsOn,
    labels,
    message: `make ${id}`,
    file: `${id}.py`,
    upgrade: { shape: 'code', risks: [] },
    downgrade: { shape, risks: [] },
  })),
});

const draw = (revisions: readonly Given[], marks: Marks): string =>
  `\n${renderGraph(graphOf(revisions), marks, (_, text) => text)}\n`;

test('a line of revisions, where the database is and where it should be', () => {
  const line = [
    { id: 'a1' },
    { id: 'b1', down: ['a1'], shape: 'raises' },
    { id: 'c1', down: ['b1'], shape: 'pass' },
  ] as const;
  expect(draw(line, { current: ['b1'], desired: ['a1'] })).toBe(`
○   c1  make c1  its downgrade() does nothing
●   b1  make b1  its downgrade() raises  ← current
●   a1  make a1  ← desired
`);
});

test('a branch and its merge', () => {
  const diamond = [
    { id: 'a1' },
    { id: 'b1', down: ['a1'] },
    { id: 'b2', down: ['a1'], labels: ['reports'] },
    { id: 'm1', down: ['b1', 'b2'] },
  ];
  expect(draw(diamond, { current: ['m1'], desired: ['b1', 'b2'] })).toBe(`
●     m1  make m1  ← current
├─╮
│ ●   b2  (reports)  make b2  ← desired
● │   b1  make b1  ← desired
├─╯
●     a1  make a1
`);
});

test('several heads and a dependency across branches', () => {
  const heads = [{ id: 'a1' }, { id: 'b1' }, { id: 'b2', down: ['b1'], dependsOn: ['a1'] }, { id: 'a2', down: ['a1'] }];
  expect(draw(heads, { current: ['b2'], desired: ['a2', 'b2'] })).toBe(`
○     a2  make a2  ← desired
│ ●   b2  make b2  needs a1  ← current, desired
│ ●   b1  make b1
●     a1  make a1
`);
});

test('three branches of one revision come together below, each line to its own', () => {
  const fork = [{ id: 'a1' }, { id: 'b1', down: ['a1'] }, { id: 'b2', down: ['a1'] }, { id: 'b3', down: ['a1'] }];
  expect(draw(fork, { current: ['a1'], desired: ['b1'] })).toBe(`
○       b3  make b3
│ ○     b2  make b2
│ │ ○   b1  make b1  ← desired
├─┴─╯
●       a1  make a1  ← current
`);
});

test('a line is drawn across another one that goes on', () => {
  const crossing = [
    { id: 'a1' },
    { id: 'x1' },
    { id: 'b1', down: ['a1'] },
    { id: 'x2', down: ['x1'] },
    { id: 'b2', down: ['a1'] },
  ];
  expect(draw(crossing, { current: [], desired: ['b1'] })).toBe(`
○       b2  make b2
│ ○     x2  make x2
│ │ ○   b1  make b1  ← desired
│ ○ │   x1  make x1
├───╯
○       a1  make a1
        base  ← current
`);
});

test('base and a missing version table', () => {
  expect(draw([{ id: 'a1' }], { current: [], desired: [] })).toBe(`
○   a1  make a1
    base  ← current, desired
`);
  expect(draw([{ id: 'a1' }], { current: null, desired: ['a1'] })).toBe(`
○   a1  make a1  ← desired
`);
});

test('a revision that the scripts do not have leaves nothing marked as applied', () => {
  expect(draw([{ id: 'a1' }], { current: ['gone'], desired: ['a1'] })).toContain('○   a1  make a1  ← desired');
});
