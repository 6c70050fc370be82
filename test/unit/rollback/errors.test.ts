import { expect, test } from '@jest/globals';

import { stalled, whileUnderWay } from '../../../src/rollback/errors.ts';

test('a refused password in the middle of an operation is tried again, which is said once and without a command', () => {
  const refused = stalled(
    'AuthenticationFailed',
    'Connecting on here: no. Correct the password, then: migration-target reconcile NAME',
  );
  expect(whileUnderWay(whileUnderWay(refused))).toMatchObject({
    kind: 'retry',
    reason: 'AuthenticationFailed',
    message: 'Connecting on here: no. Correct the password. It is tried again by itself.',
  });
});

test('whatever else needs a person does so in the middle of an operation too', () => {
  const missing = stalled('SecretNotFound', 'There is no Secret ops/x.');
  expect(whileUnderWay(missing)).toBe(missing);
});
