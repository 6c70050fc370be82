/** Waits until what was told to stop has stopped: its pods are gone, its Jobs have ended. */
import { retry, stalled, type Failure } from '../../../rollback/errors.ts';
import { count } from '../../../rollback/numbers.ts';
import type { Progress } from '../../../rollback/ports.ts';
import { wait } from '../../../rollback/wait.ts';
import type { Cluster, RunningJob } from './cluster.ts';
import { fought, whichText, workloadsField, type Which } from './failures.ts';
import { mayRun, type Pod } from './pod.ts';
import type { Workload } from './workload.ts';

const pollMs = 250;
/** More says no more. */
const mostNamed = 5;

/** How long what ends by itself is waited for. */
export interface Patience {
  /** What a node, and the controllers of the cluster, take beside the pods' own time to end. */
  readonly leewaySeconds: number;
  /** A Job is not cut off in the middle of what it does to the database, and not waited for without end. */
  readonly jobsWithinSeconds: number;
}

export const usualPatience: Patience = { leewaySeconds: 60, jobsWithinSeconds: 600 };

export interface Waiting extends Patience {
  readonly signal: AbortSignal;
  readonly progress: Progress;
}

/** What is still there of a workload; null: nothing. */
interface Remains {
  readonly what: string;
  /** For how long it may be there, all in all. */
  readonly withinSeconds: number;
  readonly tooLate: () => Failure;
}

/** Throws WorkloadNotStopped where somebody scales one up again, or its pods outlive their time. */
export const untilPodsAreGone = (cluster: Cluster, all: readonly Which[], waiting: Waiting): Promise<void> =>
  untilNothing(all, waiting, async (which) => {
    const now = await cluster.read(which);
    if (now.level > 0) throw fought(which, now);
    const pods = (await cluster.pods(which, now)).filter(mayRun);
    const isSeen = now.status.observedGeneration >= now.generation && now.status.replicas === 0;
    if (pods.length === 0 && isSeen) return null;
    return {
      what: `${count(pods.length, 'pod')} of ${which.kind} ${which.name}`,
      withinSeconds: graceSeconds(now, pods.length) + waiting.leewaySeconds,
      tooLate: () => podsRemain(which, now, pods),
    };
  });

/** Throws WorkloadNotStopped where one is resumed again, or its Jobs do not end. */
export const untilJobsHaveEnded = (cluster: Cluster, all: readonly Which[], waiting: Waiting): Promise<void> =>
  untilNothing(all, waiting, async (which) => {
    const now = await cluster.read(which);
    if (now.level > 0) throw fought(which, now);
    const jobs = await cluster.runningJobs(which, now);
    if (jobs.length === 0) return null;
    return {
      what: `${count(jobs.length, 'Job')} of CronJob ${which.name}`,
      withinSeconds: waiting.jobsWithinSeconds,
      tooLate: () => jobsRemain(which, jobs, waiting),
    };
  });

async function untilNothing(
  all: readonly Which[],
  { signal, progress }: Waiting,
  look: (which: Which) => Promise<Remains | null>,
): Promise<void> {
  const startedAt = performance.now();
  // Looked at once more where it was aborted: what is over is not given up.
  for (;;) {
    const remains = (await Promise.all(all.map(look))).filter((one) => one !== null);
    if (remains.length === 0) return;
    const elapsed = (performance.now() - startedAt) / 1000;
    const late = remains.find(({ withinSeconds }) => elapsed >= withinSeconds);
    if (late !== undefined) throw late.tooLate();
    if (signal.aborted)
      throw retry(
        'OperationInterrupted',
        `It was stopped while it waited for ${remains.map(({ what }) => what).join(', ')}; the next start goes on.`,
      );
    const longest = Math.max(...remains.map(({ withinSeconds }) => withinSeconds));
    progress(Math.floor(elapsed), longest, `seconds, for ${remains.map(({ what }) => what).join(', ')} to end`);
    await wait(pollMs, signal);
  }
}

/** The pods of a StatefulSet end one after another, unless it says otherwise. */
function graceSeconds({ kind, spec }: Workload, pods: number): number {
  const one = spec.template?.spec.terminationGracePeriodSeconds ?? 30;
  const inTurn = kind === 'StatefulSet' && spec.podManagementPolicy !== 'Parallel';
  return inTurn ? one * Math.max(1, pods) : one;
}

function podsRemain(which: Which, now: Workload, pods: readonly Pod[]): Failure {
  const { namespace, kind } = which;
  const said = `${whichText(which)} (${workloadsField}) does not stop: `;
  const [first] = pods;
  if (first === undefined)
    return stalled(
      'WorkloadNotStopped',
      `${said}its controller has not acted on it, which still says ${count(now.status.replicas, 'replica')}. Look at kube-controller-manager, then: migration-target reconcile NAME`,
    );
  const terminating = pods.filter(({ metadata }) => metadata.deletionTimestamp != null);
  if (terminating.length === 0) {
    const inOrder =
      kind === 'StatefulSet' && now.spec.podManagementPolicy !== 'Parallel'
        ? ' One that is not ready holds up those before it (podManagementPolicy: OrderedReady).'
        : '';
    return stalled(
      'WorkloadNotStopped',
      `${said}${podsText(pods)} ${pods.length > 1 ? 'were' : 'was'} not told to end.${inOrder} Delete what holds it up: kubectl -n ${namespace} delete pod ${first.metadata.name}; then: migration-target reconcile NAME`,
    );
  }
  const stuck = terminating[0] ?? first;
  return stalled(
    'WorkloadNotStopped',
    `${said}${podsText(terminating)} ${terminating.length > 1 ? 'are' : 'is'} terminating for longer than allowed. Where the node is lost, its containers may still write: kubectl get node ${stuck.spec.nodeName}. Only once that machine is off: kubectl -n ${namespace} delete pod ${stuck.metadata.name} --force --grace-period=0; then: migration-target reconcile NAME`,
  );
}

const podsText = (pods: readonly Pod[]): string => {
  const named = pods
    .slice(0, mostNamed)
    .map(({ metadata, spec }) => (spec.nodeName === '' ? metadata.name : `${metadata.name} on node ${spec.nodeName}`));
  const more = pods.length - named.length;
  return `${pods.length > 1 ? 'the pods' : 'the pod'} ${named.join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
};

function jobsRemain(which: Which, jobs: readonly RunningJob[], { jobsWithinSeconds }: Patience): Failure {
  const named = jobs
    .slice(0, mostNamed)
    .map(({ name, startedAt }) => (startedAt === '' ? name : `${name} (since ${startedAt})`));
  return stalled(
    'WorkloadNotStopped',
    `${whichText(which)} (${workloadsField}) still runs ${jobs.length > 1 ? 'the Jobs' : 'the Job'} ${named.join(', ')} after ${jobsWithinSeconds} s; none is cut off in what it does to the database. Wait for it: kubectl -n ${which.namespace} wait --for=condition=Complete job/${jobs[0]?.name ?? ''} --timeout=-1s; then: migration-target reconcile NAME`,
  );
}
