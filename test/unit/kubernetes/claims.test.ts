import { expect, test } from '@jest/globals';
import { createClaims } from '../../../src/adapters/kubernetes/claims.ts';

const key = (name: string) => ({ namespace: 'ops', name });
const claim = (name: string, versionTable = 'public.alembic_version') => ({
  systemIdentifier: '7',
  name,
  versionTable,
  since: '2026-01-01T00:00:00.000Z',
});

test('those that claim the same version table are found, and no others', () => {
  const claims = createClaims();
  claims.set(key('a'), claim('orders'));
  claims.set(key('b'), claim('orders'));
  claims.set(key('c'), claim('orders', 'public.other'));
  claims.set(key('d'), claim('users'));
  expect(claims.of(claim('orders'))).toEqual([key('a'), key('b')]);
});

test('who claims something else by now, or is gone, is found no more', () => {
  const claims = createClaims();
  claims.set(key('a'), claim('orders'));
  claims.set(key('b'), claim('orders'));
  claims.set(key('a'), claim('users'));
  claims.set(key('b'), null);
  expect(claims.of(claim('orders'))).toEqual([]);
  expect(claims.of(claim('users'))).toEqual([key('a')]);
});
