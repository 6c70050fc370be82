import { describe, expect, test } from '@jest/globals';
import type { ContainerInspectInfo } from 'dockerode';
import { hasCrashed, healthOf } from '../../../src/adapters/docker/health.ts';

const container = (state: Readonly<Record<string, unknown>>): ContainerInspectInfo =>
  ({
    Name: '/api',
    State: { Running: false, Restarting: false, OOMKilled: false, ExitCode: 0, Error: '', ...state },
  }) as unknown as ContainerInspectInfo;

describe('how a container is', () => {
  test('one that the engine restarted just now is not known to run yet', () => {
    const now = new Date('2026-01-01T00:00:10Z');
    const restarted = (StartedAt: string) => ({ ...container({ Running: true, StartedAt }), RestartCount: 7 });
    expect(healthOf(restarted('2026-01-01T00:00:08Z'), now).state).toBe('starting');
    expect(healthOf(restarted('2026-01-01T00:00:01Z'), now).state).toBe('healthy');
  });

  test.each<[string, Readonly<Record<string, unknown>>, string, boolean]>([
    ['runs', { Running: true }, 'healthy: the container api runs', false],
    ['is healthy', { Running: true, Health: { Status: 'healthy' } }, 'healthy: the container api is healthy', false],
    [
      'is starting',
      { Running: true, Health: { Status: 'starting' } },
      'starting: the container api is starting',
      false,
    ],
    [
      'is unhealthy',
      { Running: true, Health: { Status: 'unhealthy' } },
      'unhealthy: the container api is unhealthy, as its health check says',
      false,
    ],
    [
      'restarts',
      { Running: true, Restarting: true, ExitCode: 1 },
      'unhealthy: the container api restarts again and again (it ended with exit code 1)',
      true,
    ],
    ['failed', { ExitCode: 3 }, 'unhealthy: the container api does not run (it ended with exit code 3)', true],
    [
      'was stopped',
      { ExitCode: 143 },
      'unhealthy: the container api does not run (it ended with exit code 143)',
      false,
    ],
    ['ended', {}, 'unhealthy: the container api does not run (it ended with exit code 0)', false],
    [
      'ran out of memory',
      { ExitCode: 137, OOMKilled: true },
      'unhealthy: the container api does not run (it ran out of memory)',
      true,
    ],
    [
      'can’t start',
      { Error: 'no such file', ExitCode: 127 },
      'unhealthy: the container api does not run (no such file)',
      true,
    ],
  ])('%s', (_, state, expected, crashed) => {
    const { state: is, what } = healthOf(container(state));
    expect(`${is}: ${what}`).toBe(expected);
    expect(hasCrashed(container(state))).toBe(crashed);
  });
});
