/**
 * Programs in a pod of their own each, made by a Job that never tries twice. They have to read before they write anything,
 * since nobody hears them until somebody is attached; and what they write stays in the pod's log, so no dump may be of it.
 */
import { PassThrough, Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { asFailure, retry, stalled, type Failure } from '../../rollback/errors.ts';
import { asPart, capitalized } from '../../rollback/sentences.ts';
import { pathTo, type ApiClient } from '../kubernetes/client.ts';
import { asHomeFailure } from '../kubernetes/errors.ts';
import { endingOf, lostTo } from '../process/ending.ts';
import type { Child, Ending, Launcher } from '../process/launcher.ts';
import { attach, type Attached, type AttachedTo } from './attach.ts';
import { follow, type Followed } from './follow.ts';
import type { Job, Jobs } from './jobs.ts';
import { containerName, podOf, type PodShape } from './pod-template.ts';
import type { PodState } from './pod-state.ts';

/** So long a pod may take to run: large images do. */
const startMs = 10 * 60_000;
/** So long a place for it is waited for: a node may be added. */
const scheduledMs = 30_000;
/** So long a quota, or whatever refuses its pod, is waited for. */
const refusedMs = 3_000;
/** What a program wrote last may still be on its way when it has ended. */
const patienceMs = 5_000;
/** How often it is asked what holds a pod up, e.g. a volume that can't be mounted. */
const lookMs = 1_000;
const mostUnheardBytes = 64 * 1024;

export interface JobLauncher extends Launcher {
  /** Of the last program, as its node told it, e.g. `registry/app@sha256:…`; null: none ran yet. */
  readonly imageId: string | null;
}

export interface JobOptions {
  /** A part of the Jobs' names, e.g. `alembic`. */
  readonly purpose: string;
  /** Asked for each program, so that its pod is as it is declared by then. */
  readonly shapeOf: () => Promise<PodShape>;
}

export function jobLauncher(client: Pick<ApiClient, 'socket' | 'text'>, jobs: Jobs, options: JobOptions): JobLauncher {
  let imageId: string | null = null;
  return {
    get imageId() {
      return imageId;
    },
    async launch(program) {
      const shape = await options.shapeOf();
      const job = await jobs.create(options.purpose, (labels) =>
        podOf(shape, { ...program, command: [program.program, ...program.args] }, labels),
      );
      const over = new AbortController();
      const followed = follow(jobs, job, over.signal);
      let attached: Attached;
      try {
        const begun = await untilRunning(jobs, job, followed);
        imageId = begun.imageId;
        const there = { namespace: job.namespace, name: begun.pod, container: containerName, as: jobs.as };
        attached = begun.kind === 'ended' ? await unheard(client, there) : await hear(client, there, followed);
      } catch (thrown) {
        over.abort();
        await jobs.end(job, 1).catch(() => undefined); // why it was not begun is what is told
        throw asHomeFailure(thrown);
      }

      let isKilled = false;
      const kill: Child['kill'] = (signal) => {
        isKilled = true;
        // Never at once: a pod that is gone from the API while its program runs would let another begin beside it.
        jobs.end(job, signal === 'SIGTERM' ? 10 : 1).catch(() => attached.close());
      };
      const ended = endingIn(job, attached, followed, () => isKilled).finally(() => over.abort());
      return { stdin: attached.stdin, stdout: attached.stdout, stderr: attached.stderr, ended, kill };
    },
  };
}

/** It may end at this very moment: then nobody can be attached any more. */
async function hear(
  client: Pick<ApiClient, 'socket' | 'text'>,
  pod: AttachedTo,
  followed: Followed,
): Promise<Attached> {
  try {
    return await attach(client, pod);
  } catch (thrown) {
    await followed.news(lookMs);
    if (followed.state()?.kind !== 'ended') throw thrown;
    return unheard(client, pod);
  }
}

/** One that ended before anybody could listen: what it wrote is in its log. */
async function unheard(client: Pick<ApiClient, 'text'>, pod: AttachedTo): Promise<Attached> {
  const log = await client.text({
    method: 'GET',
    path: pathTo`/api/v1/namespaces/${pod.namespace}/pods/${pod.name}/log`,
    query: { container: pod.container, limitBytes: `${mostUnheardBytes}` },
    as: pod.as,
  });
  const stdin = new PassThrough().resume();
  return {
    stdin,
    stdout: Readable.from([]),
    stderr: Readable.from([log]),
    ended: Promise.resolve(true),
    close: () => undefined,
  };
}

type Begun = Extract<PodState, { readonly kind: 'running' | 'ended' }>;

/** Throws NotLaunched, and why its pod does not come to run. */
async function untilRunning(jobs: Jobs, job: Job, followed: Followed): Promise<Begun> {
  const since = performance.now();
  let kind: PodState['kind'] | null = null;
  let kindSince = since;
  for (;;) {
    const state = followed.state();
    const now = performance.now();
    if (state !== null) {
      if (state.kind === 'running' || state.kind === 'ended') return state;
      if (state.kind === 'stuck') throw state.failure;
      if (state.kind === 'lost') throw lost(job, state.what);
      if (kind !== state.kind) kindSince = now;
      kind = state.kind;
      const heldMs = now - kindSince;
      if (state.kind === 'refused' && heldMs >= refusedMs) throw refused(job, state.what);
      if (state.kind === 'unschedulable' && ofClaim.test(state.what) && heldMs >= refusedMs)
        throw noVolume(job, state.what);
      if (state.kind === 'unschedulable' && heldMs >= scheduledMs)
        throw retry(
          'JobNotStarted',
          `No node has a place for ${job.where}: ${asPart(state.what)}. It is tried again by itself. See: kubectl describe nodes`,
        );
    }
    if (now - since > startMs) throw await tooLate(jobs, job, state?.kind === 'starting' ? state.what : 'Pending');
    await followed.news(lookMs);
  }
}

const lost = ({ where }: Job, what: string): Failure =>
  retry('JobLost', `${capitalized(where)} was lost: ${asPart(what)}. It is tried again by itself.`);

/** What the scheduler says of a claim that is missing, unbound, or going; no other node would help. */
const ofClaim = /PersistentVolumeClaim/i;

const noVolume = ({ where, namespace }: Job, what: string): Failure =>
  retry(
    'JobNotStarted',
    `${capitalized(where)} can't have a volume: ${asPart(what)}. Make the claim, or what it is to be bound to; it is tried again by itself. See: kubectl -n ${namespace} describe pvc`,
  );

function refused({ where, namespace }: Job, what: string): Failure {
  return /exceeded quota/.test(what)
    ? retry(
        'JobRefused',
        `The pod of ${where} is refused: ${asPart(what)}. It is tried again by itself. See: kubectl -n ${namespace} get resourcequota`,
      )
    : stalled(
        'JobRefused',
        `The pod of ${where} is refused: ${asPart(what)}. Correct spec.runtime.kubernetes.template, or what refuses it; then: migration-target reconcile NAME`,
      );
}

async function tooLate(jobs: Jobs, job: Job, what: string): Promise<Failure> {
  const warning = await jobs.lastWarning(job.uid).catch(() => null);
  return retry(
    'JobNotStarted',
    `The pod of ${job.where} did not run within ${startMs / 60_000} min: ${warning ?? what}. It is tried again by itself. See: kubectl -n ${job.namespace} describe job ${job.name}`,
  );
}

async function endingIn(job: Job, attached: Attached, followed: Followed, isKilled: () => boolean): Promise<Ending> {
  try {
    const end = await untilEnded(followed);
    const wasHeard = await Promise.race([attached.ended, delay(patienceMs, false, { ref: false })]);
    attached.close();
    await attached.ended;
    if (isKilled()) return endingOf(137, null);
    if (end.kind === 'lost') return lostTo(lost(job, end.what));
    if (!wasHeard) return lostTo(lost(job, 'the connection to its pod was cut, and with it what it wrote last'));
    return endingOf(end.exitCode, end.why);
  } catch (thrown) {
    attached.close();
    await attached.ended;
    return lostTo(asFailure(thrown));
  }
}

type End = Extract<PodState, { readonly kind: 'ended' | 'lost' }>;

async function untilEnded(followed: Followed): Promise<End> {
  for (;;) {
    const state = followed.state();
    if (state?.kind === 'ended' || state?.kind === 'lost') return state;
    await followed.news(lookMs);
  }
}
