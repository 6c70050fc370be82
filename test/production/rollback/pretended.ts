/** An application of one container, for moments that no real one can be made to wait for. */
import type { WorkloadBefore } from '../../../src/rollback/model.ts';
import type { Ports, Workloads } from '../../../src/rollback/ports.ts';

export interface Pretended {
  readonly did: string[];
  readonly on: {
    stop?: () => Promise<void>;
    /** Returns what is gone. */
    start?: () => Promise<readonly string[]>;
    /** What `start` tells of what others have done. */
    found?: readonly string[];
    health?: () => Promise<void>;
  };
  readonly ports: (ports: Ports) => Ports;
  /** As it is declared. */
  readonly application: Readonly<Record<string, unknown>>;
}

export function pretended(): Pretended {
  const did: string[] = [];
  const on: Pretended['on'] = {};
  const one: WorkloadBefore = {
    kind: 'Container',
    name: 'app',
    id: 'app',
    running: true,
    startsAfter: [],
    settings: {},
  };
  const workloads: Workloads = {
    read: () => Promise.resolve([one]),
    tryStop: () => Promise.resolve(),
    stop: async () => {
      did.push('stop');
      await on.stop?.();
    },
    start: async () => {
      did.push('start');
      return { gone: (await on.start?.()) ?? [], notes: on.found ?? [] };
    },
    leave: () => Promise.resolve(),
    restart: () => Promise.resolve(),
    health: async () => {
      await on.health?.();
      return { state: 'healthy', what: 'the container app runs' };
    },
    log: () => Promise.resolve([]),
  };
  return {
    did,
    on,
    ports: (ports) => ({ ...ports, workloads: () => workloads }),
    application: { workloads: [{ kind: 'Container', name: 'app' }] },
  };
}
