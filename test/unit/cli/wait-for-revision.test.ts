import { expect, test } from '@jest/globals';

import { emptyStatus, type TargetStatus } from '../../../src/api/target.ts';
import { closedText } from '../../../src/cli/wait-for-revision.ts';
import { condition } from '../telemetry/targets.ts';

const key = { namespace: 'default', name: 'unicorn-db' };

const waiting = (message: string): TargetStatus => ({
  ...emptyStatus,
  observedGeneration: 2,
  desiredRevisions: ['a100'],
  conditions: [{ ...condition('Ready', 'False', 'ApprovalRequired'), message }],
});

test('a gate that is closed says why, with the whole command', () => {
  expect(closedText(key, waiting('To approve: migration-target approve unicorn-db'), 2)).toMatch(
    /ApprovalRequired: To approve: migration-target approve unicorn-db$/,
  );
});

test('where there is too much to say of it, it leads to all of it, and never to half a command', () => {
  const long = `${'Rows would go. '.repeat(30)}To approve: migration-target approve unicorn-db`;
  expect(closedText(key, waiting(long), 2)).toMatch(/ … All of it: migration-target status unicorn-db$/);
});
