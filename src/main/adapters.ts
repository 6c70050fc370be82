/** The adapters behind their ports, each loaded when it is first used: `status` needs none of them. */
import type { KubernetesHome } from '../adapters/kubernetes/home.ts';
import type { Volumes } from '../adapters/volume/index.ts';
import { stalled } from '../rollback/errors.ts';
import type { Adapters, Owner } from '../rollback/ports.ts';
import { pythonPlace, serverPlace } from './places.ts';
import { workloadsOf } from './workloads.ts';

/** Calls `load` once. */
function once<T>(load: () => Promise<T>): () => Promise<T> {
  let loaded: Promise<T> | null = null;
  return () => (loaded ??= load());
}

/** What of a home other adapters work with. */
export type Cluster = Pick<KubernetesHome, 'client' | 'ownImage'>;

/**
 * `cluster`: the home's; left out, or null: the declarations are in no cluster. Disposed, they let go of what they keep open
 * in it.
 */
export function lazyAdapters(cluster: () => Cluster | null = () => null): Adapters & AsyncDisposable {
  const docker = once(async () => (await import('../adapters/docker/index.ts')).createDockerHost());
  const jobs = once(async () => {
    const home = cluster();
    return home === null ? null : (await import('../adapters/jobs/index.ts')).createJobPlaces(home);
  });
  const databases = once(async () =>
    (await import('../adapters/postgres/index.ts')).createDatabases({
      placeOf: (place) => serverPlace({ docker }, place),
    }),
  );
  const alembic = once(async () =>
    (await import('../adapters/alembic/index.ts')).createAlembicRunner({
      placeOf: (settings, image) => pythonPlace({ docker, jobs }, settings, image),
    }),
  );
  let volumes: Volumes | null = null;
  const openVolumes = once(async () => {
    const [places, { createVolumes }] = await Promise.all([jobs(), import('../adapters/volume/index.ts')]);
    volumes = createVolumes((owner: Owner, claim) => (places ?? noClaims()).volumeAgent(owner, claim));
    return volumes;
  });
  const backups = once(async () => (await import('../adapters/storage/index.ts')).createBackupStores(openVolumes));
  return {
    databases: {
      open: async (settings) => (await databases()).open(settings),
      openCheckServer: async (settings) => (await databases()).openCheckServer(settings),
      openScratchServer: async (settings) => (await databases()).openScratchServer(settings),
    },
    alembic: { start: async (settings) => (await alembic()).start(settings) },
    backups: {
      open: async (storage, owner, secrets) => (await backups()).open(storage, owner, secrets),
      letGo: async (target) => (await backups()).letGo(target),
    },
    workloads: (owner) =>
      workloadsOf({
        docker: async () => (await docker()).workloads,
        cluster: async () =>
          (await import('../adapters/kubernetes/workloads.ts')).workloadsIn(cluster()?.client ?? noCluster(), owner),
      }),
    probe: async (url, within) => (await import('../adapters/http/probe.ts')).probeHttp(url, within),
    clock: { now: () => new Date() },
    [Symbol.asyncDispose]: async () => volumes?.[Symbol.asyncDispose](),
  };
}

const noCluster = (): never => {
  throw stalled(
    'NotSupported',
    'spec.application.workloads of a cluster need one, and the declarations are in a folder. Apply the target to the cluster: kubectl apply -f FILE',
  );
};

const noClaims = (): never => {
  throw stalled(
    'NotSupported',
    'spec.backup.storage.persistentVolumeClaim needs a cluster, and the declarations are in a folder. Write instead: storage: {directory: {path: FOLDER}}',
  );
};
