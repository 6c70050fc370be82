/** Workloads of a cluster that are stopped while a database changes, and started again. */
import { asFailure, stalled, type Failure } from '../../rollback/errors.ts';
import type { LogLine, WorkloadBefore } from '../../rollback/model.ts';
import type { Health, Owner, Workloads } from '../../rollback/ports.ts';
import { claimed, leftBehind, unclaimed } from './workloads/claim.ts';
import { clusterOf, type Change, type Client } from './workloads/cluster.ts';
import {
  changedMeanwhile,
  deletesVolumes,
  foughtMeanwhile,
  going,
  stoppedByOther,
  whichText,
  type Which,
} from './workloads/failures.ts';
import type { Level } from './workloads/kinds.ts';
import { lastLines } from './workloads/last-lines.ts';
import { justStarted, mayRun, troubleOf } from './workloads/pod.ts';
import { rolloutOf } from './workloads/rollout.ts';
import { untilJobsHaveEnded, untilPodsAreGone, usualPatience, type Patience } from './workloads/standstill.ts';
import type { Workload } from './workloads/workload.ts';

export type { Client } from './workloads/cluster.ts';

/** As `kubectl rollout restart` does it. */
const restartedAtAnnotation = 'kubectl.kubernetes.io/restartedAt';

/** `owner`: for which target; its namespace is theirs. `patience`: how long what ends by itself is waited for. */
export function workloadsIn(client: Client, owner: Owner, patience: Partial<Patience> = {}): Workloads {
  const cluster = clusterOf(client, owner);
  const { which } = cluster;
  const isOwn = ({ claim }: Workload): boolean => claim?.by === owner.name;
  const isOthers = (now: Workload): boolean => now.claim !== null && !isOwn(now);

  /** Throws where it can't be stopped, or not put back; null: it is stopped. */
  function toStop(before: WorkloadBefore, now: Workload): Change | null {
    const one = which(before);
    if (now.isGoing) throw going(one);
    if (now.uid !== before.id) throw changedMeanwhile(one, 'was made again');
    if (isOthers(now)) throw stoppedByOther(one, now.claim?.by ?? '');
    if (now.spec.persistentVolumeClaimRetentionPolicy?.whenScaled === 'Delete') throw deletesVolumes(one);
    if (now.level === 0) return null;
    if (!before.running) throw changedMeanwhile(one, 'was started');
    return { level: 0, annotations: claimed(owner, now, now.level, new Date()) };
  }

  async function takeDown(all: readonly WorkloadBefore[]): Promise<readonly Which[]> {
    for (const before of all) await cluster.change(which(before), 'stopped', (now) => toStop(before, now));
    return all.map(which);
  }

  /** Returns what others have done to it meanwhile. */
  async function putBack(before: WorkloadBefore): Promise<readonly string[]> {
    const one = which(before);
    let found: readonly string[] = [];
    await cluster.change(one, 'started', (now) => {
      const { change, notes } = toStart(before, now);
      found = notes;
      return change;
    });
    await cluster.letGo(one);
    return found;
  }

  function toStart(
    before: WorkloadBefore,
    now: Workload,
  ): { readonly change: Change | null; readonly notes: readonly string[] } {
    const one = which(before);
    if (now.isGoing) throw going(one);
    if (isOthers(now))
      return {
        change: null,
        notes: [`${whichText(one)} is stopped by MigrationTarget ${now.claim?.by}, and left so.`],
      };
    const annotations = unclaimed(now.kind);
    if (now.level > 0) return isOwn(now) ? { change: { annotations }, notes: [foughtMeanwhile(one, now)] } : asItIs;
    if (isOwn(now)) return { change: { annotations, level: now.claim?.before ?? levelOf(before) }, notes: [] };
    if (!before.running) return asItIs;
    // What we stopped says so, and one that was made again since is not what was stopped.
    if (now.uid !== before.id)
      return { change: null, notes: [`${whichText(one)} was made again meanwhile, stopped; it is left so.`] };
    return { change: { level: levelOf(before) }, notes: [] };
  }

  async function healthOf(before: WorkloadBefore): Promise<Health> {
    const now = await cluster.read(which(before));
    const rollout = rolloutOf(now);
    if (now.level === 0 || now.kind === 'CronJob') return rollout;
    const pods = (await cluster.pods(which(before), now)).filter(
      (pod) => mayRun(pod) && pod.metadata.deletionTimestamp == null,
    );
    if (rollout.state === 'healthy') {
      const fresh = pods.map((pod) => justStarted(pod, new Date())).find((found) => found !== null);
      return fresh === undefined ? rollout : { state: 'starting', what: `${rollout.what}, but ${fresh}` };
    }
    const trouble = pods.map(troubleOf).find((found) => found !== null);
    return trouble === undefined ? rollout : { state: 'unhealthy', what: `${rollout.what}: ${trouble}` };
  }

  return {
    async read(references) {
      const all = await Promise.all(references.map((reference) => cluster.read(which(reference))));
      for (const { isGoing, kind, name } of all) if (isGoing) throw going(which({ kind, name }));
      // The Jobs of a CronJob are waited for while the others still serve.
      const [timed, serving] = [all.filter(isTimed), all.filter((one) => !isTimed(one))];
      return [...timed, ...serving].map((now) => describe(now, isOwn(now)));
    },

    async tryStop(workloads) {
      for (const before of workloads) {
        const one = which(before);
        const now = await cluster.change(one, 'stopped', (found) => toStop(before, found), { dryRun: true });
        await (isTimed(before) ? cluster.runningJobs(one, now) : cluster.pods(one, now));
      }
    },

    async stop(workloads, how) {
      const waiting = { ...usualPatience, ...patience, ...how };
      await untilJobsHaveEnded(cluster, await takeDown(workloads.filter(isTimed)), waiting);
      await untilPodsAreGone(cluster, await takeDown(workloads.filter((one) => !isTimed(one))), waiting);
    },

    async start(workloads) {
      const gone: string[] = [];
      const notes: string[] = [];
      const failures: Failure[] = [];
      // What can't be done for one is done for the others all the same.
      for (const before of workloads.toReversed()) {
        try {
          notes.push(...(await putBack(before)));
        } catch (thrown) {
          const failure = asFailure(thrown);
          if (failure.reason === 'WorkloadNotFound') gone.push(before.name);
          else failures.push(failure);
        }
      }
      const [first] = failures;
      if (first !== undefined) throw first;
      return { gone, notes };
    },

    async leave(workloads) {
      for (const before of workloads) {
        const one = which(before);
        await cluster.change(one, 'left', (now) =>
          isOwn(now) ? { annotations: leftBehind(owner, now, now.claim?.before ?? levelOf(before), new Date()) } : null,
        );
        await cluster.letGo(one);
      }
    },

    async restart(workloads) {
      for (const before of workloads.toReversed().filter(({ running }) => running)) {
        // The next Job of a CronJob is a new one anyway.
        if (isTimed(before)) continue;
        await cluster.change(which(before), 'restarted', (now) => {
          assertRestartable(which(before), now);
          return { podAnnotations: { [restartedAtAnnotation]: new Date().toISOString() } };
        });
      }
    },

    async health(workloads): Promise<Health> {
      const all = await Promise.all(workloads.filter(({ running }) => running).map(healthOf));
      const worst = all.find(({ state }) => state === 'unhealthy') ?? all.find(({ state }) => state === 'starting');
      return worst ?? { state: 'healthy', what: all.map(({ what }) => what).join(', ') || 'no workload was running' };
    },

    async log(workloads, since) {
      const lines: LogLine[] = [];
      for (const before of workloads.filter((one) => one.running && !isTimed(one)))
        lines.push(
          ...(await lastLines(cluster, which(before), since)).map((text) => ({ workload: before.name, text })),
        );
      return lines;
    },
  };
}

const asItIs = { change: null, notes: [] } as const;

const isTimed = ({ kind }: Pick<WorkloadBefore, 'kind'>): boolean => kind === 'CronJob';

/** One that is stopped by this very target, whose journal was lost, is meant to run. */
function describe({ kind, name, uid, level, claim }: Workload, isOwn: boolean): WorkloadBefore {
  const before = level === 0 && isOwn ? (claim?.before ?? 1) : level;
  return {
    kind,
    name,
    id: uid,
    running: before > 0,
    startsAfter: [],
    settings: kind === 'CronJob' ? {} : { replicas: before },
  };
}

const levelOf = ({ running, settings: { replicas = 1 } }: WorkloadBefore): Level => (running ? Number(replicas) : 0);

/** Neither would replace a pod. */
function assertRestartable(one: Which, { spec }: Workload): void {
  if (spec.paused)
    throw stalled(
      'ApplicationUnhealthy',
      `${whichText(one)} is paused, so it can't be restarted. Let it go on: kubectl -n ${one.namespace} rollout resume deployment ${one.name}`,
    );
  if (spec.updateStrategy?.type === 'OnDelete')
    throw stalled(
      'ApplicationUnhealthy',
      `${whichText(one)} replaces its pods only where they are deleted (updateStrategy OnDelete). Delete them, one after another: kubectl -n ${one.namespace} delete pod ${one.name}-0`,
    );
}
