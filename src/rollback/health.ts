/** How the application is: its workloads, and its declared health check. */
import { seconds, type MigrationTarget, type TargetStatus } from '../api/target.ts';
import { unhealthyMessage, type Outcome } from '../api/conditions.ts';
import { asFailure } from './errors.ts';
import type { WorkloadBefore } from './model.ts';
import type { Health, HealthProbe, Ports, Progress, Workloads } from './ports.ts';
import { ownerOf } from './visit.ts';
import { isAsked } from './application.ts';
import { asPart, capitalized } from './sentences.ts';
import { wait } from './wait.ts';

/** How long workloads are waited for that say themselves how they are, where no health check is declared. */
const defaultTimeoutSeconds = 60;
/** How long one answer may take. */
const answerMs = 5_000;
const pollMs = 500;

type Declared = NonNullable<MigrationTarget['spec']['application']>;

/** What can tell: the workloads themselves, and the declared health check. */
export interface Asked {
  readonly own: Workloads;
  readonly probe: HealthProbe;
}

/** One look. */
export async function askHealth(
  ask: Asked,
  { healthCheck }: Pick<Declared, 'healthCheck'>,
  workloads: readonly WorkloadBefore[],
): Promise<Health> {
  const own = await orUnhealthy(() => ask.own.health(workloads));
  if (own.state !== 'healthy' || healthCheck === undefined) return own;
  return probe(ask.probe, healthCheck.url);
}

/** A workload that is missing says how the application is; an engine or a cluster that does not answer says nothing yet. */
async function orUnhealthy(ask: () => Promise<Health>): Promise<Health> {
  try {
    return await ask();
  } catch (thrown) {
    const failure = asFailure(thrown);
    if (failure.kind === 'retry') throw failure;
    return { state: 'unhealthy', what: asPart(failure.message) };
  }
}

const probe = (ask: HealthProbe, url: string): Promise<Health> => ask(url, AbortSignal.timeout(answerMs));

/**
 * Until it is healthy, or its time is over: the last answer. What is starting has the time that it declares itself, where
 * no health check does. Stops at once where `signal` is aborted.
 */
export async function awaitHealth(
  ask: Asked,
  declared: Pick<Declared, 'healthCheck'>,
  workloads: readonly WorkloadBefore[],
  { signal, progress }: { readonly signal: AbortSignal; readonly progress: Progress },
): Promise<{ readonly healthy: boolean; readonly message: string }> {
  const startedAt = performance.now();
  for (;;) {
    const health = await askHealth(ask, declared, workloads);
    const { state, what } = health;
    if (state === 'healthy') return { healthy: true, message: `${capitalized(what)}.` };
    const total = timeoutOf(declared, health);
    const elapsed = (performance.now() - startedAt) / 1000;
    if (elapsed >= total || signal.aborted)
      return { healthy: false, message: `The application is not healthy after ${Math.round(elapsed)} s: ${what}.` };
    progress(Math.floor(elapsed), total, 'seconds of the health check');
    await wait(pollMs, signal);
  }
}

/** Seconds that are waited altogether, as the last answer has it. */
export function timeoutOf(
  { healthCheck }: Pick<Declared, 'healthCheck'>,
  { state, withinSeconds = 0 }: Health,
): number {
  if (healthCheck !== undefined) return Math.max(1, seconds(healthCheck.timeout));
  return state === 'starting' ? Math.max(defaultTimeoutSeconds, withinSeconds) : defaultTimeoutSeconds;
}

/**
 * For a target whose database is where it should be: Ready says that the declared health check passed too, for this
 * generation. Asked once, until it was answered well. undefined: nothing to ask.
 */
export async function lookAtHealth(
  { target, status, ports }: { readonly target: MigrationTarget; readonly status: TargetStatus; readonly ports: Ports },
  now: Date,
): Promise<TargetStatus['application'] | undefined> {
  const { application } = target.spec;
  if (application === undefined || !isAsked(application)) return undefined;
  const { generation } = target.metadata;
  const last = status.application;
  if (last?.generation === generation && last.state !== 'unhealthy') return undefined;
  const { state, what } = await look({ own: ports.workloads(ownerOf(target)), probe: ports.probe }, application);
  const said =
    state === 'healthy'
      ? ({ state, generation, message: `${capitalized(what)}.` } as const)
      : ({ state: 'unhealthy', generation, message: `The application is not healthy: ${what}.` } as const);
  // As long as it does not come up, that is why.
  const log = said.state === 'unhealthy' && last?.generation === generation ? last.log : null;
  // The same again is no news: nothing is written for it.
  const isSame = last?.generation === generation && last.state === said.state && last.message === said.message;
  return isSame ? last : { ...said, log, at: now.toISOString() };
}

/** What is ready but for its application, as it was when it was last asked for this generation, is not. */
export function unlessUnhealthy(
  { metadata }: MigrationTarget,
  application: TargetStatus['application'],
  outcome: Outcome,
): Outcome {
  const isUnhealthy = application?.state === 'unhealthy' && application.generation === metadata.generation;
  return isUnhealthy && outcome.kind === 'ready'
    ? {
        kind: 'stalled',
        reason: 'ApplicationUnhealthy',
        message: `${outcome.message} ${unhealthyMessage(application)}`,
      }
    : outcome;
}

const look = (ask: Asked, application: Declared): Promise<Health> =>
  orUnhealthy(async () => askHealth(ask, application, await ask.own.read(application.workloads)));
