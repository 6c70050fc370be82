import { describe, expect, test } from '@jest/globals';
import type { ClusterKind } from '../../../../src/adapters/kubernetes/workloads/kinds.ts';
import { rolloutOf } from '../../../../src/adapters/kubernetes/workloads/rollout.ts';
import { asWorkload } from '../../../../src/adapters/kubernetes/workloads/workload.ts';

const metadata = { name: 'web', uid: 'u', resourceVersion: '1', generation: 2 };
const said = (kind: ClusterKind, spec: object, status: object): string => {
  const { state, what, withinSeconds } = rolloutOf(asWorkload(kind, { metadata, spec, status }));
  return `${state}: ${what}${withinSeconds === undefined ? '' : ` (${withinSeconds} s)`}`;
};

const up = { observedGeneration: 2, replicas: 3, updatedReplicas: 3, readyReplicas: 3, availableReplicas: 3 };

describe('a Deployment', () => {
  const condition = (type: string, status: string, reason: string, message = '') => ({
    conditions: [{ type, status, reason, message }],
  });
  test.each<[string, object, object, string]>([
    ['all of it available', {}, {}, 'healthy: the Deployment web has 3 of 3 replicas available'],
    [
      'not seen by its controller',
      {},
      { observedGeneration: 1 },
      'starting: the Deployment web was not looked at by its controller yet (600 s)',
    ],
    ['not all new', {}, { updatedReplicas: 2 }, 'starting: the Deployment web has 2 of 3 new replicas (600 s)'],
    ['old ones left', {}, { replicas: 4 }, 'starting: the Deployment web has 1 old replicas still (600 s)'],
    [
      'not all available, with a deadline of its own',
      { progressDeadlineSeconds: 90 },
      { availableReplicas: 1 },
      'starting: the Deployment web has 1 of 3 replicas available (90 s)',
    ],
    [
      'past its deadline',
      {},
      { updatedReplicas: 1, availableReplicas: 2, ...condition('Progressing', 'False', 'ProgressDeadlineExceeded') },
      'unhealthy: the Deployment web has 2 of 3 replicas available, and its rollout made no progress for too long (ProgressDeadlineExceeded)',
    ],
    [
      'refused its pods',
      {},
      { replicas: 0, ...condition('ReplicaFailure', 'True', 'FailedCreate', 'exceeded quota: small') },
      "unhealthy: the Deployment web can't make its pods (exceeded quota: small)",
    ],
    ['at 0', { replicas: 0 }, { replicas: 0 }, 'unhealthy: the Deployment web is at 0 replicas'],
    [
      'paused in the middle of a rollout, and serving',
      { paused: true },
      { updatedReplicas: 1 },
      'healthy: the Deployment web has 3 of 3 replicas available, and its rollout is paused',
    ],
    [
      'paused and not serving',
      { paused: true },
      { availableReplicas: 0 },
      'starting: the Deployment web is paused, and not available (600 s)',
    ],
  ])('%s', (_, spec, status, expected) => {
    expect(said('Deployment', { replicas: 3, ...spec }, { ...up, ...status })).toBe(expected);
  });

  test('that says no number has one replica', () => {
    expect(said('Deployment', {}, { ...up, replicas: 1, updatedReplicas: 1, availableReplicas: 1 })).toBe(
      'healthy: the Deployment web has 1 of 1 replicas available',
    );
  });
});

describe('a StatefulSet', () => {
  const same = { currentRevision: 'a', updateRevision: 'a' };
  const partition = { updateStrategy: { type: 'RollingUpdate', rollingUpdate: { partition: 2 } } };
  test.each<[string, object, object, string]>([
    ['all of it ready', {}, same, 'healthy: the StatefulSet web has 3 of 3 replicas ready'],
    [
      'not all ready',
      {},
      { ...same, readyReplicas: 2 },
      'starting: the StatefulSet web has 2 of 3 replicas ready (600 s)',
    ],
    [
      'not all new',
      {},
      { currentRevision: 'a', updateRevision: 'b', updatedReplicas: 1 },
      'starting: the StatefulSet web has 1 of 3 new replicas (600 s)',
    ],
    [
      'held back by its partition',
      partition,
      { currentRevision: 'a', updateRevision: 'b', updatedReplicas: 1 },
      'healthy: the StatefulSet web has 3 of 3 replicas ready, 2 of them held back by its partition',
    ],
    [
      'not new above its partition',
      partition,
      { currentRevision: 'a', updateRevision: 'b', updatedReplicas: 0 },
      'starting: the StatefulSet web has 0 of 1 new replicas (600 s)',
    ],
    [
      'updated by hand',
      { updateStrategy: { type: 'OnDelete' } },
      { currentRevision: 'a', updateRevision: 'b', updatedReplicas: 0 },
      'healthy: the StatefulSet web has 3 of 3 replicas ready',
    ],
  ])('%s', (_, spec, status, expected) => {
    expect(said('StatefulSet', { replicas: 3, ...spec }, { ...up, ...status })).toBe(expected);
  });
});

test.each([
  [{}, 'healthy: the CronJob web is scheduled'],
  [{ suspend: false }, 'healthy: the CronJob web is scheduled'],
  [{ suspend: true }, 'unhealthy: the CronJob web is suspended'],
])('a CronJob with %j is %s', (spec, expected) => {
  expect(said('CronJob', spec, {})).toBe(expected);
});
