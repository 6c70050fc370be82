/** The kinds of workloads that a cluster has, and what it takes to stop and start each. Pure. */
import { replicasBeforeAnnotation, suspendBeforeAnnotation } from '../../../api/group.ts';
import type { WorkloadReference } from '../../../rollback/ports.ts';

export type ClusterKind = Exclude<WorkloadReference['kind'], 'Container'>;

/**
 * How much of a workload is meant to run: a number of replicas; of a CronJob 1, or 0 where it is suspended. At 0 it is
 * stopped.
 */
export type Level = number;

interface KindOfWorkload {
  readonly group: 'apps' | 'batch';
  readonly resource: 'deployments' | 'statefulsets' | 'cronjobs';
  /** The field of its spec that says its level. */
  readonly field: 'replicas' | 'suspend';
  readonly beforeAnnotation: string;
  readonly levelOf: (spec: { readonly replicas?: number | undefined; readonly suspend?: boolean | undefined }) => Level;
  /** As the field has it. */
  readonly valueOf: (level: Level) => number | boolean;
  /** As a person sets it. */
  readonly command: (namespace: string, name: string, level: Level) => string;
}

const scaled = (resource: 'deployments' | 'statefulsets'): KindOfWorkload => ({
  group: 'apps',
  resource,
  field: 'replicas',
  beforeAnnotation: replicasBeforeAnnotation,
  levelOf: ({ replicas = 1 }) => replicas,
  valueOf: (level) => level,
  command: (namespace, name, level) =>
    `kubectl -n ${namespace} scale ${resource.slice(0, -1)} ${name} --replicas=${level}`,
});

export const kinds: Readonly<Record<ClusterKind, KindOfWorkload>> = {
  Deployment: scaled('deployments'),
  StatefulSet: scaled('statefulsets'),
  CronJob: {
    group: 'batch',
    resource: 'cronjobs',
    field: 'suspend',
    beforeAnnotation: suspendBeforeAnnotation,
    levelOf: ({ suspend = false }) => (suspend ? 0 : 1),
    valueOf: (level) => level === 0,
    command: (namespace, name, level) =>
      `kubectl -n ${namespace} patch cronjob ${name} -p '{"spec":{"suspend":${level === 0}}}'`,
  },
};

export const isOfCluster = (kind: WorkloadReference['kind']): kind is ClusterKind => kind in kinds;
