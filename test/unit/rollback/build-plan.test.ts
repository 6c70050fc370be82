import { describe, expect, test } from '@jest/globals';

import { allStages, everyRevision, planBuild, stepsIn, type Stage } from '../../../src/rollback/build-plan.ts';
import { simulate } from '../../../src/rollback/graph.ts';
import { history } from './histories.ts';

/** `a1(a2,b1(m1))`: what is gone on with in the database itself stands last. */
const drawn = ({ revisions, next }: Stage): string =>
  `${revisions.join('+') || 'base'}${next.length === 0 ? '' : `(${next.map(drawn).join(',')})`}`;

const linear = history('a1', 'a2 < a1', 'a3 < a2');
const branched = history('a1', 'a2 < a1', 'a3 < a2', 'b1 < a1');
const merged = history('r1', 'a1 < r1', 'a2 < a1', 'b1 < r1', 'm1 < a2 b1');
const depending = history('a1', 'b1', 'b2 < b1 & a1');

describe('what is built', () => {
  test('is base, every revision, and all heads together where there are several', () => {
    expect(everyRevision(linear)).toEqual([[], ['a1'], ['a2'], ['a3']]);
    expect(everyRevision(branched).at(-1)).toEqual(['a3', 'b1']);
    expect(everyRevision(merged)).toEqual([[], ['r1'], ['a1'], ['a2'], ['b1'], ['m1'], ['a2', 'b1']]);
    expect(everyRevision(history())).toEqual([[]]);
  });

  test.each([
    ['a line goes up in one database', linear, 'base(a1(a2(a3)))'],
    ['the longer way goes on, the shorter one in a copy', branched, 'base(a1(b1,a2(a3(a3+b1))))'],
    ['a merge follows the branch with more in it', merged, 'base(r1(b1,a1(a2(a2+b1(m1)))))'],
    ['what a revision depends on is below it too', depending, 'base(a1,b1(a1+b1(b2)))'],
  ])('%s', (_called, graph, expected) => {
    expect(drawn(planBuild(graph, everyRevision(graph)))).toBe(expected);
  });

  test.each([linear, branched, merged, depending])(
    'every stage is reached by steps that can follow, and is what they lead to',
    (graph) => {
      for (const stage of allStages(planBuild(graph, everyRevision(graph)))) {
        for (const next of stage.next) {
          expect(simulate(graph, stage.revisions, next.steps)).toEqual(next.revisions);
        }
      }
    },
  );

  test('is no more than what is wanted takes', () => {
    const plan = planBuild(merged, [['b1'], ['m1'], ['zz']]);
    expect(drawn(plan)).toBe('base(b1(m1))');
    expect(stepsIn(plan)).toBe(5);
    expect(stepsIn(planBuild(merged, everyRevision(merged)))).toBe(6);
  });

  test('of a long line takes no deep descent', () => {
    const ids = Array.from({ length: 1000 }, (_, index) => `r${index}`);
    const long = history(...ids.map((id, index) => (index === 0 ? id : `${id} < ${ids[index - 1]}`)));
    expect(allStages(planBuild(long, everyRevision(long)))).toHaveLength(1001);
  });
});
