/** What a declaration may make a controller in a pod do: neither run code nor read files as the controller, unless that was allowed. */
import type { TargetSpec, ValueSource } from '../api/target.ts';

/** What `--allow` takes. */
export const permissions = ['process', 'docker', 'file', 'env', 'directory', 's3'] as const;
export type Permission = (typeof permissions)[number];

export interface Surroundings {
  readonly inPod: boolean;
  readonly allow: readonly Permission[];
}

/** A declared field that needs a permission which the controller was not started with. */
export interface RefusedField {
  readonly permission: Permission;
  /** e.g. `spec.database.urlFrom.file`. */
  readonly field: string;
}

export const isAllowed = (permission: Permission, { inPod, allow }: Surroundings): boolean =>
  !inPod || allow.includes(permission);

/** Every field that is refused, in the order of the declaration; none outside of a pod. */
export function notAllowed(spec: TargetSpec, surroundings: Surroundings): readonly RefusedField[] {
  const needed: readonly (RefusedField | null)[] = [
    ...ofSource('spec.database.urlFrom', spec.database.urlFrom),
    ...ofSource('spec.database.adminUrlFrom', spec.database.adminUrlFrom),
    ...spec.alembic.env.flatMap(({ valueFrom }, index) => ofSource(`spec.alembic.env[${index}].valueFrom`, valueFrom)),
    ...ofSource('spec.policy.rehearsalServer.urlFrom', spec.policy.rehearsalServer?.urlFrom),
    spec.runtime.process === undefined ? null : { permission: 'process', field: 'spec.runtime.process' },
    spec.runtime.docker === undefined ? null : { permission: 'docker', field: 'spec.runtime.docker' },
    spec.application?.workloads.some(({ kind }) => kind === 'Container') === true
      ? { permission: 'docker', field: 'spec.application.workloads' }
      : null,
    spec.backup.storage.directory === undefined
      ? null
      : { permission: 'directory', field: 'spec.backup.storage.directory' },
    spec.backup.storage.s3 === undefined || spec.backup.storage.s3.secretRef !== undefined
      ? null
      : { permission: 's3', field: 'spec.backup.storage.s3 without secretRef' },
  ];
  return needed.filter((one) => one !== null).filter(({ permission }) => !isAllowed(permission, surroundings));
}

/** The message of the condition. */
export function refusalText(refused: readonly RefusedField[]): string {
  const fields = refused.map(({ field }) => field).join(', ');
  const missing = [...new Set(refused.map(({ permission }) => permission))].join(',');
  return `In a pod ${fields} would act as the controller, and it was not allowed to. Start it with --allow=${missing} if everybody who may declare targets may do that.`;
}

function ofSource(field: string, source: ValueSource | undefined): readonly RefusedField[] {
  if (source?.file !== undefined) return [{ permission: 'file', field: `${field}.file` }];
  return source?.env === undefined ? [] : [{ permission: 'env', field: `${field}.env` }];
}
