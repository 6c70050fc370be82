/** A pod as the API server has it, and what is wrong with it. Pure. */
import * as z from 'zod';

const ended = z.looseObject({ exitCode: z.int().default(0), reason: z.string().default('') });

const containerStatus = z.looseObject({
  name: z.string(),
  ready: z.boolean().default(false),
  started: z.boolean().nullish(),
  restartCount: z.int().default(0),
  state: z
    .looseObject({
      waiting: z.looseObject({ reason: z.string().default(''), message: z.string().default('') }).nullish(),
      running: z.looseObject({ startedAt: z.string().default('') }).nullish(),
      terminated: ended.nullish(),
    })
    .prefault({}),
  lastState: z.looseObject({ terminated: ended.nullish() }).prefault({}),
});

const pod = z.looseObject({
  metadata: z.looseObject({
    name: z.string(),
    creationTimestamp: z.string().nullish(),
    deletionTimestamp: z.string().nullish(),
    ownerReferences: z
      .array(z.looseObject({ kind: z.string(), uid: z.string(), controller: z.boolean().nullish() }))
      .nullish(),
  }),
  spec: z.looseObject({
    nodeName: z.string().default(''),
    containers: z.array(
      z.looseObject({
        name: z.string(),
        readinessProbe: z.looseObject({}).nullish(),
        startupProbe: z.looseObject({}).nullish(),
      }),
    ),
  }),
  status: z
    .looseObject({
      phase: z.string().default(''),
      conditions: z
        .array(
          z.looseObject({
            type: z.string(),
            status: z.string(),
            reason: z.string().default(''),
            message: z.string().default(''),
          }),
        )
        .nullish(),
      initContainerStatuses: z.array(containerStatus).nullish(),
      containerStatuses: z.array(containerStatus).nullish(),
    })
    .prefault({}),
});

export type Pod = z.output<typeof pod>;
type ContainerStatus = z.output<typeof containerStatus>;

const podList = z.looseObject({ items: z.array(z.unknown()).nullish() });

export const asPods = (answer: unknown): readonly Pod[] =>
  (podList.parse(answer).items ?? []).map((item) => pod.parse(item));

/** What made it and keeps it; undefined: nobody. */
export const controllerOf = ({ metadata }: Pod): { readonly kind: string; readonly uid: string } | undefined =>
  metadata.ownerReferences?.find(({ controller }) => controller === true);

/** Its containers may run: a pod that ended, or was evicted, stays behind as an object alone. */
export const mayRun = ({ status: { phase } }: Pod): boolean => phase !== 'Succeeded' && phase !== 'Failed';

export const isReady = ({ status }: Pod): boolean =>
  status.conditions?.some((one) => one.type === 'Ready' && one.status === 'True') === true;

/** Why it does not get ready, as part of a sentence; null: nothing is known to be in its way. */
export function troubleOf(one: Pod): string | null {
  const name = `the pod ${one.metadata.name}`;
  const unscheduled = one.status.conditions?.find(({ type, status }) => type === 'PodScheduled' && status === 'False');
  if (unscheduled !== undefined) return `${name} can't be scheduled (${sentence(unscheduled.message)})`;
  const statuses = [...(one.status.initContainerStatuses ?? []), ...(one.status.containerStatuses ?? [])];
  for (const status of statuses) {
    const trouble = containerTrouble(status);
    if (trouble !== null) return `the container ${status.name} of ${name} ${trouble}`;
  }
  const unready = one.status.containerStatuses?.find(({ ready, state }) => !ready && state.running != null);
  if (unready === undefined) return null;
  const probe = unready.started === false ? 'startup probe' : 'readiness probe';
  return `the container ${unready.name} of ${name} runs, but its ${probe} has not passed`;
}

/** Without a probe a container counts as ready from its first moment, also one that is about to crash, again and again. */
const settledAfterMs = 5_000;

/** A container that says nothing of itself, and has run for a moment only, as part of a sentence; null: none. */
export function justStarted({ metadata, spec, status }: Pod, now: Date): string | null {
  const unprobed = new Set(
    spec.containers
      .filter(({ readinessProbe, startupProbe }) => readinessProbe == null && startupProbe == null)
      .map(({ name }) => name),
  );
  // A node's clock may be a little ahead of ours.
  const fresh = status.containerStatuses?.find(
    ({ name, state }) =>
      unprobed.has(name) && Math.abs(now.getTime() - Date.parse(state.running?.startedAt ?? '')) < settledAfterMs,
  );
  return fresh === undefined ? null : `the container ${fresh.name} of the pod ${metadata.name} has only just started`;
}

/** States that a container passes through on its way. */
const passing: ReadonlySet<string> = new Set(['', 'ContainerCreating', 'PodInitializing']);

function containerTrouble({ state, lastState }: ContainerStatus): string | null {
  const { waiting, terminated } = state;
  if (waiting != null && !passing.has(waiting.reason)) {
    const last = lastState.terminated;
    // What the kubelet says of a back-off is how long it waits; how the last run ended says more.
    const why = last == null ? sentence(waiting.message) : ending(last);
    return `waits in ${waiting.reason}${why === '' ? '' : ` (${why})`}`;
  }
  if (terminated != null && terminated.exitCode !== 0) return `does not run (${ending(terminated)})`;
  return null;
}

const ending = ({ exitCode, reason }: z.output<typeof ended>): string =>
  reason === 'OOMKilled' ? 'it ran out of memory' : `it ended with exit code ${exitCode}`;

const sentence = (message: string): string => message.trim().replace(/[.\s]+$/, '');
