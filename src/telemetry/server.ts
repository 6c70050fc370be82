/** What a cluster asks of the controller by HTTP: is it alive, is it ready, and its metrics. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { contentType, type Metrics } from './metrics.ts';

export interface TelemetryServer {
  /** e.g. `http://127.0.0.1:8080`. */
  readonly url: string;
  /** Takes no new connection, lets running answers end, within bounds. */
  close(): Promise<void>;
}

export type Readiness = { readonly ready: true } | { readonly ready: false; readonly because: string };

export interface ServerOptions {
  /** `HOST:PORT`, `[IPv6]:PORT`, or `:PORT` for every address; port 0: any free one. */
  readonly listen: string;
  readonly metrics: Pick<Metrics, 'render'>;
  readonly readiness: () => Readiness;
  /** A scrape that could not be answered, e.g. since the scraper went away. */
  readonly onProblem: (problem: unknown) => void;
}

export const defaultListen = '127.0.0.1:8080';

/** Answers `/healthz` (the event loop turns), `/readyz` and `/metrics`. Throws where it can't listen. */
export async function startServer(options: ServerOptions): Promise<TelemetryServer> {
  const { host, port } = parseListen(options.listen);
  const server = createServer((request, response) => {
    respond(request, response, options).catch((problem: unknown) => {
      response.destroy();
      options.onProblem(problem);
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) =>
      reject(
        new Error(`Can't listen on ${options.listen}: ${cause.message}. Choose another address: --listen HOST:PORT`, {
          cause,
        }),
      ),
    );
    server.listen({ port, ...(host === '' ? {} : { host }) }, resolve);
  });
  return {
    url: urlOf(server.address()),
    close: () =>
      new Promise((resolve, reject) => {
        server.close((problem) => (problem === undefined ? resolve() : reject(problem)));
        server.closeIdleConnections();
        const cut = setTimeout(() => server.closeAllConnections(), closeMs);
        server.once('close', () => clearTimeout(cut));
      }),
  };
}

/** How long a running answer is waited for. */
const closeMs = 2_000;

async function respond(request: IncomingMessage, response: ServerResponse, options: ServerOptions): Promise<void> {
  const send = (status: number, text: string): void => {
    response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' }).end(`${text}\n`);
  };
  if (request.method !== 'GET' && request.method !== 'HEAD') return send(405, 'GET only');
  switch (request.url?.split('?')[0]) {
    case '/healthz':
      return send(200, 'ok');
    case '/readyz': {
      const readiness = options.readiness();
      return readiness.ready ? send(200, 'ok') : send(503, `not ready: ${readiness.because}`);
    }
    case '/metrics':
      return sendMetrics(request, response, options.metrics);
    default:
      return send(404, 'There are /healthz, /readyz and /metrics');
  }
}

/** Compressed where the scraper takes it, as Prometheus does: many series differ in little. */
async function sendMetrics(
  request: IncomingMessage,
  response: ServerResponse,
  metrics: Pick<Metrics, 'render'>,
): Promise<void> {
  const gzip = /\bgzip\b/.test(request.headers['accept-encoding'] ?? '');
  response.writeHead(200, { 'content-type': contentType, ...(gzip ? { 'content-encoding': 'gzip' } : {}) });
  if (request.method === 'HEAD') {
    response.end();
    return;
  }
  const body = Readable.from(metrics.render(), { objectMode: true });
  await (gzip ? pipeline(body, createGzip({ level: 1 }), response) : pipeline(body, response));
}

function parseListen(listen: string): { readonly host: string; readonly port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]*)):([0-9]{1,5})$/.exec(listen);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) {
    throw new Error(
      `Can't listen on "${listen}", which is no address: write HOST:PORT, e.g. ${defaultListen}, or :8080 for every address`,
    );
  }
  return { host: match[1] ?? match[2] ?? '', port };
}

function urlOf(address: AddressInfo | string | null): string {
  if (address === null || typeof address === 'string')
    throw new Error(`The server listens on ${String(address)}, not on a port`);
  return `http://${address.family === 'IPv6' ? `[${address.address}]` : address.address}:${address.port}`;
}
