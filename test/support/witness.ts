/** Sees all that happens in a namespace of a real cluster, also to what is gone by the time that a test asks. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

import type { InNamespace } from './cluster.ts';

/** As the API server tells it in a watch. */
export interface Witnessed {
  readonly type: string;
  readonly object: {
    readonly metadata: {
      readonly name: string;
      /** Of those of one API server the larger one came later, also of another collection. */
      readonly resourceVersion: string;
      readonly labels?: Readonly<Record<string, string>>;
    };
    readonly spec?: Readonly<Record<string, unknown>>;
    readonly status?: {
      readonly operation?: { readonly step: string } | null;
      readonly phase?: string;
      readonly initContainerStatuses?: readonly ContainerStatus[];
      readonly containerStatuses?: readonly ContainerStatus[];
    };
  };
}

interface ContainerStatus {
  readonly name: string;
  readonly state?: { readonly running?: object };
  readonly containerID?: string;
}

export interface Witness extends AsyncDisposable {
  /** Of a collection that is watched, each in the order of what happened. */
  of(collection: string): readonly Witnessed[];
  /** Everything, as the API server told it. */
  told(): string;
  /** One for each container, as far as it has written; of pods of such a name where that is given. */
  logs(pods?: RegExp): readonly string[];
}

/** `collections`: of a namespace, by the path of their API, e.g. `{'/api/v1': ['pods', 'events']}`; their kinds have to be there. */
export function witness(
  { cluster, name: namespace }: InNamespace,
  collections: Readonly<Record<string, readonly string[]>>,
): Witness {
  const events = new Map<string, Witnessed[]>();
  const logs = new Map<string, { readonly pod: string; written: string }>();
  const children: ChildProcess[] = [];
  let told = '';

  const kubectl = (...args: readonly string[]): ChildProcess & { readonly stdout: NodeJS.ReadableStream } => {
    const child = spawn(cluster.kubectlPath, ['--kubeconfig', cluster.kubeconfig, ...args], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    children.push(child);
    return child;
  };
  const follow = (pod: Witnessed['object'], { name, containerID }: ContainerStatus): void => {
    if (containerID === undefined || logs.has(containerID)) return;
    const log = { pod: pod.metadata.name, written: '' };
    logs.set(containerID, log);
    const child = kubectl('--namespace', namespace, 'logs', '--follow', log.pod, '--container', name);
    child.stdout.on('data', (chunk: Buffer) => (log.written += chunk.toString()));
  };
  for (const [api, names] of Object.entries(collections))
    for (const collection of names) {
      const seen: Witnessed[] = [];
      events.set(collection, seen);
      const watched = kubectl('get', '--raw', `${api}/namespaces/${namespace}/${collection}?watch=true`);
      createInterface(watched.stdout).on('line', (line) => {
        told += line;
        const event = JSON.parse(line) as Witnessed;
        seen.push(event);
        const { initContainerStatuses = [], containerStatuses = [] } = event.object.status ?? {};
        for (const container of [...initContainerStatuses, ...containerStatuses]) follow(event.object, container);
      });
    }

  return {
    of: (collection) => events.get(collection) ?? [],
    told: () => told,
    logs: (pods = /^/) => [...logs.values()].filter(({ pod }) => pods.test(pod)).map(({ written }) => written),
    async [Symbol.asyncDispose]() {
      for (const child of children) {
        if (child.exitCode !== null || child.signalCode !== null) continue;
        const ended = once(child, 'close');
        child.kill();
        await ended;
      }
    },
  };
}
