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
