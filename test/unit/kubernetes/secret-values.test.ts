import { expect, test } from '@jest/globals';
import type { ApiCall, ApiClient } from '../../../src/adapters/kubernetes/client.ts';
import { createSecretValues } from '../../../src/adapters/kubernetes/secret-values.ts';

const owner = { namespace: 'ops', name: 'unicorn' };
const reference = { name: 'database', key: 'url' };

/** An API server with one Secret. */
function scene() {
  const asked: (string | undefined)[] = [];
  let [value, now] = ['one', 0];
  const client = {
    call: ({ as }: ApiCall) => {
      asked.push(as);
      return Promise.resolve({ data: { url: Buffer.from(value).toString('base64') } });
    },
  } as unknown as ApiClient;
  return {
    asked,
    values: createSecretValues(client, () => now),
    rotate: (to: string) => void (value = to),
    pass: (ms: number) => void (now += ms),
  };
}

test('a value that was read a short while ago is not asked for again', async () => {
  const { asked, values } = scene();
  expect(await values.read(owner, reference)).toBe('one');
  expect(await values.recall({ ...owner, name: 'another' }, reference)).toBe('one');
  expect(asked).toHaveLength(1);
});

test('one that was rotated is known as soon as anybody reads it, and after some minutes in any case', async () => {
  const { values, rotate, pass } = scene();
  await values.recall(owner, reference);
  rotate('two');
  expect(await values.recall(owner, reference)).toBe('one');
  expect(await values.read(owner, reference)).toBe('two');
  expect(await values.recall(owner, reference)).toBe('two');
  rotate('three');
  pass(5 * 60_000);
  expect(await values.recall(owner, reference)).toBe('three');
});

test('what one service account may read is asked for again for another', async () => {
  const { asked, values } = scene();
  await values.recall({ ...owner, serviceAccountName: 'a' }, reference);
  await values.recall({ ...owner, serviceAccountName: 'b' }, reference);
  expect(asked).toEqual(['system:serviceaccount:ops:a', 'system:serviceaccount:ops:b']);
});

test('that a Secret has no such key is not asked for again either', async () => {
  const { asked, values } = scene();
  await values.recall(owner, reference);
  await expect(values.recall(owner, { ...reference, key: 'other' })).rejects.toMatchObject({
    reason: 'SecretNotFound',
  });
  expect(asked).toHaveLength(1);
});
