/** How far a workload is on its way to what its spec says, as `kubectl rollout status` tells it. Pure. */
import type { Health } from '../../../rollback/ports.ts';
import { nameText, type Workload } from './workload.ts';

/** What Kubernetes gives a Deployment that says nothing else; a StatefulSet has no such field. */
const progressWithinSeconds = 600;

export function rolloutOf(workload: Workload): Health {
  const { kind, level, generation, status } = workload;
  const name = nameText(workload);
  if (kind === 'CronJob') return level === 0 ? unhealthy(`${name} is suspended`) : healthy(`${name} is scheduled`);
  if (level === 0) return unhealthy(`${name} is at 0 replicas`);
  const starting = (what: string): Health => ({
    state: 'starting',
    what: `${name} ${what}`,
    withinSeconds: workload.spec.progressDeadlineSeconds ?? progressWithinSeconds,
  });
  if (status.observedGeneration < generation) return starting('was not looked at by its controller yet');
  const refused = status.conditions?.find(({ type, status: is }) => type === 'ReplicaFailure' && is === 'True');
  if (refused !== undefined) return unhealthy(`${name} can't make its pods (${refused.message.trim()})`);
  return kind === 'Deployment' ? deployment(workload, starting) : statefulSet(workload, starting);
}

type Starting = (what: string) => Health;

function deployment({ name, level, spec, status }: Workload, starting: Starting): Health {
  const { replicas, updatedReplicas, availableReplicas } = status;
  const isAvailable = availableReplicas >= level;
  const has = `the Deployment ${name} has ${Math.min(availableReplicas, level)} of ${level} replicas available`;
  // Whoever paused it finishes the rollout; those of before serve as well.
  if (spec.paused)
    return isAvailable ? healthy(`${has}, and its rollout is paused`) : starting('is paused, and not available');
  const progressing = status.conditions?.find(({ type }) => type === 'Progressing');
  if (progressing?.reason === 'ProgressDeadlineExceeded')
    return unhealthy(`${has}, and its rollout made no progress for too long (ProgressDeadlineExceeded)`);
  if (updatedReplicas < level) return starting(`has ${updatedReplicas} of ${level} new replicas`);
  if (replicas > updatedReplicas) return starting(`has ${replicas - updatedReplicas} old replicas still`);
  if (availableReplicas < updatedReplicas)
    return starting(`has ${availableReplicas} of ${updatedReplicas} replicas available`);
  return healthy(has);
}

function statefulSet({ name, level, spec, status }: Workload, starting: Starting): Health {
  const { readyReplicas, updatedReplicas, currentRevision, updateRevision } = status;
  const has = `the StatefulSet ${name} has ${Math.min(readyReplicas, level)} of ${level} replicas ready`;
  if (readyReplicas < level) return starting(`has ${readyReplicas} of ${level} replicas ready`);
  // One that is updated by hand is never done by itself.
  if (spec.updateStrategy?.type === 'OnDelete') return healthy(has);
  const partition = spec.updateStrategy?.rollingUpdate?.partition ?? 0;
  if (partition > 0)
    return updatedReplicas < level - partition
      ? starting(`has ${updatedReplicas} of ${level - partition} new replicas`)
      : healthy(`${has}, ${partition} of them held back by its partition`);
  if (updateRevision !== currentRevision) return starting(`has ${updatedReplicas} of ${level} new replicas`);
  return healthy(has);
}

const healthy = (what: string): Health => ({ state: 'healthy', what });
const unhealthy = (what: string): Health => ({ state: 'unhealthy', what });
