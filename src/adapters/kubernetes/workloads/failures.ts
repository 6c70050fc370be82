/** What goes wrong with a workload, in the API's terms. */
import { Failure, retry, stalled } from '../../../rollback/errors.ts';
import { asHomeFailure, ApiError, isMissingRight, isNotFound } from '../errors.ts';
import { howToHold, lastSetBy } from './field-owners.ts';
import { kinds, type ClusterKind } from './kinds.ts';
import type { Workload } from './workload.ts';

export const workloadsField = 'spec.application.workloads';

export interface Which {
  readonly kind: ClusterKind;
  readonly namespace: string;
  readonly name: string;
}

export const whichText = ({ kind, namespace, name }: Which): string => `The ${kind} ${namespace}/${name}`;

/** `kubectl` and what comes after it to look at one. */
export const showCommand = ({ kind, namespace, name }: Which): string =>
  `kubectl -n ${namespace} get ${kinds[kind].resource.slice(0, -1)} ${name}`;

export const notFound = (which: Which, cause?: unknown): Failure =>
  stalled(
    'WorkloadNotFound',
    `${whichText(which)} (${workloadsField}) does not exist. See those that there are: kubectl -n ${which.namespace} get ${kinds[which.kind].resource}; then correct ${workloadsField}.`,
    cause,
  );

export const going = (which: Which): Failure =>
  stalled(
    'WorkloadNotFound',
    `${whichText(which)} (${workloadsField}) is being deleted. Make it again, then: migration-target reconcile NAME`,
  );

/** It is planned anew, with whatever it is then. */
export const changedMeanwhile = (which: Which, what: string): Failure =>
  retry(
    'WorkloadNotStopped',
    `${whichText(which)} (${workloadsField}) ${what} while it was about to be stopped; nothing was changed. It is tried again.`,
  );

export const stoppedByOther = (which: Which, other: string): Failure =>
  retry(
    'WorkloadNotStopped',
    `${whichText(which)} (${workloadsField}) is stopped by MigrationTarget ${other}, which starts it again; that is waited for. See: migration-target status ${other}`,
  );

export const deletesVolumes = (which: Which): Failure =>
  stalled(
    'WorkloadNotStopped',
    `${whichText(which)} (${workloadsField}) has persistentVolumeClaimRetentionPolicy.whenScaled: Delete, so to stop it would delete its volumes. Set it to Retain, then: migration-target reconcile NAME`,
  );

/** Somebody started what has to be stopped. */
export function fought(which: Which, now: Workload): Failure {
  return stalled(
    'WorkloadNotStopped',
    `${startedBy(which, now)} while it has to be stopped. ${howToHold(setterOf(now), showCommand(which))}; then: migration-target reconcile NAME`,
  );
}

/** The same, found when it was to be started. */
export const foughtMeanwhile = (which: Which, now: Workload): string =>
  `${startedBy(which, now)} while it was to be stopped, and may have written to the database meanwhile; it is left as it is. ${howToHold(setterOf(now), showCommand(which))}.`;

const setterOf = ({ kind, managedFields }: Workload): string | null => lastSetBy(managedFields, kinds[kind].field);

function startedBy(which: Which, now: Workload): string {
  const what = which.kind === 'CronJob' ? 'resumed' : `scaled to ${now.level}`;
  return `${whichText(which)} (${workloadsField}) was ${what} by ${setterOf(now) ?? 'somebody'}`;
}

/** `doing`: what was attempted, as in `can't be stopped`. What passes is tried again, a missing right needs a person. */
export function callFailure(which: Which, doing: string, thrown: unknown): unknown {
  if (isNotFound(thrown)) return notFound(which, thrown);
  return thrown instanceof ApiError ? answerFailure(which, doing, thrown) : asHomeFailure(thrown);
}

function answerFailure(which: Which, doing: string, thrown: ApiError): unknown {
  if (isMissingRight(thrown))
    return stalled(
      'NotAllowed',
      `${whichText(which)} (${workloadsField}) can't be ${doing}, since a right is missing: ${thrown.says}. Grant it: the ClusterRole migration-target-tenant has all of them; then: migration-target reconcile NAME`,
      thrown,
    );
  if (thrown.status === 409)
    return retry(
      'WorkloadNotStopped',
      `${whichText(which)} (${workloadsField}) can't be ${doing}, since others change it all the time. It is tried again.`,
      thrown,
    );
  // By an admission webhook, a policy or a quota: in whatever code it likes.
  if ((thrown.status >= 400 && thrown.status < 429) || thrown.reason === 'Forbidden')
    return stalled(
      'WorkloadNotStopped',
      `${whichText(which)} (${workloadsField}) can't be ${doing}, since the cluster refuses it: ${thrown.says}. Have it allowed, then: migration-target reconcile NAME`,
      thrown,
    );
  return asHomeFailure(thrown);
}
