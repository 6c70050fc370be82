/** What a pod's status means to a program that runs in it. Pure. */
import * as z from 'zod';
import { retry, stalled, type Failure } from '../../rollback/errors.ts';
import { NotLaunched } from '../process/launcher.ts';

const terminated = z.object({ exitCode: z.int(), reason: z.string().default(''), message: z.string().default('') });

const containerStatus = z.object({
  name: z.string(),
  imageID: z.string().default(''),
  state: z
    .object({
      waiting: z.object({ reason: z.string().default(''), message: z.string().default('') }).optional(),
      running: z.object({}).optional(),
      terminated: terminated.optional(),
    })
    .default({}),
});

export const podObject = z.object({
  metadata: z.object({
    name: z.string(),
    deletionTimestamp: z.string().optional(),
  }),
  spec: z.object({ nodeName: z.string().default('') }).default({ nodeName: '' }),
  status: z
    .object({
      phase: z.string().default(''),
      reason: z.string().default(''),
      message: z.string().default(''),
      conditions: z
        .array(
          z.object({
            type: z.string(),
            status: z.string(),
            reason: z.string().default(''),
            message: z.string().default(''),
          }),
        )
        .default([]),
      initContainerStatuses: z.array(containerStatus).default([]),
      containerStatuses: z.array(containerStatus).default([]),
    })
    .prefault({}),
});

export type Pod = z.output<typeof podObject>;

export type PodState =
  /** `what`: as part of a sentence. */
  | { readonly kind: 'starting'; readonly what: string }
  /** Nobody has a place for it now; that may pass. */
  | { readonly kind: 'unschedulable'; readonly what: string }
  /** The cluster makes no pod; told by an event alone. */
  | { readonly kind: 'refused'; readonly what: string }
  /** It does not come to run. */
  | { readonly kind: 'stuck'; readonly failure: Failure | NotLaunched }
  /** `pod`: its name. */
  | { readonly kind: 'running'; readonly pod: string; readonly imageId: string }
  | {
      readonly kind: 'ended';
      readonly pod: string;
      readonly exitCode: number;
      /** e.g. `it ran out of memory`; null: it ended by itself. */
      readonly why: string | null;
      readonly imageId: string;
    }
  /** Taken away before its program had ended: by a person, an eviction, a node that is gone. */
  | { readonly kind: 'lost'; readonly what: string };

/** `container`: the one that the program is in. `where`: `the Job ops-center/x`. */
export function stateOf(pod: Pod, container: string, where: string): PodState {
  const { status, metadata } = pod;
  const own = status.containerStatuses.find(({ name }) => name === container);
  const ended = own?.state.terminated;
  if (own !== undefined && ended !== undefined) {
    const notBegun = whyNotBegun(ended);
    if (notBegun !== null) return { kind: 'stuck', failure: notBegun };
    if (ended.exitCode !== 0 && disruptionOf(pod) !== null) return { kind: 'lost', what: describeLoss(pod) };
    return {
      kind: 'ended',
      pod: metadata.name,
      exitCode: ended.exitCode,
      why: whyEnded(pod, ended),
      imageId: imageOf(own),
    };
  }
  for (const one of status.initContainerStatuses) {
    const failure = whyInitFailed(one, where);
    if (failure !== null) return { kind: 'stuck', failure };
  }
  if (status.phase === 'Failed') return { kind: 'lost', what: describeLoss(pod) };
  if (own?.state.running !== undefined) return { kind: 'running', pod: metadata.name, imageId: imageOf(own) };
  if (metadata.deletionTimestamp !== undefined) return { kind: 'lost', what: describeLoss(pod) };
  for (const one of [...status.initContainerStatuses, ...status.containerStatuses]) {
    const failure = whyStuck(one, where);
    if (failure !== null) return { kind: 'stuck', failure };
  }
  const scheduled = status.conditions.find(({ type }) => type === 'PodScheduled');
  if (scheduled?.status === 'False' && scheduled.reason !== 'SchedulingGated')
    return { kind: 'unschedulable', what: scheduled.message };
  return { kind: 'starting', what: own?.state.waiting?.reason ?? (status.phase || 'Pending') };
}

type ContainerStatus = z.output<typeof containerStatus>;
type Terminated = z.output<typeof terminated>;

/** `docker-pullable://name@sha256:…` of older nodes. */
const imageOf = ({ imageID }: ContainerStatus): string => imageID.replace(/^[a-z-]+:\/\//, '');

/** Found by the runtime before anything of the program ran. */
function whyNotBegun({ reason, message }: Terminated): NotLaunched | null {
  if (!/^(StartError|ContainerCannotRun)$/.test(reason)) return null;
  const why = message
    .replace(/^.*unable to start container process: /s, '')
    .replace(/: unknown\s*$/, '')
    .trim();
  return new NotLaunched(/chdir to cwd/.test(message) ? 'folder' : 'program', why || reason);
}

function whyEnded({ status, metadata }: Pod, { reason }: Terminated): string | null {
  if (reason === 'OOMKilled')
    return 'it ran out of memory; give it more: spec.runtime.kubernetes.template.spec.containers[0].resources.limits.memory';
  if (status.reason !== '') return `${status.reason}${status.message === '' ? '' : `: ${status.message}`}`;
  return metadata.deletionTimestamp === undefined ? null : 'its pod was deleted';
}

/** Kubernetes says so of a pod that it takes away: for a drain, for another pod, for want of memory, with its node. */
const disruptionOf = ({ status }: Pod): Pod['status']['conditions'][number] | null =>
  status.conditions.find(({ type, status: is }) => type === 'DisruptionTarget' && is === 'True') ?? null;

function describeLoss(pod: Pod): string {
  const { status, spec, metadata } = pod;
  const disruption = disruptionOf(pod);
  const why = status.message || disruption?.message || disruption?.reason || status.reason || 'it was deleted';
  return `the pod ${metadata.name}${spec.nodeName === '' ? '' : ` on node ${spec.nodeName}`} is gone before its program had ended: ${why}`;
}

const again = 'It is tried again by itself.';

function whyStuck({ name, state }: ContainerStatus, where: string): Failure | null {
  const { reason = '', message = '' } = state.waiting ?? {};
  const said = message === '' ? reason : `${reason}: ${message}`;
  switch (reason) {
    case 'ErrImagePull':
    case 'ImagePullBackOff':
    case 'RegistryUnavailable':
    case 'ImageInspectError':
      return /not found|manifest unknown|does not exist/i.test(message)
        ? retry('ImageNotFound', `The image of ${where} does not exist: ${said}. ${again}`)
        : retry('ImageNotPulled', `The image of ${where} can't be pulled: ${said}. ${again}`);
    case 'InvalidImageName':
    case 'ErrImageNeverPull':
    case 'SignatureValidationFailed':
      return stalled(
        'ImageNotFound',
        `The image of ${where} can't be used: ${said}. Correct spec.runtime.kubernetes.image.`,
      );
    case 'CreateContainerConfigError':
    case 'CreateContainerError':
    case 'RunContainerError':
      return retry('JobNotStarted', `The container ${name} of ${where} can't be made: ${said}. ${again}`);
    default:
      return null;
  }
}

function whyInitFailed({ name, state: { terminated: end } }: ContainerStatus, where: string): Failure | null {
  if (end === undefined || end.exitCode === 0) return null;
  const last = end.message === '' ? '' : `: ${end.message}`;
  return stalled(
    'JobNotStarted',
    `The init container ${name} of ${where} ended with exit code ${end.exitCode}${last}. Mend it, or leave it out of spec.runtime.kubernetes.template; then: migration-target reconcile NAME`,
  );
}
