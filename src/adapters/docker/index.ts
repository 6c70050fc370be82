import type { Workloads } from '../../rollback/ports.ts';
import type { PythonPlace } from '../alembic/place.ts';
import type { ServerPlace } from '../postgres/place.ts';
import { openEngine, type Engine } from './engine.ts';
import { pythonIn, type Containers } from './python-place.ts';
import { serverIn } from './server-place.ts';
import { containersAsWorkloads } from './workloads.ts';

/** The containers of one Docker Engine, as places where the programs of the other adapters run. */
export interface DockerHost {
  /** `image`: its id, where it is not to be that of the container. */
  python(containers: Containers, image?: string | null): Promise<PythonPlace>;
  server(container: string): Promise<ServerPlace>;
  readonly workloads: Workloads;
}

/** `address`: instead of what `DOCKER_HOST` says, e.g. `unix:///run/docker.sock`. Connects when something is asked of it. */
export function createDockerHost(address?: string): DockerHost {
  let engine: Engine | null = null;
  const opened = (): Engine => (engine ??= openEngine(address));
  return {
    python: async (containers, image = null) => pythonIn(opened(), containers, image),
    server: async (container) => serverIn(opened(), container),
    workloads: containersAsWorkloads(opened),
  };
}
