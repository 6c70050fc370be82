/** The three streams of a container, over one connection. */
import type { Duplex } from 'node:stream';
import type { Container } from 'dockerode';
import type { Engine } from './engine.ts';

/**
 * By docker-modem itself, as dockerode's `attach` sends what is asked for as a body too: Docker ignores that, but Podman hands it
 * to the program as the beginning of its input.
 */
export function attach({ docker }: Engine, { id }: Container): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const call = {
      path: `/containers/${id}/attach?`,
      method: 'POST',
      options: { stream: true, stdin: true, stdout: true, stderr: true },
      file: Buffer.alloc(0),
      isStream: true,
      hijack: true,
      openStdin: true,
      statusCodes: { 200: true, 404: 'no such container', 500: 'server error' },
    };
    const modem = docker.modem as {
      dial(of: typeof call, answered: (error: Error | null, connection: Duplex) => void): void;
    };
    modem.dial(call, (error, connection) => {
      if (error === null) resolve(connection);
      else reject(error);
    });
  });
}
