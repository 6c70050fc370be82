import { expect, test } from '@jest/globals';

import type { Outcome } from '../../../src/api/conditions.ts';
import { exitCodeOf } from '../../../src/cli/carry-out.ts';

test.each<[string, Outcome, number]>([
  ['ready', { kind: 'ready', reason: 'InSync', message: '' }, 0],
  ['working, when it was left', { kind: 'working', reason: 'Progressing', message: '' }, 1],
  ['to be tried again', { kind: 'retrying', reason: 'DatabaseUnreachable', message: '' }, 1],
  ['waiting for an approval', { kind: 'awaitingApproval', message: '' }, 3],
  ['stalled', { kind: 'stalled', reason: 'DowngradeFailed', message: '' }, 4],
  ['suspended: what was asked for was not done', { kind: 'suspended', message: '' }, 4],
])('the exit code of what is %s', (_, outcome, code) => {
  expect(exitCodeOf(outcome)).toBe(code);
});
