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
