/** Stands before a Docker Engine, as a socket proxy does: refuses what it is told to, and can cut what runs over it. */
import { createServer, connect, type Socket } from 'node:net';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface DockerProxy extends AsyncDisposable {
  /** As `DOCKER_HOST` says it. */
  readonly address: string;
  /** Cuts the connections over which programs run. */
  cut(): void;
}

export interface ProxyOptions {
  /** Requests whose first line matches are answered by 403. */
  readonly refuse?: RegExp;
  /** Requests whose first line matches are never answered. */
  readonly ignore?: RegExp;
  /** A program's connection is cut once so many bytes came over it. */
  readonly mostBytes?: number;
}

export async function startDockerProxy(
  socketPath: string,
  { refuse = /^$/, ignore = /^$/, mostBytes = Infinity }: ProxyOptions = {},
): Promise<DockerProxy> {
  const dir = await mkdtemp(join(tmpdir(), 'mt-proxy-'));
  const path = join(dir, 'docker.sock');
  const attached = new Set<Socket>();
  const all = new Set<Socket>();
  // A program's input ends before its output does.
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const engine = connect({ path: socketPath, allowHalfOpen: true });
    for (const socket of [client, engine]) {
      all.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => all.delete(socket));
    }
    client.on('data', (chunk: Buffer) => {
      const [line = ''] = chunk.toString('latin1').split('\r\n');
      if (refuse.test(line)) {
        const body = '<html><body><h1>403 Forbidden</h1></body></html>';
        client.end(`HTTP/1.1 403 Forbidden\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`);
        return;
      }
      if (ignore.test(line)) return;
      if (/^POST \/exec\/\w+\/start/.test(line)) attached.add(client);
      engine.write(chunk);
    });
    let came = 0;
    engine.on('data', (chunk: Buffer) => {
      came += attached.has(client) ? chunk.length : 0;
      if (came > mostBytes) client.destroy();
      else client.write(chunk);
    });
    engine.on('end', () => client.end());
    client.on('end', () => engine.end());
    client.on('close', () => engine.destroy());
  });
  server.listen(path);
  await once(server, 'listening');
  return {
    address: `unix://${path}`,
    cut: () => {
      for (const client of attached) client.destroy();
      attached.clear();
    },
    async [Symbol.asyncDispose]() {
      for (const socket of all) socket.destroy();
      server.close();
      await rm(dir, { recursive: true, force: true });
    },
  };
}
