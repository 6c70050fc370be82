/** Containers that are stopped while a database changes, and started again, with what Docker Compose ties to them. */
import type { ContainerInfo, ContainerInspectInfo } from 'dockerode';
import { setTimeout as delay } from 'node:timers/promises';
import { asFailure, retry, stalled, type Failure } from '../../rollback/errors.ts';
import type { LogLine, WorkloadBefore } from '../../rollback/model.ts';
import { mostLogLines, type Health, type Workloads } from '../../rollback/ports.ts';
import { nameOf } from './address.ts';
import { dependantsOf, serviceOf } from './compose.ts';
import { findContainer } from './containers.ts';
import { answerInTime, engineFailure, statusOf, type Engine } from './engine.ts';
import { hasCrashed, healthOf } from './health.ts';
import { linesOf } from './log-lines.ts';

const field = 'spec.application.workloads';
const pollMs = 100;
/** How long what depends on a healthy container waits for that; then it is started all the same, as a person would. */
const healthyWithinMs = 60_000;

/** What was asked of the engine is given up so long after it is due: it hangs, or the container does. */
const usualOverdueMs = 60_000;
/** What the engine gives a container to end by itself, where nothing else is said; then it kills it. */
const usualStopSeconds = 10;

/** `opened`: connects when something is asked of it. */
export function containersAsWorkloads(opened: () => Engine, overdueMs = usualOverdueMs): Workloads {
  const stopInTime = ({ Config }: ContainerInspectInfo): AbortSignal => {
    const { StopTimeout = usualStopSeconds } = Config as { readonly StopTimeout?: number };
    return AbortSignal.timeout(Math.max(0, StopTimeout) * 1000 + overdueMs);
  };
  return {
    async read(references) {
      const engine = opened();
      const declared = await Promise.all(references.map(({ name }) => findContainer(engine, name, field)));
      const all = await withDependants(engine, declared);
      for (const { found } of all) assertStoppable(found);
      return all.map(({ found, startsAfter }) => describe(found, startsAfter));
    },

    // What could not be put back was refused by `read`.
    tryStop: () => Promise.resolve(),

    async stop(workloads) {
      const engine = opened();
      for (const before of workloads) {
        const found = await findAgain(engine, before);
        await setRestartPolicy(engine, found, { Name: 'no' });
        await engineDoes(engine, `Stopping the container ${before.name}`, async () => {
          await engine.docker.getContainer(found.Id).stop({ abortSignal: stopInTime(found) });
        });
        await untilStopped(engine, found.Id, before.name);
      }
    },

    async start(workloads, signal) {
      const engine = opened();
      const gone: string[] = [];
      const failures: Failure[] = [];
      // What can't be done for one is done for the others all the same.
      for (const before of workloads.toReversed()) {
        try {
          const found = await findAgain(engine, before);
          await setRestartPolicy(engine, found, policyOf(before));
          if (!before.running) continue;
          await untilHealthy(engine, before, workloads, signal);
          await engineDoes(engine, `Starting the container ${before.name}`, async () => {
            await engine.docker.getContainer(found.Id).start({ abortSignal: AbortSignal.timeout(overdueMs) });
          });
        } catch (thrown) {
          const failure = asFailure(thrown);
          if (failure.reason === 'ContainerNotFound') gone.push(before.name);
          else failures.push(failure);
        }
      }
      const [first] = failures;
      if (first !== undefined) throw first;
      return { gone, notes: [] };
    },

    async leave(workloads) {
      const engine = opened();
      for (const before of workloads) await setRestartPolicy(engine, await findAgain(engine, before), policyOf(before));
    },

    async restart(workloads) {
      const engine = opened();
      for (const before of workloads.toReversed().filter(({ running }) => running)) {
        const found = await findAgain(engine, before);
        await engineDoes(engine, `Restarting the container ${before.name}`, async () => {
          await engine.docker.getContainer(found.Id).restart({ abortSignal: stopInTime(found) });
        });
      }
    },

    async health(workloads): Promise<Health> {
      const engine = opened();
      const found = await Promise.all(
        workloads.map(async (before) => ({ before, now: await findAgain(engine, before) })),
      );
      const all = found.filter(({ before, now }) => before.running || hasCrashed(now)).map(({ now }) => healthOf(now));
      const worst = all.find(({ state }) => state === 'unhealthy') ?? all.find(({ state }) => state === 'starting');
      return worst ?? { state: 'healthy', what: all.map(({ what }) => what).join(', ') || 'no container was running' };
    },

    async log(workloads, since) {
      const engine = opened();
      const lines: LogLine[] = [];
      for (const before of workloads.filter(({ running }) => running)) {
        const found = await findAgain(engine, before);
        const raw = await engine.docker.getContainer(found.Id).logs({
          stdout: true,
          stderr: true,
          follow: false,
          tail: mostLogLines,
          since: Math.floor(since.getTime() / 1000),
          abortSignal: answerInTime(),
        });
        lines.push(...linesOf(raw, found.Config.Tty).map((text) => ({ workload: before.name, text })));
      }
      return lines;
    },
  };
}

/** Refused before anything is stopped: it could not be put back. Throws ContainerNotRunning. */
function assertStoppable(found: ContainerInspectInfo): void {
  const name = nameOf(found);
  if (found.HostConfig.AutoRemove === true)
    throw stalled(
      'ContainerNotRunning',
      `The container ${name} (${field}) was started with --rm: stopped, it would be gone, and could not be started again. Start it without --rm, then: migration-target reconcile NAME`,
    );
  if (found.State.Paused)
    throw stalled(
      'ContainerNotRunning',
      `The container ${name} (${field}) is paused, with whatever it was doing to the database half done. Let it go on: docker unpause ${name}; then: migration-target reconcile NAME`,
    );
}

interface Found {
  readonly found: ContainerInspectInfo;
  readonly startsAfter: readonly string[];
}

/** Those that Compose restarts with a declared one come first: they are stopped before it, and started after it. */
async function withDependants(engine: Engine, declared: readonly ContainerInspectInfo[]): Promise<readonly Found[]> {
  const projects = new Set(declared.flatMap((found) => serviceOf(found.Config.Labels)?.project ?? []));
  const listed: ContainerInfo[] = [];
  for (const project of projects)
    listed.push(
      ...(await engineDoes(engine, `Listing the containers of the project ${project}`, () =>
        engine.docker.listContainers({
          all: true,
          filters: { label: [`com.docker.compose.project=${project}`] },
          abortSignal: answerInTime(),
        }),
      )),
    );
  const order = dependantsOf(
    declared.map(({ Id, Config }) => ({ id: Id, labels: Config.Labels })),
    listed.map(({ Id, Labels }) => ({ id: Id, labels: Labels })),
  );
  return Promise.all(
    order.map(async ({ id, startsAfter }) => ({
      found: declared.find(({ Id }) => Id === id) ?? (await findContainer(engine, id, field)),
      startsAfter,
    })),
  );
}

function describe(found: ContainerInspectInfo, startsAfter: readonly string[]): WorkloadBefore {
  const { Name = 'no', MaximumRetryCount = 0 } = found.HostConfig.RestartPolicy ?? {};
  return {
    kind: 'Container',
    name: nameOf(found),
    id: found.Id,
    running: found.State.Running || found.State.Restarting,
    startsAfter,
    settings: { restartPolicy: Name === '' ? 'no' : Name, maximumRetryCount: MaximumRetryCount },
  };
}

interface RestartPolicy {
  readonly Name: string;
  readonly MaximumRetryCount?: number;
}

const policyOf = ({ settings: { restartPolicy = 'no', maximumRetryCount = 0 } }: WorkloadBefore): RestartPolicy => ({
  Name: String(restartPolicy),
  ...(restartPolicy === 'on-failure' ? { MaximumRetryCount: Number(maximumRetryCount) } : {}),
});

/** An engine that is started again would start a stopped container whose policy is `always`. */
async function setRestartPolicy(engine: Engine, found: ContainerInspectInfo, policy: RestartPolicy): Promise<void> {
  const is = found.HostConfig.RestartPolicy;
  if ((is?.Name === '' ? 'no' : is?.Name) === policy.Name) return;
  await engineDoes(engine, `Setting the restart policy of the container ${nameOf(found)}`, async () => {
    try {
      await engine.docker.getContainer(found.Id).update({ RestartPolicy: policy, abortSignal: answerInTime() });
    } catch (error) {
      if (statusOf(error) !== 404) throw error;
      // Not every Podman can do that, nor does it start what was stopped; or else the container is gone.
      await findContainer(engine, found.Id, field);
    }
  });
}

/** By its id, whatever it is called now; or by its name, where it was made again meanwhile. */
async function findAgain(engine: Engine, { id, name }: WorkloadBefore): Promise<ContainerInspectInfo> {
  try {
    return await engine.docker.getContainer(id).inspect({ abortSignal: answerInTime() });
  } catch (error) {
    if (statusOf(error) === 404) return findContainer(engine, name, field);
    throw engineFailure(engine, error, `Looking at the container ${name}`);
  }
}

async function untilStopped(engine: Engine, id: string, name: string): Promise<void> {
  const endsAt = performance.now() + healthyWithinMs;
  for (;;) {
    const { State } = await engineDoes(engine, `Looking at the container ${name}`, () =>
      engine.docker.getContainer(id).inspect({ abortSignal: answerInTime() }),
    );
    if (!State.Running && !State.Restarting) return;
    if (performance.now() > endsAt)
      throw retry(
        'ContainerNotRunning',
        `The container ${name} (${field}) does not stop. It is tried again by itself.`,
      );
    await delay(pollMs);
  }
}

/** What `depends_on: {condition: service_healthy}` asks for. */
async function untilHealthy(
  engine: Engine,
  { startsAfter }: WorkloadBefore,
  workloads: readonly WorkloadBefore[],
  signal: AbortSignal,
): Promise<void> {
  const endsAt = performance.now() + healthyWithinMs;
  for (const needed of workloads.filter(({ id }) => startsAfter.includes(id))) {
    for (;;) {
      const found = await findAgain(engine, needed);
      if (healthOf(found).state === 'healthy' || performance.now() > endsAt || signal.aborted) break;
      await delay(pollMs);
    }
  }
}

/** 304: it is so already. */
async function engineDoes<T>(engine: Engine, doing: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (statusOf(error) === 304) return undefined as T;
    throw engineFailure(engine, error, doing);
  }
}
