import { describe, expect, test } from '@jest/globals';
import { containersOf, tellingPod } from '../../../../src/adapters/kubernetes/workloads/last-lines.ts';
import { asPods, justStarted, troubleOf, type Pod } from '../../../../src/adapters/kubernetes/workloads/pod.ts';

const podWith = (status: object, metadata: object = {}): Pod => {
  const [pod] = asPods({
    items: [{ metadata: { name: 'web-1', ...metadata }, spec: { containers: [{ name: 'app' }] }, status }],
  });
  if (pod === undefined) throw new Error('no pod');
  return pod;
};
const app = (status: object): object => ({ containerStatuses: [{ name: 'app', ...status }] });
const waiting = (reason: string, message = ''): object => ({ state: { waiting: { reason, message } } });
const crashed = { lastState: { terminated: { exitCode: 1, reason: 'Error' } }, restartCount: 3 };

describe('what is in the way of a pod', () => {
  test.each<[string, object, string | null]>([
    ['nothing', app({ ready: true, started: true, state: { running: {} } }), null],
    ['nothing yet', app(waiting('ContainerCreating')), null],
    ['nothing yet, while its init containers run', app(waiting('PodInitializing')), null],
    [
      'a container that crashes again and again',
      app({ ...waiting('CrashLoopBackOff', 'back-off 40s restarting failed container'), ...crashed }),
      'the container app of the pod web-1 waits in CrashLoopBackOff (it ended with exit code 1)',
    ],
    [
      'memory',
      app({
        ...waiting('CrashLoopBackOff'),
        lastState: { terminated: { exitCode: 137, reason: 'OOMKilled' } },
      }),
      'the container app of the pod web-1 waits in CrashLoopBackOff (it ran out of memory)',
    ],
    [
      'an image that is not there',
      app(waiting('ImagePullBackOff', 'Back-off pulling image "web:2": not found.')),
      'the container app of the pod web-1 waits in ImagePullBackOff (Back-off pulling image "web:2": not found)',
    ],
    [
      'a Secret that is not there',
      app(waiting('CreateContainerConfigError', 'secret "x" not found')),
      'the container app of the pod web-1 waits in CreateContainerConfigError (secret "x" not found)',
    ],
    [
      'a container that just ended',
      app({ state: { terminated: { exitCode: 3 } } }),
      'the container app of the pod web-1 does not run (it ended with exit code 3)',
    ],
    [
      'an init container',
      {
        initContainerStatuses: [{ name: 'gate', ...waiting('CrashLoopBackOff'), ...crashed }],
        ...app(waiting('PodInitializing')),
      },
      'the container gate of the pod web-1 waits in CrashLoopBackOff (it ended with exit code 1)',
    ],
    [
      'an init container that is done is not',
      {
        initContainerStatuses: [{ name: 'gate', state: { terminated: { exitCode: 0 } } }],
        ...app(waiting('PodInitializing')),
      },
      null,
    ],
    [
      'its readiness probe',
      app({ ready: false, started: true, state: { running: {} } }),
      'the container app of the pod web-1 runs, but its readiness probe has not passed',
    ],
    [
      'its startup probe',
      app({ ready: false, started: false, state: { running: {} } }),
      'the container app of the pod web-1 runs, but its startup probe has not passed',
    ],
    [
      'no node for it',
      {
        conditions: [
          { type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: '0/3 nodes are available.' },
        ],
      },
      "the pod web-1 can't be scheduled (0/3 nodes are available)",
    ],
  ])('is %s', (_, status, expected) => {
    expect(troubleOf(podWith(status))).toBe(expected);
  });
});

describe('a container that is ready', () => {
  const now = new Date('2026-01-01T00:01:00Z');
  const running = (startedAt: string, container: object = {}): Pod => ({
    ...podWith(app({ ready: true, state: { running: { startedAt } } })),
    spec: { nodeName: 'node1', containers: [{ name: 'app', ...container }] },
  });
  const told = 'the container app of the pod web-1 has only just started';
  test.each<[string, Pod, string | null]>([
    ['has run for a moment, and has no probe that says how it is', running('2026-01-01T00:00:57Z'), told],
    ['was started by a node whose clock is ahead', running('2026-01-01T00:01:02Z'), told],
    ['has run for a while', running('2026-01-01T00:00:55Z'), null],
    ['has a readiness probe', running('2026-01-01T00:00:57Z', { readinessProbe: {} }), null],
    ['has a startup probe', running('2026-01-01T00:00:57Z', { startupProbe: {} }), null],
    ['does not run', podWith(app(waiting('CrashLoopBackOff'))), null],
  ])('%s', (_, pod, expected) => {
    expect(justStarted(pod, now)).toBe(expected);
  });
});

describe('the last lines', () => {
  const ready = { conditions: [{ type: 'Ready', status: 'True' }] };
  const at = (name: string, seconds: number, status: object = {}, more: object = {}): Pod =>
    podWith(status, { name, creationTimestamp: `2026-01-01T00:00:0${seconds}Z`, ...more });

  test('are of the newest pod that is not ready, or of the newest; of none that is going', () => {
    const going = at('going', 9, {}, { deletionTimestamp: '2026-01-01T00:00:09Z' });
    const pods = [at('old', 1, ready), at('bad', 2), at('worse', 3), at('new', 4, ready), going];
    expect(tellingPod(pods)?.metadata.name).toBe('worse');
    expect(
      tellingPod(pods.filter(({ metadata }) => metadata.name.length === 3 && metadata.name !== 'bad'))?.metadata.name,
    ).toBe('new');
    expect(tellingPod([going])).toBeUndefined();
  });

  test.each<[string, object, readonly string[]]>([
    ['one that runs', app({ ready: true, state: { running: {} } }), ['app']],
    ['one that has not begun', app(waiting('ContainerCreating')), []],
    ['one that waits to be started again', app({ ...waiting('CrashLoopBackOff'), ...crashed }), ['app before']],
    [
      'one that was started again, and is not ready',
      app({ ready: false, state: { running: {} }, ...crashed }),
      ['app before', 'app'],
    ],
    ['one that was started again, and is well', app({ ready: true, state: { running: {} }, ...crashed }), ['app']],
    ['one that just ended in an error', app({ state: { terminated: { exitCode: 1 } } }), ['app']],
  ])('are those of %s', (_, status, expected) => {
    const streams = containersOf(podWith(status));
    expect(streams.map(({ container, previous }) => `${container}${previous ? ' before' : ''}`)).toEqual(expected);
  });
});
