import { expect, test } from '@jest/globals';
import { emptyStatus, type MigrationTarget } from '../../../src/api/target.ts';
import { unattendedTeller } from '../../../src/cli/unattended.ts';
import { targetWith } from '../rollback/targets.ts';

const observed = (observedGeneration: number): MigrationTarget => ({
  ...targetWith({}, { generation: 2, namespace: 'ops' }),
  status: { ...emptyStatus, observedGeneration },
});

test.each([
  ['never looked at', -1],
  ['not looked at since it changed', 1],
])('a target that was %s is told of once, after longer than a hand-over takes', (_, generation) => {
  let nowMs = 5_000;
  const told: string[] = [];
  const look = unattendedTeller(
    (text) => told.push(text),
    () => nowMs,
  );
  look(observed(generation));
  nowMs += 19_999;
  look(observed(generation));
  expect(told).toEqual([]);
  nowMs += 1;
  look(observed(generation));
  look(observed(generation));
  expect(told).toEqual([
    'No controller has looked at ops/unicorn as it is declared now. If that stays so, none is running that watches the namespace ops; look: kubectl get deployments --all-namespaces --selector app.kubernetes.io/name=migration-target',
  ]);
});

test('a target that was looked at is not told of, however long it takes', () => {
  let nowMs = 0;
  const told: string[] = [];
  const look = unattendedTeller(
    (text) => told.push(text),
    () => nowMs,
  );
  nowMs = 3_600_000;
  look(observed(2));
  expect(told).toEqual([]);
});
