/** manifests/ on the API server of the run. */
import type { ApiServer } from './apiserver.ts';

/** Of the controller for every namespace. */
export const controllerAccount = 'migration-target-system:migration-target';

/**
 * Installs it, its rights above all: there is no node for its pods. The server is shared, so what another test made already,
 * or changed for a moment, stays as it is.
 */
export async function installClusterWide(server: ApiServer): Promise<void> {
  const overlay = ['-k', 'manifests/overlays/cluster-wide'];
  await server.kubectl(['create', 'namespace', 'migration-target-system']);
  await server.kubectl(['create', ...overlay]);
  for (const args of [
    ['get', ...overlay],
    ['wait', '--for=condition=Established', '--timeout=60s', '-f', 'crds/'],
  ]) {
    const { code, stderr } = await server.kubectl(args);
    if (code !== 0) throw new Error(`kubectl ${args.join(' ')}: ${stderr}`);
  }
}
