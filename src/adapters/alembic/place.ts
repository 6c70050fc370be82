/** Where the application's Python runs, as seen from the controller: it may be in a container. */
import type { Launcher } from '../process/launcher.ts';
import { localLauncher } from '../process/local.ts';
import { inheritedEnvironment } from './child-environment.ts';

export interface PythonPlace {
  readonly launcher: Launcher;
  /** Whether its files are those that the controller sees. */
  readonly isThisMachine: boolean;
  /** What every program there gets, as far as the controller knows. */
  readonly environment: Readonly<Record<string, string>>;
  /** Id of the image of its container; null: in none. */
  readonly image: string | null;
  /** For messages: ` in the container ops-center-direct`; empty on this machine. */
  readonly where: string;
  /** For messages: what a person types to run something there. */
  command(folder: string, command: string): string;
  /** A URL as the application has to write it, which may be in a network of its own. */
  url(libpqUrl: string): Promise<string>;
}

export function onThisMachine(): PythonPlace {
  const environment = inheritedEnvironment(process.env);
  return {
    launcher: localLauncher({ environment, group: true }),
    isThisMachine: true,
    environment,
    image: null,
    where: '',
    command: (folder, command) => `cd ${folder} && ${command}`,
    url: (libpqUrl) => Promise.resolve(libpqUrl),
  };
}
