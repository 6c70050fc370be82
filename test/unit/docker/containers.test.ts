import { describe, expect, test } from '@jest/globals';
import type { ContainerInspectInfo } from 'dockerode';

import { useOf } from '../../../src/adapters/docker/containers.ts';
import { oneOffOptions } from '../../../src/adapters/docker/one-off.ts';

const now = new Date('2026-01-02T03:04:05Z');
const state = (changes: Readonly<Record<string, unknown>>, restarts = 0): ContainerInspectInfo =>
  ({
    Name: '/ops-center',
    RestartCount: restarts,
    State: { Status: 'running', Running: true, StartedAt: '2026-01-01T00:00:00Z', ...changes },
  }) as unknown as ContainerInspectInfo;

describe('where alembic runs', () => {
  test.each([
    ['in a container that runs', state({}), 'inside'],
    ['in one that was restarted once, long ago', state({}, 3), 'inside'],
    ['in one that was started just now, by a person', state({ StartedAt: '2026-01-02T03:04:00Z' }), 'inside'],
    ['aside of one that was restarted just now', state({ StartedAt: '2026-01-02T03:04:00Z' }, 3), 'aside'],
    ['aside of one that waits for its next start', state({ Restarting: true }, 3), 'aside'],
    ['aside of one that ended', state({ Status: 'exited', Running: false }), 'aside'],
    ['aside of one that never ran', state({ Status: 'created', Running: false }), 'aside'],
  ])('%s', (_, container, expected) => {
    expect(useOf(container, now)).toBe(expected);
  });

  test.each([
    ['one that is paused', { Status: 'paused', Paused: true }, 'docker unpause ops-center'],
    ['one that is being removed', { Status: 'removing', Running: false }, 'being removed'],
  ])('in no container: %s', (_, changes, message) => {
    expect(() => useOf(state(changes), now)).toThrow(message);
  });
});

test('a container made like another has its image, environment, mounts and limits, and none of its names, ports and restarts', () => {
  const like = {
    Id: 'abc',
    Name: '/ops-center',
    Image: 'sha256:1234',
    Config: {
      Image: 'ops-center:latest',
      Env: ['PATH=/app/bin', 'DATABASE_URL=postgresql://db/d'],
      User: 'app',
      Entrypoint: ['/entrypoint.sh'],
      Cmd: ['serve'],
      Labels: { 'com.docker.compose.service': 'web' },
    },
    HostConfig: {
      NetworkMode: 'unicorn',
      Memory: 1024,
      ReadonlyRootfs: true,
      SecurityOpt: null,
      // As Podman tells it; Docker says nofile.
      Ulimits: [{ Name: 'RLIMIT_NOFILE', Soft: 1024, Hard: 2048 }],
      PortBindings: { '8084/tcp': [{ HostPort: '8084' }] },
      RestartPolicy: { Name: 'always' },
    },
    NetworkSettings: { Networks: { unicorn: {} } },
  } as unknown as ContainerInspectInfo;
  const program = { program: 'python3', args: ['-u'], cwd: '/app', env: { PGAPPNAME: 'x' } };
  expect(oneOffOptions(like, program)).toEqual({
    Image: 'sha256:1234',
    Entrypoint: ['python3'],
    Cmd: ['-u'],
    Env: ['PATH=/app/bin', 'DATABASE_URL=postgresql://db/d', 'PGAPPNAME=x'],
    User: 'app',
    WorkingDir: '/app',
    Labels: { 'dev.migrationtarget.one-off-of': 'ops-center' },
    OpenStdin: true,
    StdinOnce: true,
    AttachStdin: true,
    AttachStdout: true,
    AttachStderr: true,
    Tty: false,
    Healthcheck: { Test: ['NONE'] },
    HostConfig: {
      NetworkMode: 'unicorn',
      Memory: 1024,
      ReadonlyRootfs: true,
      Ulimits: [{ Name: 'nofile', Soft: 1024, Hard: 2048 }],
      VolumesFrom: ['abc'],
      AutoRemove: true,
    },
  });
});

test.each([
  ['the one that it is on, whatever Podman calls it', 'bridge', ['unicorn'], 'unicorn'],
  ['the default one, which has its own name on Podman', 'bridge', ['podman'], 'podman'],
  ['the default one', 'bridge', ['bridge', 'unicorn'], 'bridge'],
  ['the one of the machine', 'host', ['host'], 'host'],
  ['none', 'none', [], 'none'],
])('a container made like another is made with its network: %s', (_, mode, networks, expected) => {
  const like = {
    Name: '/ops-center',
    Config: {},
    HostConfig: { NetworkMode: mode },
    NetworkSettings: { Networks: Object.fromEntries(networks.map((name) => [name, {}])) },
  } as unknown as ContainerInspectInfo;
  const program = { program: 'python3', args: [], env: {} };
  expect(oneOffOptions(like, program).HostConfig?.NetworkMode).toBe(expected);
});
