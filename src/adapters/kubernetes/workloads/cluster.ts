/** The calls by which workloads and their pods are read and changed, in one namespace. */
import * as z from 'zod';
import type { Owner, WorkloadReference } from '../../../rollback/ports.ts';
import { actingAs } from '../acting-as.ts';
import { mergePatch, pathTo, type ApiCall, type ApiClient } from '../client.ts';
import { despiteConflicts, fieldManager } from '../objects.ts';
import type { AnnotationsPatch } from './claim.ts';
import { isStatus } from '../errors.ts';
import { callFailure, type Which } from './failures.ts';
import { isOurs } from './field-owners.ts';
import { isOfCluster, kinds, type ClusterKind, type Level } from './kinds.ts';
import { asPods, controllerOf, type Pod } from './pod.ts';
import { selectorText } from './selector.ts';
import { asWorkload, type Workload } from './workload.ts';

export type Client = Pick<ApiClient, 'insist' | 'text'>;

/** What is to be written of a workload; left out: stays as it is. */
export interface Change {
  readonly annotations?: AnnotationsPatch;
  readonly level?: Level;
  /** Of its pods; each of them is replaced. */
  readonly podAnnotations?: AnnotationsPatch;
}

/** A Job that has not ended. */
export interface RunningJob {
  readonly name: string;
  readonly startedAt: string;
}

export interface Cluster {
  /** Throws where that kind is none of a cluster's. */
  readonly which: (named: { readonly kind: WorkloadReference['kind']; readonly name: string }) => Which;
  /** Throws WorkloadNotFound, NotAllowed, HomeUnavailable (retry). */
  read(which: Which): Promise<Workload>;
  /**
   * Reads it, and writes what `decide` makes of that, unless it was changed in between: then both again. null: nothing is
   * written. Returns it as it is then. `dryRun`: the server only says whether it would do so.
   */
  change(
    which: Which,
    doing: string,
    decide: (now: Workload) => Change | null,
    options?: { readonly dryRun: boolean },
  ): Promise<Workload>;
  /** What we set in it is nobody's from then on, so that whoever sets it next, by server-side apply, meets no conflict. */
  letGo(which: Which): Promise<void>;
  /** Of a Deployment or StatefulSet: its pods, those that are terminating too. */
  pods(which: Which, workload: Workload): Promise<readonly Pod[]>;
  /** Of a CronJob. */
  runningJobs(which: Which, workload: Workload): Promise<readonly RunningJob[]>;
  /** As text, a line each; empty where there is none. `previous`: of the container before it was restarted. */
  log(
    which: Which,
    pod: string,
    options: { readonly container: string; readonly previous: boolean; readonly since: Date; readonly lines: number },
  ): Promise<string>;
}

/** In the namespace of that target, with the rights of its service account. */
export function clusterOf(client: Client, owner: Owner): Cluster {
  const { namespace } = owner;
  const as = actingAs(owner);
  const insist = (call: ApiCall): Promise<unknown> => client.insist({ ...call, as });

  async function calling<T>(which: Which, doing: string, call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (thrown) {
      throw callFailure(which, doing, thrown);
    }
  }

  const get = async (which: Which): Promise<Workload> =>
    asWorkload(which.kind, await insist({ method: 'GET', path: pathOf(which) }));

  const patch = (which: Which, body: unknown, query: Readonly<Record<string, string>> = {}): Promise<unknown> =>
    insist({
      method: 'PATCH',
      path: pathOf(which),
      query: { fieldManager, ...query },
      contentType: mergePatch,
      body,
    });

  return {
    which({ kind, name }) {
      if (!isOfCluster(kind)) throw new Error(`a ${kind} is no workload of a cluster`);
      return { kind, namespace, name };
    },

    read: (which) => calling(which, 'looked at', () => get(which)),

    change: (which, doing, decide, { dryRun } = { dryRun: false }) =>
      calling(which, doing, () =>
        despiteConflicts(async () => {
          const now = await get(which);
          const change = decide(now);
          if (change === null) return now;
          const answer = await patch(which, bodyOf(now, change), dryRun ? { dryRun: 'All' } : {});
          return asWorkload(which.kind, answer);
        }),
      ),

    letGo: (which) =>
      calling(which, 'let go', () =>
        despiteConflicts(async () => {
          const { uid, resourceVersion, managedFields } = await get(which);
          if (!managedFields.some(isOurs)) return;
          const others = managedFields.filter((entry) => !isOurs(entry));
          await patch(which, { metadata: { uid, resourceVersion, managedFields: others } });
        }),
      ),

    pods: (which, { uid, spec }) =>
      calling(which, 'followed', async () => {
        const path = pathTo`/api/v1/namespaces/${namespace}/pods`;
        const query = { labelSelector: selectorText(spec.selector ?? {}) };
        return asPods(await insist({ method: 'GET', path, query })).filter((pod) => isOf(which.kind, uid, pod));
      }),

    runningJobs: (which, { uid }) =>
      calling(which, 'followed', async () => {
        const path = pathTo`/apis/batch/v1/namespaces/${namespace}/jobs`;
        const { items } = jobList.parse(await insist({ method: 'GET', path }));
        return (items ?? [])
          .filter(({ metadata }) => metadata.ownerReferences?.some((reference) => reference.uid === uid) === true)
          .filter(isRunning)
          .map(({ metadata, status }) => ({
            name: metadata.name,
            startedAt: status.startTime ?? metadata.creationTimestamp ?? '',
          }));
      }),

    log: (which, pod, { container, previous, since, lines }) =>
      calling(which, 'asked for its log', async () => {
        const path = pathTo`/api/v1/namespaces/${namespace}/pods/${pod}/log`;
        const sinceTime = `${since.toISOString().slice(0, 19)}Z`;
        const query = { container, previous: String(previous), tailLines: String(lines), sinceTime };
        try {
          return await client.text({ method: 'GET', path, query, as });
        } catch (thrown) {
          // The pod is gone by now, or the container has not begun, or its log was rotated away.
          if (isStatus(thrown, 404) || isStatus(thrown, 400)) return '';
          throw thrown;
        }
      }),
  };
}

const pathOf = ({ kind, namespace, name }: Which): string => {
  const { group, resource } = kinds[kind];
  return pathTo`/apis/${group}/v1/namespaces/${namespace}/${resource}/${name}`;
};

/** Held to the very object that was read. */
function bodyOf({ kind, uid, resourceVersion }: Workload, { annotations, level, podAnnotations }: Change): object {
  const { field, valueOf } = kinds[kind];
  const spec = {
    ...(level === undefined ? {} : { [field]: valueOf(level) }),
    ...(podAnnotations === undefined ? {} : { template: { metadata: { annotations: podAnnotations } } }),
  };
  return { metadata: { uid, resourceVersion, ...(annotations === undefined ? {} : { annotations }) }, spec };
}

/** A Deployment's pods are those of its ReplicaSets; Jobs and the like may wear the same labels. */
function isOf(kind: ClusterKind, uid: string, pod: Pod): boolean {
  const controller = controllerOf(pod);
  return kind === 'Deployment' ? controller?.kind === 'ReplicaSet' : controller?.uid === uid;
}

const job = z.looseObject({
  metadata: z.looseObject({
    name: z.string(),
    creationTimestamp: z.string().nullish(),
    ownerReferences: z.array(z.looseObject({ uid: z.string() })).nullish(),
  }),
  spec: z.looseObject({ suspend: z.boolean().nullish() }),
  status: z
    .looseObject({
      active: z.int().nullish(),
      startTime: z.string().nullish(),
      conditions: z.array(z.looseObject({ type: z.string(), status: z.string() })).nullish(),
    })
    .prefault({}),
});

const jobList = z.looseObject({ items: z.array(job).nullish() });

/** One that is suspended has no pods once they are gone. */
function isRunning({ spec, status }: z.output<typeof job>): boolean {
  const hasEnded = status.conditions?.some(
    ({ type, status: is }) => (type === 'Complete' || type === 'Failed') && is === 'True',
  );
  const isSuspended = spec.suspend === true && (status.active ?? 0) === 0;
  return hasEnded !== true && !isSuspended;
}
