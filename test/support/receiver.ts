/** A webhook's receiver on loopback: real HTTP, which answers as a test says. */
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import { once } from 'node:events';

export interface Received {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

/** `hang`: it never answers. A function answers itself. */
export type Reply = number | 'hang' | ((response: ServerResponse) => void);

export interface Receiver extends AsyncDisposable {
  /** With a token in it, as Slack's has one. */
  readonly url: string;
  readonly received: readonly Received[];
  /** The bodies, parsed. */
  readonly told: () => readonly Readonly<Record<string, unknown>>[];
  /** Waits until there are that many. */
  until(count: number): Promise<void>;
}

export const secretPath = '/services/T00/B00/s3cr3t-t0ken';

/** `replies`: to the first requests; whatever follows gets 200. */
export async function startReceiver(replies: readonly Reply[] = [], port = 0): Promise<Receiver> {
  const received: Received[] = [];
  let heard = (): void => {};
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const reply = replies[received.length] ?? 200;
      const { method = '', url: path = '', headers } = request;
      received.push({ method, path, headers, text: Buffer.concat(chunks).toString() });
      if (typeof reply === 'function') reply(response);
      else if (reply !== 'hang') response.writeHead(reply).end();
      heard();
    });
  }).listen(port, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('a TCP socket has no port');
  return {
    url: `http://127.0.0.1:${address.port}${secretPath}`,
    received,
    told: () => received.map(({ text }) => JSON.parse(text) as Readonly<Record<string, unknown>>),
    async until(count) {
      while (received.length < count) await new Promise<void>((resolve) => (heard = resolve));
    },
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
      if (server.listening) await once(server, 'close');
    },
  };
}
