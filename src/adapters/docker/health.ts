import type { ContainerInspectInfo } from 'dockerode';
import type { Health } from '../../rollback/ports.ts';
import { nameOf } from './address.ts';

/** What a container says of itself, or, where it has no health check, whether it runs. Pure. */
export function healthOf(found: ContainerInspectInfo, now = new Date()): Health {
  const { State } = found;
  const name = `the container ${nameOf(found)}`;
  if (State.Restarting) return { state: 'unhealthy', what: `${name} restarts again and again (${endOf(State)})` };
  if (!State.Running) return { state: 'unhealthy', what: `${name} does not run (${endOf(State)})` };
  switch (State.Health?.Status) {
    case 'starting':
      return { state: 'starting', what: `${name} is starting` };
    case 'unhealthy':
      return { state: 'unhealthy', what: `${name} is unhealthy, as its health check says` };
    case 'healthy':
      return { state: 'healthy', what: `${name} is healthy` };
    default:
      return wasJustRestarted(found, now)
        ? {
            state: 'starting',
            what: `${name} was restarted by the engine just now, for the ${found.RestartCount}. time`,
          }
        : { state: 'healthy', what: `${name} runs` };
  }
}

/** What a person stopped, or what ended well, has not. */
export const hasCrashed = ({ State }: ContainerInspectInfo): boolean =>
  State.Restarting || (!State.Running && (State.OOMKilled || !endsOfStop.has(State.ExitCode)));

/** Ended by itself, by SIGKILL, by SIGTERM; and never started at all. */
const endsOfStop: ReadonlySet<number> = new Set([0, 137, 143]);

/** One that is restarted again and again runs for a moment each time. */
const settledAfterMs = 5_000;

const wasJustRestarted = ({ RestartCount, State }: ContainerInspectInfo, now: Date): boolean =>
  RestartCount > 0 && now.getTime() - Date.parse(State.StartedAt) < settledAfterMs;

const endOf = ({ ExitCode, OOMKilled, Error: why }: ContainerInspectInfo['State']): string =>
  OOMKilled ? 'it ran out of memory' : why === '' ? `it ended with exit code ${ExitCode}` : why;
