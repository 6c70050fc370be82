/** The Jobs of one operation: created, watched, ended, and none of a dead controller's left to run beside them. */
import { randomBytes, randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import * as z from 'zod';
import { asFailure, retry, stalled } from '../../rollback/errors.ts';
import type { Owner } from '../../rollback/ports.ts';
import { actingAs } from '../kubernetes/acting-as.ts';
import { pathTo, type ApiCall, type ApiClient } from '../kubernetes/client.ts';
import { ApiError, asHomeFailure, isMissingRight, isNotFound } from '../kubernetes/errors.ts';
import { podObject, type Pod } from './pod-state.ts';

/** One process of the controller's. */
const thisRun = randomUUID();

const operationLabel = 'migrationtarget.dev/operation';
const runLabel = 'migrationtarget.dev/run';

/** What nobody waits for any more ends at last; longer than any change. A change is never ended by it. */
const deadlineSeconds = 7 * 24 * 60 * 60;
/** Its log can be read for so long after it has ended. */
const keptSeconds = 60 * 60;
const pollMs = 1_000;
const quietSeconds = 40;
/** The pods of a Job go with it. */
const inBackground = { propagationPolicy: 'Background' };

export interface Job {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  /** `the Job ops-center/unicorn-1a2b3c4d5e-alembic-6f7a8b`. */
  readonly where: string;
}

/** What is known of a Job's pod; null: it has none yet, and `refusal` may tell why. */
export type Seen =
  | { readonly pod: Pod; readonly isGone: boolean; readonly refusal: null }
  | { readonly pod: null; readonly isGone: boolean; readonly refusal: string | null };

export interface Jobs {
  /** Whom the controller acts as. */
  readonly as: string | undefined;
  /** `purpose`: a part of its name, e.g. `alembic`. Throws JobRefused, NotAllowed, HomeUnavailable (retry). */
  create(purpose: string, podOf: (labels: Readonly<Record<string, string>>) => unknown): Promise<Job>;
  /** Its pod as it is, and as it becomes, until `signal` is aborted. Throws NotAllowed. */
  watch(job: Job, signal: AbortSignal): AsyncGenerator<Seen, void, undefined>;
  /** With its pod, which has so long to end. Idempotent. */
  end(job: Job, graceSeconds: number): Promise<void>;
  /** What was said last of the pod, or of the Job, e.g. that a volume can't be mounted; null: nothing. */
  lastWarning(uid: string): Promise<string | null>;
}

const jobObject = z.object({ metadata: z.object({ name: z.string(), uid: z.string() }) });
const jobList = z.object({ items: z.array(jobObject).nullable() });
const podList = z.object({
  metadata: z.object({ resourceVersion: z.string() }),
  items: z.array(podObject).nullable(),
});
const podEvent = z.object({ type: z.string(), object: z.unknown() });
const eventList = z.object({
  items: z
    .array(
      z.object({
        type: z.string().default(''),
        reason: z.string().default(''),
        message: z.string().default(''),
        lastTimestamp: z.string().nullish(),
        eventTime: z.string().nullish(),
      }),
    )
    .nullable(),
});

export function jobsOf(
  client: Pick<ApiClient, 'call' | 'insist' | 'lines'>,
  owner: Owner & { readonly uid: string },
  operationId: string,
): Jobs {
  const { namespace } = owner;
  const as = actingAs(owner);
  const jobsPath = pathTo`/apis/batch/v1/namespaces/${namespace}/jobs`;
  const podsPath = pathTo`/api/v1/namespaces/${namespace}/pods`;
  const labels = {
    'app.kubernetes.io/managed-by': 'migration-target',
    'migrationtarget.dev/target-uid': owner.uid,
    [operationLabel]: operationId,
    [runLabel]: thisRun,
  };
  let leftovers: Promise<void> | null = null;

  const listPods = async (labelSelector: string): Promise<z.output<typeof podList>> =>
    podList.parse(await client.call({ method: 'GET', path: podsPath, query: { labelSelector }, as }));

  /** By name: a right to delete what a selector finds would be one to delete everything. */
  async function remove(collection: string, name: string, query: NonNullable<ApiCall['query']>): Promise<void> {
    try {
      await client.insist({ method: 'DELETE', path: `${collection}/${encodeURIComponent(name)}`, query, as });
    } catch (thrown) {
      if (!isNotFound(thrown)) throw thrown;
    }
  }

  /** A controller that died has left them: what ran in them ends with its connection, and no two may work on one database. */
  async function endLeftovers(): Promise<void> {
    const labelSelector = `${operationLabel}=${operationId},${runLabel}!=${thisRun}`;
    const jobs = jobList.parse(await client.call({ method: 'GET', path: jobsPath, query: { labelSelector }, as }));
    for (const { metadata } of jobs.items ?? []) await remove(jobsPath, metadata.name, inBackground);
    const isOver = ({ status }: Pod): boolean => status.phase === 'Succeeded' || status.phase === 'Failed';
    for (;;) {
      const { items } = await listPods(labelSelector);
      if ((items ?? []).every(isOver)) return;
      await delay(pollMs);
    }
  }

  async function lastWarning(uid: string): Promise<string | null> {
    const answer = await client.call({
      method: 'GET',
      path: pathTo`/api/v1/namespaces/${namespace}/events`,
      query: { fieldSelector: `involvedObject.uid=${uid},type=Warning` },
      as,
    });
    const last = (eventList.parse(answer).items ?? []).toSorted((a, b) => timeOf(a).localeCompare(timeOf(b))).at(-1);
    return last === undefined ? null : `${last.reason}: ${last.message}`;
  }

  async function* watch(job: Job, signal: AbortSignal): AsyncGenerator<Seen, void, undefined> {
    const labelSelector = `batch.kubernetes.io/job-name=${job.name}`;
    let hadPod = false;
    while (!signal.aborted) {
      try {
        const { items, metadata } = await listPods(labelSelector);
        const [pod] = items ?? [];
        if (pod === undefined) {
          // A Job that never tries twice makes no second pod.
          const isGone = hadPod || !(await exists(job));
          yield { pod: null, isGone, refusal: isGone ? null : await lastWarning(job.uid) };
          await delay(pollMs / 4);
          continue;
        }
        hadPod = true;
        yield { pod, isGone: false, refusal: null };
        const query = { labelSelector, watch: 'true', resourceVersion: metadata.resourceVersion, timeoutSeconds: '30' };
        for await (const line of client.lines({ method: 'GET', path: podsPath, query, as }, quietSeconds, signal)) {
          const { type, object } = podEvent.parse(line);
          if (type !== 'ADDED' && type !== 'MODIFIED' && type !== 'DELETED') break;
          yield { pod: podObject.parse(object), isGone: type === 'DELETED', refusal: null };
        }
      } catch (thrown) {
        if (signal.aborted) return;
        // What is under way goes on though nobody can be asked for a while; a missing right does not come by itself.
        const failure = asFailure(asHomeFailure(thrown));
        if (failure.kind !== 'retry') throw failure;
        await delay(pollMs, undefined, { ref: false });
      }
    }
  }

  async function exists(job: Job): Promise<boolean> {
    try {
      await client.call({ method: 'GET', path: `${jobsPath}/${encodeURIComponent(job.name)}`, as });
      return true;
    } catch (thrown) {
      if (isNotFound(thrown)) return false;
      throw thrown;
    }
  }

  return {
    as,

    async create(purpose, podOf) {
      const name = `${owner.name.slice(0, 30).replace(/[-.]+$/, '')}-${operationId}-${purpose}-${randomBytes(3).toString('hex')}`;
      const body = {
        apiVersion: 'batch/v1',
        kind: 'Job',
        metadata: { name, labels, ownerReferences: [ownerReference(owner)] },
        spec: {
          backoffLimit: 0,
          podReplacementPolicy: 'Failed',
          activeDeadlineSeconds: deadlineSeconds,
          ttlSecondsAfterFinished: keptSeconds,
          template: podOf(labels),
        },
      };
      try {
        await (leftovers ??= endLeftovers());
        const { metadata } = jobObject.parse(await client.call({ method: 'POST', path: jobsPath, body, as }));
        return { name, namespace, uid: metadata.uid, where: `the Job ${namespace}/${name}` };
      } catch (thrown) {
        leftovers = null;
        throw asJobFailure(thrown, owner);
      }
    },

    watch,

    async end({ name }, graceSeconds) {
      try {
        // The pods first: a Job takes its pods along with their own grace.
        const { items } = await listPods(`batch.kubernetes.io/job-name=${name}`);
        for (const { metadata } of items ?? [])
          await remove(podsPath, metadata.name, { gracePeriodSeconds: `${graceSeconds}` });
        await remove(jobsPath, name, inBackground);
      } catch (thrown) {
        throw asHomeFailure(thrown);
      }
    },

    lastWarning,
  };
}

type WarningEvent = NonNullable<z.output<typeof eventList>['items']>[number];

const timeOf = ({ lastTimestamp, eventTime }: WarningEvent): string => lastTimestamp ?? eventTime ?? '';

const ownerReference = ({ name, uid }: Owner & { readonly uid: string }): unknown => ({
  apiVersion: 'migrationtarget.dev/v1alpha1',
  kind: 'MigrationTarget',
  name,
  uid,
});

/** Why the cluster takes no Job: each cause has another remedy. */
function asJobFailure(thrown: unknown, owner: Owner): unknown {
  if (!(thrown instanceof ApiError)) return asHomeFailure(thrown);
  const what = `A Job of ${owner.name} can't be made in the namespace ${owner.namespace}: ${thrown.says}.`;
  if (/exceeded quota/.test(thrown.says))
    return retry(
      'JobRefused',
      `${what} It is tried again by itself. See: kubectl -n ${owner.namespace} get resourcequota`,
      thrown,
    );
  if (/being terminated/.test(thrown.says))
    return retry('JobRefused', `${what} The namespace is being deleted. It is tried again by itself.`, thrown);
  if (/failed calling webhook/.test(thrown.says))
    return retry(
      'JobRefused',
      `${what} What is asked about each Job can't be asked. It is tried again by itself. See: kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations`,
      thrown,
    );
  if (isMissingRight(thrown)) return asHomeFailure(thrown);
  if (thrown.status === 403 || thrown.status === 422 || /admission webhook/.test(thrown.says))
    return stalled(
      'JobRefused',
      `${what} Correct spec.runtime.kubernetes.template, or what refuses it; then: migration-target reconcile ${owner.name}`,
      thrown,
    );
  return asHomeFailure(thrown);
}
