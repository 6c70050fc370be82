/** Who set a field of an object, and what keeps them from setting it again, as `managedFields` tells. Pure. */
import { fieldManager } from '../objects.ts';

/** An entry of metadata.managedFields, as far as it matters. */
export interface ManagedFields {
  readonly manager?: string | undefined;
  /** `Apply`, or `Update`. */
  readonly operation?: string | undefined;
  readonly time?: string | undefined;
  readonly fieldsV1?: unknown;
}

/** The newest that has `spec.<field>` and is not ours; null: nobody is known to. */
export function lastSetBy(all: readonly ManagedFields[], field: 'replicas' | 'suspend'): string | null {
  const setters = all.filter((entry) => !isOurs(entry) && holds(entry.fieldsV1, ['f:spec', `f:${field}`]));
  const newest = setters.toSorted((one, other) => (one.time ?? '').localeCompare(other.time ?? '')).at(-1);
  return newest?.manager ?? null;
}

export const isOurs = ({ manager, operation }: ManagedFields): boolean =>
  manager === fieldManager && operation === 'Update';

/** What whoever set it has to be told, so that it stays as it is while a database changes. */
export function howToHold(manager: string | null, show: string): string {
  const known = keepers.find(([name]) => manager !== null && name.test(manager));
  return known === undefined ? `See who that is: ${show} --show-managed-fields -o yaml` : known[1];
}

const keepers: readonly (readonly [RegExp, string])[] = [
  [
    /^argocd/,
    'Have Argo CD leave it alone, in the Application: spec.ignoreDifferences with jsonPointers: [/spec/replicas] (of a CronJob /spec/suspend), and syncOptions: [RespectIgnoreDifferences=true]',
  ],
  [
    /^kustomize-controller$/,
    'Leave spec.replicas (of a CronJob spec.suspend) out of what Flux applies, or hold it meanwhile: flux suspend kustomization NAME',
  ],
  [
    /^helm/,
    'Leave it out of what the chart sets, or have Flux ignore it: spec.driftDetection.ignore with paths: [/spec/replicas] in the HelmRelease',
  ],
  [/^keda/, 'Pause the ScaledObject meanwhile: the annotation autoscaling.keda.sh/paused-replicas: "0" on it'],
  [
    /^kube-controller-manager$/,
    'An autoscaler did: one whose minReplicas is 0 has to be deleted meanwhile. See: kubectl get hpa',
  ],
];

function holds(fields: unknown, path: readonly string[]): boolean {
  const [first, ...rest] = path;
  if (first === undefined) return true;
  if (typeof fields !== 'object' || fields === null || !(first in fields)) return false;
  return holds((fields as Readonly<Record<string, unknown>>)[first], rest);
}
