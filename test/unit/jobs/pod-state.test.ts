import { describe, expect, test } from '@jest/globals';

import { podObject, stateOf, type Pod } from '../../../src/adapters/jobs/pod-state.ts';
import { NotLaunched } from '../../../src/adapters/process/launcher.ts';
import { Failure } from '../../../src/rollback/errors.ts';

const where = 'the Job ops/unicorn-1-alembic-2';

const pod = (status: unknown, metadata: object = {}): Pod =>
  podObject.parse({
    metadata: { name: 'unicorn-1', uid: 'u', resourceVersion: '1', ...metadata },
    spec: { nodeName: 'node1' },
    status,
  });
const container = (state: unknown, imageID = ''): unknown => ({
  phase: 'Running',
  containerStatuses: [{ name: 'run', imageID, state }],
});
const waiting = (reason: string, message = ''): unknown => ({
  phase: 'Pending',
  containerStatuses: [{ name: 'run', state: { waiting: { reason, message } } }],
});

/** As a person reads it. */
function told(one: Pod): string {
  const state = stateOf(one, 'run', where);
  switch (state.kind) {
    case 'stuck':
      return state.failure instanceof Failure
        ? `${state.failure.kind} ${state.failure.reason}: ${state.failure.message}`
        : `not launched (${state.failure instanceof NotLaunched ? `${state.failure.missing}: ${state.failure.why}` : ''})`;
    case 'running':
      return `running in ${state.imageId}`;
    case 'ended':
      return `ended ${state.exitCode} (${state.why ?? 'by itself'})`;
    default:
      return `${state.kind}: ${state.what}`;
  }
}

describe('a pod of a Job', () => {
  test.each<[string, Pod, string]>([
    ['waits for a node', pod({ phase: 'Pending' }), 'starting: Pending'],
    ['pulls its image', pod(waiting('ContainerCreating')), 'starting: ContainerCreating'],
    [
      'runs, in the image that its node tells',
      pod(container({ running: {} }, 'r/app@sha256:12')),
      'running in r/app@sha256:12',
    ],
    [
      'runs, in an image as older nodes tell it',
      pod(container({ running: {} }, 'docker-pullable://r/app@sha256:12')),
      'running in r/app@sha256:12',
    ],
    [
      'still runs while it is being deleted',
      pod(container({ running: {} }), { deletionTimestamp: 'now' }),
      'running in ',
    ],
    ['has ended', pod(container({ terminated: { exitCode: 3, reason: 'Error' } })), 'ended 3 (by itself)'],
    [
      'ran out of memory',
      pod(container({ terminated: { exitCode: 137, reason: 'OOMKilled' } })),
      'ended 137 (it ran out of memory; give it more: spec.runtime.kubernetes.template.spec.containers[0].resources.limits.memory)',
    ],
    [
      'was evicted, and its container with it',
      pod({
        phase: 'Failed',
        reason: 'Evicted',
        message: 'The node was low on resource: memory.',
        conditions: [{ type: 'DisruptionTarget', status: 'True', reason: 'TerminationByKubelet' }],
        containerStatuses: [{ name: 'run', state: { terminated: { exitCode: 137, reason: 'Error' } } }],
      }),
      'lost: the pod unicorn-1 on node node1 is gone before its program had ended: The node was low on resource: memory.',
    ],
    [
      'had its time',
      pod({
        phase: 'Failed',
        reason: 'DeadlineExceeded',
        message: 'Pod was active on the node longer than the specified deadline',
        containerStatuses: [{ name: 'run', state: { terminated: { exitCode: 137, reason: 'Error' } } }],
      }),
      'ended 137 (DeadlineExceeded: Pod was active on the node longer than the specified deadline)',
    ],
    [
      'was deleted by a person',
      pod(container({ terminated: { exitCode: 137 } }), { deletionTimestamp: 'now' }),
      'ended 137 (its pod was deleted)',
    ],
    [
      'was drained away',
      pod({
        phase: 'Running',
        conditions: [
          {
            type: 'DisruptionTarget',
            status: 'True',
            reason: 'EvictionByEvictionAPI',
            message: 'Eviction API: evicting',
          },
        ],
        containerStatuses: [{ name: 'run', state: { terminated: { exitCode: 143 } } }],
      }),
      'lost: the pod unicorn-1 on node node1 is gone before its program had ended: Eviction API: evicting',
    ],
    [
      'was drained away when it had ended',
      pod({
        phase: 'Succeeded',
        conditions: [{ type: 'DisruptionTarget', status: 'True', reason: 'EvictionByEvictionAPI' }],
        containerStatuses: [{ name: 'run', state: { terminated: { exitCode: 0 } } }],
      }),
      'ended 0 (by itself)',
    ],
    [
      'was evicted before it ran',
      pod({ phase: 'Failed', reason: 'Evicted', message: 'Pod was rejected.' }),
      'lost: the pod unicorn-1 on node node1 is gone before its program had ended: Pod was rejected.',
    ],
    [
      'is deleted before it ran',
      pod({ phase: 'Pending' }, { deletionTimestamp: 'now' }),
      'lost: the pod unicorn-1 on node node1 is gone before its program had ended: it was deleted',
    ],
    [
      'has no place',
      pod({
        phase: 'Pending',
        conditions: [
          { type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: '0/1 nodes are available' },
        ],
      }),
      'unschedulable: 0/1 nodes are available',
    ],
    [
      'is of an image that can not be pulled now',
      pod(waiting('ImagePullBackOff', 'Back-off pulling image "r/app:1": dial tcp: timeout')),
      `retry ImageNotPulled: The image of ${where} can't be pulled: ImagePullBackOff: Back-off pulling image "r/app:1": dial tcp: timeout. It is tried again by itself.`,
    ],
    [
      'is of an image that is not there',
      pod(waiting('ErrImagePull', 'r/app:1: not found')),
      `retry ImageNotFound: The image of ${where} does not exist: ErrImagePull: r/app:1: not found. It is tried again by itself.`,
    ],
    [
      'is of an image that has no name',
      pod(waiting('InvalidImageName', 'couldn’t parse "A:b:c"')),
      `stalled ImageNotFound: The image of ${where} can't be used: InvalidImageName: couldn’t parse "A:b:c". Correct spec.runtime.kubernetes.image.`,
    ],
    [
      'needs a Secret that is not there',
      pod(waiting('CreateContainerConfigError', 'secret "x" not found')),
      `retry JobNotStarted: The container run of ${where} can't be made: CreateContainerConfigError: secret "x" not found. It is tried again by itself.`,
    ],
    [
      'has an init container that fails',
      pod({
        phase: 'Failed',
        initContainerStatuses: [{ name: 'proxy', state: { terminated: { exitCode: 2, message: 'no route' } } }],
      }),
      `stalled JobNotStarted: The init container proxy of ${where} ended with exit code 2: no route. Mend it, or leave it out of spec.runtime.kubernetes.template; then: migration-target reconcile NAME`,
    ],
    [
      'has no such program',
      pod(
        container({
          terminated: {
            exitCode: 128,
            reason: 'StartError',
            message:
              'failed to create containerd task: runc create failed: unable to start container process: exec: "python9": executable file not found in $PATH: unknown',
          },
        }),
      ),
      'not launched (program: exec: "python9": executable file not found in $PATH)',
    ],
    [
      'has no such folder',
      pod(
        container({
          terminated: {
            exitCode: 128,
            reason: 'StartError',
            message: 'OCI: chdir to cwd ("/nowhere") set in config.json failed',
          },
        }),
      ),
      'not launched (folder: OCI: chdir to cwd ("/nowhere") set in config.json failed)',
    ],
  ])('%s', (_, one, expected) => {
    expect(told(one)).toBe(expected);
  });
});
