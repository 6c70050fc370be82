/** Where alembic and PostgreSQL's tools run, as `spec.runtime` says. */
import type { PythonPlace } from '../adapters/alembic/place.ts';
import type { DockerHost } from '../adapters/docker/index.ts';
import type { JobPlaces } from '../adapters/jobs/index.ts';
import type { ServerPlace } from '../adapters/postgres/place.ts';
import { stalled } from '../rollback/errors.ts';
import type { AlembicSettings, DatabaseSettings } from '../rollback/ports.ts';

/** Each is connected to when it is first needed. */
export interface Places {
  readonly docker: () => Promise<Pick<DockerHost, 'python' | 'server'>>;
  /** null: the declarations are in no cluster. */
  readonly jobs: () => Promise<JobPlaces | null>;
}

/** null: on this machine. Throws NotSupported. */
export async function pythonPlace(
  { docker, jobs }: Places,
  settings: AlembicSettings,
  image: string | null,
): Promise<PythonPlace | null> {
  const { runtime } = settings;
  if (runtime.docker !== undefined) return (await docker()).python(runtime.docker, image);
  return runtime.kubernetes === undefined ? null : ((await jobs()) ?? noCluster()).python(settings, image);
}

/** null: the tools run beside the controller. */
export async function serverPlace(
  { docker }: Pick<Places, 'docker'>,
  { runtime }: NonNullable<DatabaseSettings['place']>,
): Promise<ServerPlace | null> {
  const container = runtime.docker?.databaseContainer;
  return container === undefined ? null : (await docker()).server(container);
}

const noCluster = (): never => {
  throw stalled(
    'NotSupported',
    'spec.runtime.kubernetes needs a cluster, and the declarations are in a folder. Apply the target to the cluster: kubectl apply -f FILE; or write runtime: {process: {}}',
  );
};
