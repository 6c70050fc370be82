import { stalled } from '../../rollback/errors.ts';
import type { AlembicSettings, Owner } from '../../rollback/ports.ts';
import type { PythonPlace } from '../alembic/place.ts';
import type { ApiClient } from '../kubernetes/client.ts';
import type { OwnImage } from '../kubernetes/own-image.ts';
import type { VolumeAgent } from '../volume/index.ts';
import { pythonInJobs } from './python-place.ts';
import { volumeAgentInJob } from './volume-agent.ts';

/** What runs in Jobs of one cluster: alembic (`runtime.kubernetes`), and the agents of volumes. */
export interface JobPlaces {
  /** `image`: that one in place of the declared one. Throws NotSupported where the target is no object of the cluster. */
  python(settings: Pick<AlembicSettings, 'runtime' | 'owner' | 'operationId'>, image: string | null): PythonPlace;
  /** For backups on that claim. Throws NotSupported where the target is no object of the cluster. */
  volumeAgent(owner: Owner, claimName: string): VolumeAgent;
}

export function createJobPlaces({
  client,
  ownImage,
}: {
  readonly client: ApiClient;
  readonly ownImage: () => Promise<OwnImage>;
}): JobPlaces {
  return {
    python({ runtime: { kubernetes = {} }, owner, operationId }, image) {
      return pythonInJobs(client, ofCluster(owner, runtimeAdvice), { runtime: kubernetes, operationId, image });
    },
    volumeAgent(owner, claimName) {
      return volumeAgentInJob(client, ofCluster(owner, claimAdvice), { claimName, ownImage });
    },
  };
}

const runtimeAdvice = {
  field: 'spec.runtime.kubernetes',
  instead: 'runtime: {process: {}}',
};
const claimAdvice = {
  field: 'spec.backup.storage.persistentVolumeClaim',
  instead: 'storage: {directory: {path: FOLDER}}',
};

/** What owns a Job is an object of the cluster: with it, its Jobs go. */
function ofCluster(
  owner: Owner | null,
  { field, instead }: { readonly field: string; readonly instead: string },
): Owner & { readonly uid: string } {
  const uid = owner?.uid;
  if (owner !== null && uid !== undefined) return { ...owner, uid };
  throw stalled(
    'NotSupported',
    `${field} needs a MigrationTarget of the cluster. Apply it there: kubectl apply -f FILE; or write ${instead}`,
  );
}
