import { expect, test } from '@jest/globals';

import { emptyStatus, type HistoryEntry, type TargetStatus } from '../../../src/api/target.ts';
import { endedNotice, missedNotices, stalledNotice } from '../../../src/rollback/notification.ts';

const key = { namespace: 'ops', name: 'unicorn-db' };
const ended = (change: Partial<HistoryEntry>): HistoryEntry => ({
  operationId: 'op1',
  kind: 'downgrade',
  from: ['b2'],
  to: ['a1'],
  result: 'success',
  reason: 'Downgraded',
  startedAt: '2026-01-02T03:00:00.000Z',
  finishedAt: '2026-01-02T03:04:00.000Z',
  message: 'done',
  report: null,
  ...change,
});

test.each([
  ['succeeded', {}],
  ['succeeded', { kind: 'restore', reason: 'RestoredFromBackup' }],
  ['restored', { reason: 'RestoredFromBackup' }],
  ['waiting', { kind: 'rehearsal', reason: 'ApprovalRequired' }],
  ['failed', { result: 'failure', reason: 'DowngradeFailed' }],
  ['failed', { result: 'refused', reason: 'DataLossForbidden' }],
  ['failed', { kind: 'backup', result: 'failure', reason: 'BackupFailed' }],
  [undefined, { kind: 'backup', reason: 'BackupVerified' }],
] as const)('%s is told of an operation that ended as %j', (event, change) => {
  expect(endedNotice(key, ended(change))?.event).toBe(event);
});

test('after a start what happened shortly before is told again, with the same ids; what is older is not', () => {
  const status: TargetStatus = {
    ...emptyStatus,
    history: [
      ended({ operationId: 'op3', finishedAt: '2026-01-02T03:30:00.000Z' }),
      ended({ operationId: 'op2', finishedAt: '2026-01-02T03:20:00.000Z', result: 'failure', reason: 'LockTimedOut' }),
      ended({ operationId: 'op1', finishedAt: '2026-01-02T03:10:00.000Z' }),
    ],
    conditions: [
      {
        type: 'Stalled',
        status: 'True',
        reason: 'RevisionNotFound',
        message: 'no zz',
        observedGeneration: 1,
        lastTransitionTime: '2026-01-02T03:31:00.000Z',
      },
    ],
  };
  const since = new Date('2026-01-02T03:15:00.000Z');
  const first = missedNotices(key, status, since);
  expect(first.map(({ id }) => id)).toEqual([
    'op2/failed/LockTimedOut',
    'op3/succeeded/Downgraded',
    expect.stringMatching(/^[0-9a-f]{16}\/failed\/RevisionNotFound$/),
  ]);
  expect(missedNotices(key, status, since)).toEqual(first);
  expect(first[2]).toEqual(
    stalledNotice(key, status, { reason: 'RevisionNotFound', message: 'no zz', at: '2026-01-02T03:31:00.000Z' }),
  );
  expect(missedNotices(key, status, new Date('2026-01-02T04:00:00.000Z'))).toEqual([]);
});
