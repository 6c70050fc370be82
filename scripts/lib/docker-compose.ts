import type { OnProgress } from './cache.ts';
import { installDebianPackage } from './debian.ts';
import { run } from './run.ts';

/**
 * The command that is Docker Compose here: `docker compose`, or `docker-compose`, as Debian calls it. As root on Debian its
 * package is installed where there is neither. Throws, with what to install, elsewhere.
 */
export async function ensureDockerCompose(onProgress: OnProgress = () => undefined): Promise<readonly string[]> {
  const found = await findCompose();
  if (found !== null) return found;
  await installDebianPackage('docker-compose', onProgress);
  const installed = await findCompose();
  if (installed === null) throw new Error('docker-compose is installed, and does not start: docker-compose version');
  return installed;
}

async function findCompose(): Promise<readonly string[] | null> {
  for (const command of [['docker', 'compose'], ['docker-compose']]) {
    const [program = '', ...args] = command;
    const ran = await run(program, [...args, 'version']).catch(() => null);
    if (ran?.code === 0) return command;
  }
  return null;
}
