import { describe, expect, test } from '@jest/globals';

import { emptyStatus, type TargetStatus } from '../../../src/api/target.ts';
import { refusalMessage, refusedStatus } from '../../../src/rollback/refused.ts';

const during = (application: unknown): TargetStatus => {
  const operation = { version: 1, id: '0b1c', step: 'change', startedAt: '2026-01-01T00:00:00Z', application };
  return { ...emptyStatus, operation };
};
const stopped = {
  workloads: [
    { name: 'ops-center', running: true },
    { name: 'never-ran', running: false },
  ],
  stoppedAt: '2026-01-01T00:00:00Z',
  resumedAt: null,
};

describe('a declaration that nothing is done for says what is not finished', () => {
  test.each([
    ['nothing, of a new one', null, 'It is wrong.'],
    ['nothing, where no operation is under way', emptyStatus, 'It is wrong.'],
    ['an operation', during(null), 'It is wrong. Operation 0b1c is not finished and waits for that.'],
    [
      'an operation, and what it stopped',
      during(stopped),
      'It is wrong. Operation 0b1c is not finished and waits for that, and what it stopped stays down: ops-center.',
    ],
    [
      'an operation that has started it again',
      during({ ...stopped, resumedAt: '2026-01-01T00:01:00Z' }),
      'It is wrong. Operation 0b1c is not finished and waits for that.',
    ],
  ])('%s', (_, before, expected) => {
    expect(refusalMessage(before, 'It is wrong.')).toBe(expected);
  });
});

test('an application that was stopped is told to be so, whether it is declared still or not', () => {
  const before: TargetStatus = {
    ...emptyStatus,
    application: {
      generation: 1,
      at: '2026-01-01T00:00:00Z',
      state: 'stopped',
      message: 'ops-center is stopped.',
      log: null,
    },
  };
  const { conditions } = refusedStatus(before, {
    generation: 2,
    applicationDeclared: false,
    isRehearsing: false,
    reason: 'InvalidSpec',
    message: 'It is wrong.',
    now: new Date('2026-01-01T00:02:00Z'),
  });
  expect(conditions).toContainEqual(
    expect.objectContaining({ type: 'ApplicationHealthy', status: 'False', reason: 'ApplicationStopped' }),
  );
});
