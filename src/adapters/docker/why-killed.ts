import type { Engine } from './engine.ts';
import { eventsOf } from './events.ts';

const ends = new Set(['stop', 'kill', 'die']);

/** Why something that we did not end was killed; null: nobody knows. */
export async function whyKilled(
  engine: Engine,
  container: { readonly id: string; readonly name: string },
  since: Date,
): Promise<string | null> {
  const wasStopped = `the container ${container.name} was stopped`;
  // It tells of no lack of memory, and of an end only afterwards.
  if (await engine.isPodman().catch(() => false)) return (await isStopped(engine, container.id)) ? wasStopped : null;
  const events = await eventsOf(engine, container.id, since).catch(() => []);
  if (events.some(({ action }) => action === 'oom'))
    return `the container ${container.name} ran out of memory; give it more: docker update --memory SIZE --memory-swap SIZE ${container.name}`;
  return events.some(({ action }) => ends.has(action)) ? wasStopped : null;
}

/** One that is gone may have been stopped, or not. */
const isStopped = ({ docker }: Engine, id: string): Promise<boolean> =>
  docker
    .getContainer(id)
    .inspect()
    .then(
      ({ State }) => !State.Running,
      () => false,
    );
