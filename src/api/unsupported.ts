import type { TargetSpec } from './spec.ts';

/**
 * The declared fields that the API knows and this version does not act on, each with what to do. A target that
 * declares one is Stalled with NotSupported: ignoring a field would be a promise broken in silence. `home`: where it is
 * declared.
 */
export function unsupportedFields(spec: TargetSpec, home: 'directory' | 'kubernetes'): readonly string[] {
  const fields: readonly (readonly [declared: boolean, advice: string])[] = [
    [
      home === 'directory' && spec.runtime.kubernetes !== undefined,
      'spec.runtime.kubernetes, in a folder of declarations: declare the target in the cluster, or write runtime: {process: {}}',
    ],
    [
      home === 'directory' && spec.serviceAccountName !== undefined,
      'spec.serviceAccountName, in a folder of declarations: leave it out, since it is one of a cluster',
    ],
    [
      home === 'directory' && spec.application?.workloads.some(({ kind }) => kind !== 'Container') === true,
      'spec.application.workloads of a cluster, in a folder of declarations: declare the target in that cluster, or leave out those of a kind other than Container',
    ],
    [
      home === 'directory' && spec.backup.storage.persistentVolumeClaim !== undefined,
      'spec.backup.storage.persistentVolumeClaim, in a folder of declarations: declare the target in that cluster, or write storage: {directory: {path: FOLDER}}',
    ],
  ];
  return fields.filter(([declared]) => declared).map(([, advice]) => advice);
}
