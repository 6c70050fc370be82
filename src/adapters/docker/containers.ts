/** A declared container: whether it is there, and what can be done in it. */
import type { ContainerInspectInfo } from 'dockerode';
import { retry, stalled, type Failure } from '../../rollback/errors.ts';
import { answerInTime, engineFailure, statusOf, type Engine } from './engine.ts';

/** What Docker allows; anything else would become another path of its API. */
const containerName = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/;

/** `field`: of the declaration, for messages. Throws ContainerNotFound, DockerUnreachable, DockerForbidden. */
export async function findContainer(engine: Engine, name: string, field: string): Promise<ContainerInspectInfo> {
  if (!containerName.test(name)) throw notFound(engine, name, field, 'no container can have that name');
  try {
    return await engine.docker.getContainer(name).inspect({ abortSignal: answerInTime() });
  } catch (error) {
    if (statusOf(error) === 404) throw notFound(engine, name, field, 'it does not exist', error);
    throw engineFailure(engine, error, `Looking at the container ${name}`);
  }
}

const notFound = ({ where }: Engine, name: string, field: string, why: string, cause?: unknown): Failure =>
  stalled(
    'ContainerNotFound',
    `The container ${JSON.stringify(name)} (${field}) can't be used: ${why} on the Docker Engine at ${where}. See those that there are: docker ps --all; then correct ${field}.`,
    cause,
  );

/** Where a program can run: `aside`, in a container made like this one, where this one does not run or will not stay. */
export type Use = 'inside' | 'aside';

/** A container that was restarted so lately is taken to be about to fail again. */
const settledAfterMs = 60_000;

/** Throws ContainerNotRunning where a person has to decide first. */
export function useOf({ Name, State, RestartCount }: ContainerInspectInfo, now: Date): Use {
  const name = Name.replace(/^\//, '');
  if (State.Paused)
    throw stalled(
      'ContainerNotRunning',
      `The container ${name} is paused, so nothing can run in it, and its application holds what it holds. Let it go on: docker unpause ${name}; or stop it: docker unpause ${name} && docker stop ${name}; then: migration-target reconcile NAME`,
    );
  if (State.Status === 'removing' || State.Dead)
    throw stalled(
      'ContainerNotRunning',
      `The container ${name} is being removed. Make it again, then: migration-target reconcile NAME`,
    );
  const isLooping =
    State.Restarting || (RestartCount > 0 && now.getTime() - Date.parse(State.StartedAt) < settledAfterMs);
  return State.Running && !isLooping ? 'inside' : 'aside';
}

/** Throws ContainerNotRunning (retry): a server that is started again is there again by itself. */
export function assertServes({ Name, State }: ContainerInspectInfo): void {
  const name = Name.replace(/^\//, '');
  if (State.Running && !State.Paused && !State.Restarting) return;
  const next = State.Paused
    ? `docker unpause ${name}`
    : State.Restarting
      ? `docker logs ${name}`
      : `docker start ${name}`;
  throw retry(
    'ContainerNotRunning',
    `The database's container ${name} (spec.runtime.docker.databaseContainer) is ${State.Status}. It is waited for. See: ${next}`,
  );
}
