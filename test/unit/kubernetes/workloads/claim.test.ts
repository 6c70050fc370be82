import { expect, test } from '@jest/globals';
import { claimed, claimOf, leftBehind, unclaimed } from '../../../../src/adapters/kubernetes/workloads/claim.ts';
import type { ClusterKind, Level } from '../../../../src/adapters/kubernetes/workloads/kinds.ts';

const target = { namespace: 'ops', name: 'unicorn-db' };
const now = new Date('2026-01-02T03:04:05Z');

test.each<[ClusterKind, Level, string, string]>([
  ['Deployment', 3, 'replicasBefore', 'kubectl -n ops scale deployment web --replicas=3'],
  ['StatefulSet', 12, 'replicasBefore', 'kubectl -n ops scale statefulset web --replicas=12'],
  ['CronJob', 1, 'suspendBefore', `kubectl -n ops patch cronjob web -p '{"spec":{"suspend":false}}'`],
])(
  'a %s that is stopped says who did it, how it was, and how a person starts it',
  (kind, level, annotation, command) => {
    const annotations = claimed(target, { kind, name: 'web' }, level, now) as Record<string, string>;
    expect(annotations).toEqual({
      'migrationtarget.dev/stoppedBy': 'unicorn-db',
      [`migrationtarget.dev/${annotation}`]: kind === 'CronJob' ? 'false' : String(level),
      'migrationtarget.dev/note': expect.stringMatching(
        /^Stopped by MigrationTarget unicorn-db at 2026-01-02T03:04:05/,
      ),
    });
    expect(annotations['migrationtarget.dev/note']).toContain(command);
    expect(claimOf(kind, annotations)).toEqual({ by: 'unicorn-db', before: level });
    expect(Object.keys(unclaimed(kind)).toSorted()).toEqual(Object.keys(annotations).toSorted());
  },
);

test('one that is left stopped is nobody’s any more, and still says how it was', () => {
  const left = leftBehind(target, { kind: 'Deployment', name: 'web' }, 3, now);
  expect(left).toMatchObject({ 'migrationtarget.dev/stoppedBy': null, 'migrationtarget.dev/replicasBefore': '3' });
  expect(left['migrationtarget.dev/note']).toMatch(/^Left stopped by .*after: None says.* --replicas=3$/);
});

test.each(['', '0', '-1', '3.5', '1e3', 'three', '99999999999'])(
  'a number that somebody made %j is not believed',
  (text) => {
    const annotations = { 'migrationtarget.dev/stoppedBy': 'a', 'migrationtarget.dev/replicasBefore': text };
    expect(claimOf('Deployment', annotations)).toEqual({ by: 'a', before: null });
  },
);

test('without the name of a target it is nobody’s', () => {
  expect(claimOf('Deployment', { 'migrationtarget.dev/replicasBefore': '3' })).toBeNull();
});
