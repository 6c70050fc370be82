import { describe, expect, test } from '@jest/globals';

import { untouched } from '../../../src/rollback/application.ts';
import { hinder } from '../../../src/rollback/hindrance.ts';
import type { Operation } from '../../../src/rollback/model.ts';
import { newOperation } from '../../../src/rollback/operation.ts';

const start = Date.parse('2026-01-02T03:00:00Z');
const at = (minutes: number): Date => new Date(start + minutes * 60_000);

const operation = (so: Partial<Operation>): Operation => ({
  ...newOperation(
    {
      identity: { systemIdentifier: '1', name: 'unicorn', oid: 1 },
      server: { version: '16.4', major: 16 },
      versionTable: { kind: 'present', revisions: ['a2'] },
    },
    {
      id: 'op1',
      trigger: 'generation',
      generation: 1,
      requestedAt: null,
      plan: { kind: 'restore', current: ['a2'], desired: ['a1'], backup: 'b1', takenAt: '', because: '', digest: '' },
    },
    at(-1),
  ),
  ...so,
});
const stopped = { application: { ...untouched(), stoppedAt: '2026-01-02T02:59:30Z' } };

/** When people were told, at each of these minutes. */
function told(so: Partial<Operation>, minutes: readonly number[]): readonly (string | null)[] {
  let now = operation(so);
  return minutes.map((minute) => {
    now = hinder(now, at(minute));
    return now.hindered?.toldAt ?? null;
  });
}

describe('what keeps an operation from going on', () => {
  const minutes = [0, 1, 4.9, 5, 10];
  const since = '2026-01-02T03:05:00.000Z';

  test.each([
    ['the application is stopped', { step: 'backup', ...stopped }],
    ['the change may have begun', { step: 'change', begun: true }],
    ['the change is to be verified', { step: 'verify' }],
  ] as const)('is told after five minutes, and once, where %s', (_, so) => {
    expect(told(so, minutes)).toEqual([null, null, null, since, since]);
  });

  const backup = { kind: 'backup', current: ['a2'], desired: ['a2'], reason: 'Requested', digest: '' } as const;
  test.each([
    ['nothing has changed, and the application runs', { step: 'rehearse' }],
    ['nothing is to be changed', { step: 'report', plan: backup }],
  ] as const)('is not told where nobody waits for it: %s', (_, so) => {
    expect(told(so, minutes)).toEqual([null, null, null, null, null]);
  });
});
