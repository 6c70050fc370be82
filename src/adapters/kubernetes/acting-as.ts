import type { Owner } from '../../rollback/ports.ts';

/**
 * As whom the API is asked for a target: its service account, so that it can do no more than whoever may use that one; else
 * undefined, the controller itself. Kubernetes adds the groups of service accounts by itself.
 */
export const actingAs = ({ namespace, serviceAccountName }: Owner): string | undefined =>
  serviceAccountName === undefined ? undefined : `system:serviceaccount:${namespace}:${serviceAccountName}`;
