/** The last lines of a workload: of the pod that tells most. */
import { shownLines } from '../../log-lines.ts';
import { mostLogLines } from '../../../rollback/ports.ts';
import type { Cluster } from './cluster.ts';
import type { Which } from './failures.ts';
import { isReady, type Pod } from './pod.ts';

/** At most `mostLogLines`, oldest first for each container; of one that was restarted, those before that too. */
export async function lastLines(cluster: Cluster, which: Which, since: Date): Promise<readonly string[]> {
  const pod = tellingPod(await cluster.pods(which, await cluster.read(which)));
  if (pod === undefined) return [];
  const lines: string[] = [];
  for (const { container, previous } of containersOf(pod)) {
    const text = await cluster.log(which, pod.metadata.name, { container, previous, since, lines: mostLogLines });
    lines.push(...shownLines(text));
  }
  return lines.slice(-mostLogLines);
}

/** One that is not ready, if there is any; of those the newest. */
export function tellingPod(pods: readonly Pod[]): Pod | undefined {
  const alive = pods.filter(({ metadata }) => metadata.deletionTimestamp == null);
  const unready = alive.filter((pod) => !isReady(pod));
  return (unready.length === 0 ? alive : unready)
    .toSorted((one, other) =>
      (one.metadata.creationTimestamp ?? '').localeCompare(other.metadata.creationTimestamp ?? ''),
    )
    .at(-1);
}

interface Stream {
  readonly container: string;
  readonly previous: boolean;
}

/** Those that have written anything; the server refuses to be asked for the others. */
export function containersOf({ status }: Pod): readonly Stream[] {
  const all = [...(status.initContainerStatuses ?? []), ...(status.containerStatuses ?? [])];
  return all.flatMap(({ name, ready, state, lastState }): readonly Stream[] => {
    const isOver = lastState.terminated != null && !ready;
    const hasBegun = state.running != null || (state.terminated != null && state.terminated.exitCode !== 0);
    return [
      ...(isOver ? [{ container: name, previous: true }] : []),
      ...(hasBegun ? [{ container: name, previous: false }] : []),
    ];
  });
}
