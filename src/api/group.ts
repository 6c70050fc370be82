/** The names under which the API is known to Kubernetes and to people's files. */
export const group = 'migrationtarget.dev';
export const version = 'v1alpha1';
export const apiVersion = `${group}/${version}`;

/** Set to a new value (a time, by convention) to have a target reconciled now. */
export const requestedAtAnnotation = `${group}/requestedAt`;
/** Flux's own spelling of the same, honoured alike. */
export const fluxRequestedAtAnnotation = 'reconcile.fluxcd.io/requestedAt';
/** Keeps an object, and the journal in it, until the last effect of an operation is done. */
export const finalizer = `${group}/operation`;
/** On a MigrationBackup that the controller made: the id of the backup of the catalogue that it shows. */
export const backupAnnotation = `${group}/backup`;
/** On a MigrationTarget: backups finished until then were shown as MigrationBackup objects; one that is missing was deleted. */
export const backupsShownAnnotation = `${group}/backupsShownUntil`;
/** On a MigrationBackup that this program made: its target. */
export const targetLabel = `${group}/target`;
/** On a Deployment, StatefulSet or CronJob that is stopped: the target that did it, and that starts it again. */
export const stoppedByAnnotation = `${group}/stoppedBy`;
/** On one that was stopped: what its spec.replicas, or its spec.suspend, was. */
export const replicasBeforeAnnotation = `${group}/replicasBefore`;
export const suspendBeforeAnnotation = `${group}/suspendBefore`;
/** On one that was stopped: for whoever looks at it, who did it and how it is started by hand. */
export const noteAnnotation = `${group}/note`;
