/** The application's Python in its container, or, where that does not run, in one made like it. */
import type { ContainerInspectInfo } from 'dockerode';
import type { PythonPlace } from '../alembic/place.ts';
import type { Launcher } from '../process/launcher.ts';
import { nameBetween, nameOf, wayInto } from './address.ts';
import { stalled } from '../../rollback/errors.ts';
import { shortImageId } from '../../rollback/image-id.ts';
import { findContainer, useOf } from './containers.ts';
import { engineFailure, statusOf, type Engine } from './engine.ts';
import { execLauncher, killByPython } from './exec.ts';
import { oneOffLauncher } from './one-off.ts';

export interface Containers {
  readonly container: string;
  readonly databaseContainer?: string | undefined;
}

/**
 * `image`: of a container that is made like this one, but for that. Throws ContainerNotFound, ContainerNotRunning,
 * DockerUnreachable (retry), DockerForbidden; ImageNotFound where the engine has it no more.
 */
export async function pythonIn(
  engine: Engine,
  { container, databaseContainer }: Containers,
  image: string | null,
): Promise<PythonPlace> {
  const declared = await findContainer(engine, container, 'spec.runtime.docker.container');
  const isOther = image !== null && image !== declared.Image;
  if (isOther) await assertImage(engine, image);
  const found = isOther ? { ...declared, Image: image } : declared;
  const use = isOther ? 'aside' : useOf(declared, new Date());
  return {
    launcher: use === 'inside' ? inside(engine, found) : oneOffLauncher(engine, found),
    isThisMachine: false,
    image: found.Image,
    environment: {},
    where:
      use === 'inside'
        ? ` in the container ${container}`
        : isOther
          ? ` in a container made like ${container}, of image ${shortImageId(image)}`
          : ` in a container made like ${container}, which is ${found.State.Status}`,
    command: (folder, command) =>
      use === 'inside'
        ? `docker exec --workdir ${folder} ${container} ${command}`
        : `docker run --rm --volumes-from ${container} --workdir ${folder} ${isOther ? image : found.Config.Image} ${command}`,
    async url(libpqUrl) {
      if (databaseContainer === undefined) return libpqUrl;
      const server = await findContainer(engine, databaseContainer, 'spec.runtime.docker.databaseContainer');
      return urlOnNetwork(libpqUrl, found, server, engine.host);
    },
  };
}

async function assertImage(engine: Engine, image: string): Promise<void> {
  try {
    await engine.docker.getImage(image).inspect();
  } catch (error) {
    if (statusOf(error) !== 404) throw engineFailure(engine, error, `Looking at the image ${shortImageId(image)}`);
    throw stalled(
      'ImageNotFound',
      `The Docker Engine at ${engine.where} has no image ${shortImageId(image)} any more: it was removed or pruned. Pull it again: docker pull, by its tag or digest`,
      error,
    );
  }
}

function inside(engine: Engine, { Id: id, ...found }: ContainerInspectInfo): Launcher {
  const name = nameOf({ Id: id, ...found });
  return {
    // Only what the program itself is run by is sure to be there to end it.
    launch: (program) => execLauncher(engine, { id, name }, killByPython(program.program)).launch(program),
  };
}

/** A URL by a port that this machine passes on leads nowhere inside a container: there it is the other one's name. Pure. */
export function urlOnNetwork(
  libpqUrl: string,
  application: ContainerInspectInfo,
  server: ContainerInspectInfo,
  engineHost: string | null,
): string {
  const parts = /^(\w+(?:\+\w+)?:\/\/(?:[^@/?#]*@)?)(\[[^\]]*\]|[^:/?#]*)(?::(\d+))?(.*)$/s.exec(libpqUrl);
  if (parts === null || application.HostConfig.NetworkMode === 'host') return libpqUrl;
  const [, before = '', host = '', port = '5432', after = ''] = parts;
  const way = wayInto(server, { host: host.replace(/^\[(.*)\]$/, '$1'), port: Number(port) }, engineHost);
  const name = way?.by === 'published' ? nameBetween(application, server) : null;
  return way === null || name === null ? libpqUrl : `${before}${name}:${way.port}${after}`;
}
