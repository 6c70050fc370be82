/** Stands before an S3 server: notes what is asked of it, cuts connections, and answers in its place what it can't be brought to say. */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

export interface S3Proxy extends AsyncDisposable {
  readonly endpoint: string;
  /** The heads of all requests, a text each. */
  readonly heads: readonly string[];
  /** From now on connections over which more than `bytes` went that way are cut, `times` in all. */
  cut(way: 'up' | 'down', bytes: number, times: number): void;
  /** The next requests, `times` of them, are answered by this error, without asking the server. */
  answer(status: number, code: string, times: number): void;
  /** Bytes that came from clients. */
  received(): number;
}

export async function startS3Proxy(endpoint: string): Promise<S3Proxy> {
  const { port } = new URL(endpoint);
  const heads: string[] = [];
  const open = new Set<Socket>();
  let cutting = { way: 'up', bytes: Infinity, times: 0 };
  let answering = { status: 0, code: '', times: 0 };
  let received = 0;
  const server = createServer((client) => {
    const upstream = connect(Number(port), '127.0.0.1');
    for (const socket of [client, upstream]) {
      open.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        open.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    const relay = (from: Socket, to: Socket, way: 'up' | 'down'): void => {
      let came = 0;
      from.on('data', (chunk: Buffer) => {
        if (client.destroyed) return;
        came += chunk.length;
        if (way === 'up') received += chunk.length;
        if (way === 'up' && answering.times > 0) {
          answering.times -= 1;
          const body = `<?xml version="1.0"?><Error><Code>${answering.code}</Code><Message>said the proxy</Message></Error>`;
          client.end(
            `HTTP/1.1 ${answering.status} Told\r\nContent-Type: application/xml\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
          );
          return;
        }
        if (cutting.way === way && cutting.times > 0 && came > cutting.bytes) {
          cutting.times -= 1;
          client.resetAndDestroy();
          return;
        }
        if (!to.write(chunk)) from.pause();
      });
      to.on('drain', () => from.resume());
    };
    relay(client, upstream, 'up');
    relay(upstream, client, 'down');
    client.on('data', (chunk: Buffer) => {
      const text = chunk.toString('latin1');
      if (/^[A-Z]+ \S+ HTTP\/1\.1\r\n/.test(text)) heads.push(text.split('\r\n\r\n', 1)[0] ?? '');
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('a TCP socket has no port');
  return {
    endpoint: `http://127.0.0.1:${address.port}`,
    heads,
    cut: (way, bytes, times) => {
      cutting = { way, bytes, times };
    },
    answer: (status, code, times) => {
      answering = { status, code, times };
    },
    received: () => received,
    [Symbol.asyncDispose]: async () => {
      server.close();
      for (const socket of open) socket.destroy();
      await once(server, 'close');
    },
  };
}
