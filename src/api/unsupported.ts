import type { TargetSpec } from './spec.ts';

/**
 * The declared fields that the API knows and this version does not act on, each with what to do. A target that
 * declares one is Stalled with NotSupported: ignoring a field would be a promise broken in silence.
 */
export function unsupportedFields(spec: TargetSpec): readonly string[] {
  const fields: readonly (readonly [declared: boolean, advice: string])[] = [
    [
      spec.runtime.docker !== undefined,
      'spec.runtime.docker: write runtime: {process: {}}, and run the controller where alembic is installed',
    ],
    [
      spec.runtime.kubernetes !== undefined,
      'spec.runtime.kubernetes: write runtime: {process: {}}, and run the controller where alembic is installed',
    ],
    [spec.application !== undefined, 'spec.application: leave it out, and stop and start the application yourself'],
    [
      spec.backup.storage.persistentVolumeClaim !== undefined,
      'spec.backup.storage.persistentVolumeClaim: write storage: {directory: {path: FOLDER}}, and mount the volume there',
    ],
    [spec.backup.storage.s3 !== undefined, 'spec.backup.storage.s3: write storage: {directory: {path: FOLDER}}'],
    [
      spec.policy.rehearsalServer !== undefined,
      'spec.policy.rehearsalServer: leave it out, since nothing is rehearsed yet',
    ],
    [
      spec.serviceAccountName !== undefined,
      'spec.serviceAccountName: leave it out, since the controller acts as itself',
    ],
  ];
  return fields.filter(([declared]) => declared).map(([, advice]) => advice);
}
