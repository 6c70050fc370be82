/** Whose workloads they are: an engine's or a cluster's, each loaded when it is first asked. */
import { stalled } from '../rollback/errors.ts';
import type { WorkloadReference, Workloads } from '../rollback/ports.ts';

type Load = () => Promise<Workloads>;
type Kinds = readonly Pick<WorkloadReference, 'kind'>[];

/** What is asked of none needs neither. */
export function workloadsOf({ docker, cluster }: { readonly docker: Load; readonly cluster: Load }): Workloads {
  const of = (all: Kinds): Promise<Workloads> => {
    const contained = all.filter(({ kind }) => kind === 'Container').length;
    if (contained > 0 && contained < all.length) return Promise.reject(mixed());
    return contained > 0 ? docker() : cluster();
  };
  return {
    read: async (references) => (references.length === 0 ? [] : (await of(references)).read(references)),
    tryStop: async (all) => (all.length === 0 ? undefined : (await of(all)).tryStop(all)),
    stop: async (all, waiting) => (all.length === 0 ? undefined : (await of(all)).stop(all, waiting)),
    start: async (all, stopping) => (all.length === 0 ? { gone: [], notes: [] } : (await of(all)).start(all, stopping)),
    leave: async (all) => (all.length === 0 ? undefined : (await of(all)).leave(all)),
    restart: async (all) => (all.length === 0 ? undefined : (await of(all)).restart(all)),
    health: async (all) =>
      all.length === 0 ? { state: 'healthy', what: 'nothing was running' } : (await of(all)).health(all),
    log: async (all, since) => (all.length === 0 ? [] : (await of(all)).log(all, since)),
  };
}

const mixed = () =>
  stalled(
    'InvalidSpec',
    'spec.application.workloads names containers and workloads of a cluster: write those of one of them.',
  );
