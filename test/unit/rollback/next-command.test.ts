import { describe, expect, test } from '@jest/globals';

import type { Outcome } from '../../../src/api/conditions.ts';
import { withNextCommand } from '../../../src/rollback/next-command.ts';

const outcome = (kind: 'stalled' | 'retrying' | 'ready', message: string): Outcome => ({
  kind,
  reason: 'SecretNotFound',
  message,
});

describe('the message of a target that stalled', () => {
  test.each([
    [
      'has the command that goes on, where it had none',
      'The file /a does not exist. Write it: touch /a',
      'The file /a does not exist. Write it: touch /a. When that is mended: migration-target reconcile unicorn',
    ],
    [
      'ends in one full stop only',
      'The file /a is empty.',
      'The file /a is empty. When that is mended: migration-target reconcile unicorn',
    ],
    [
      'names its own target where an adapter could not',
      'Correct that, then: migration-target reconcile NAME',
      'Correct that, then: migration-target reconcile unicorn',
    ],
    [
      'keeps a command that it has',
      'See: migration-target backups verify b1',
      'See: migration-target backups verify b1',
    ],
  ])('%s', (_, message, expected) => {
    expect(withNextCommand(outcome('stalled', message), 'unicorn')).toEqual(outcome('stalled', expected));
  });

  test('says the same when it is told again', () => {
    const once = withNextCommand(outcome('stalled', 'The file /a is empty.'), 'unicorn');
    expect(withNextCommand(once, 'unicorn')).toEqual(once);
  });

  test('is as it was for what passes by itself, and for what is ready', () => {
    for (const kind of ['retrying', 'ready'] as const) {
      expect(withNextCommand(outcome(kind, 'It passes.'), 'unicorn')).toEqual(outcome(kind, 'It passes.'));
    }
  });
});
