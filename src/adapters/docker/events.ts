/** What an engine remembers of the last minutes. */
import { text } from 'node:stream/consumers';
import type { Engine } from './engine.ts';

export interface ContainerEvent {
  readonly action: string;
  /** Where it ended. */
  readonly exitCode: number | null;
}

/** What happened to that container, which may be gone. */
export async function eventsOf(engine: Engine, id: string, since: Date): Promise<readonly ContainerEvent[]> {
  const told = await engine.docker.getEvents({
    since: Math.floor(since.getTime() / 1000),
    // Podman ends where it is told to, but may have read nothing by then; Docker ends nowhere else.
    ...((await engine.isPodman())
      ? { stream: false }
      : // What happened this very moment may still be on its way.
        { until: Date.now() / 1000 + 0.2 }),
    filters: JSON.stringify({ container: [id] }),
  });
  const lines = (await text(told)).split('\n').filter((line) => line !== '');
  return lines.map((line) => {
    const { Action = '', Actor } = JSON.parse(line) as {
      readonly Action?: string;
      readonly Actor?: { readonly Attributes?: Readonly<Record<string, string>> };
    };
    const { exitCode, containerExitCode = exitCode } = Actor?.Attributes ?? {};
    return { action: Action, exitCode: containerExitCode === undefined ? null : Number(containerExitCode) };
  });
}
