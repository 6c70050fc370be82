import { describe, expect, test } from '@jest/globals';
import type { Workloads } from '../../../src/rollback/ports.ts';
import { awaitHealth, lookAtHealth, timeoutOf } from '../../../src/rollback/health.ts';
import type { Ports } from '../../../src/rollback/ports.ts';
import { emptyStatus } from '../../../src/api/target.ts';
import { targetWith } from './targets.ts';

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

describe('why it did not come up', () => {
  const target = targetWith({ application: { healthCheck } });
  const { generation } = target.metadata;
  const log = 'Its last errors: ✗ api: column "email" does not exist.';
  const last = { state: 'unhealthy', generation, at: '2026-01-01T00:00:00Z', message: 'It is down.', log } as const;
  const look = async (state: 'healthy' | 'unhealthy', before: Partial<typeof last> | { generation: number } = {}) => {
    const own = {
      read: () => Promise.resolve([]),
      health: () => Promise.resolve({ state: 'healthy', what: 'it runs' }),
    };
    const ports = { workloads: () => own, probe: () => Promise.resolve({ state, what: `${healthCheck.url} answers` }) };
    const status = { ...emptyStatus, application: { ...last, ...before } };
    return lookAtHealth({ target, status, ports: ports as unknown as Ports }, new Date('2026-01-01T01:00:00Z'));
  };

  test('is told as long as it has not', async () => {
    expect(await look('unhealthy')).toMatchObject({
      message: 'The application is not healthy: http://a answers.',
      log,
    });
  });

  test('is forgotten once it has', async () => {
    expect(await look('healthy')).toMatchObject({ state: 'healthy', log: null });
  });

  test('says nothing of what is declared since', async () => {
    expect(await look('unhealthy', { generation: generation - 1 })).toMatchObject({ state: 'unhealthy', log: null });
  });
});
