import { expect, test } from '@jest/globals';
import type { Workloads } from '../../../src/rollback/ports.ts';
import { awaitHealth, timeoutOf } from '../../../src/rollback/health.ts';

const healthCheck = { url: 'http://a', timeout: '5s' };

test.each([
  [
    'the declared health check, whatever a workload says',
    { healthCheck },
    { state: 'starting', withinSeconds: 600 },
    5,
  ],
  ['a minute', {}, { state: 'starting' }, 60],
  ['as long as a workload that is starting says', {}, { state: 'starting', withinSeconds: 600 }, 600],
  ['a minute at least', {}, { state: 'starting', withinSeconds: 10 }, 60],
  ['a minute where it is not well', {}, { state: 'unhealthy', withinSeconds: 600 }, 60],
] as const)('an application has the time of %s', (_, declared, health, seconds) => {
  expect(timeoutOf(declared, { what: '', ...health })).toBe(seconds);
});

test.each([
  ['http://a/status answers 200', 'http://a/status answers 200.'],
  ['deployment a is available', 'Deployment a is available.'],
])('that %s is told in a sentence', async (what, message) => {
  const own = { health: () => Promise.resolve({ state: 'healthy', what }) } as unknown as Workloads;
  const asked = { own, probe: () => Promise.reject(new Error('not declared')) };
  const { signal } = new AbortController();
  expect(await awaitHealth(asked, {}, [], { signal, progress: () => undefined })).toEqual({ healthy: true, message });
});
