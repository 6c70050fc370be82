/**
 * Calls of the Kubernetes API, as JSON. Of @kubernetes/client-node this takes what is hard: kubeconfigs, credentials
 * and TLS. Its generated methods patch as JSON patch by default, never time out, and make a connection for each call;
 * its informer ends for good at the first reset.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { text as textOf } from 'node:stream/consumers';
import type * as Kubernetes from '@kubernetes/client-node';
import type { ClientOptions, WebSocket } from 'ws';
import { ApiError, ApiUnreachable } from './errors.ts';
import type { Connection } from './connection.ts';

/** How a PATCH is meant; the server would take the wrong one for an error at best. */
export const mergePatch = 'application/merge-patch+json';
/** JSON is YAML. */
export const applyPatch = 'application/apply-patch+yaml';

export interface ApiCall {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  /** Begins with a slash; names in it are escaped by `pathTo`. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string | undefined>>;
  readonly body?: unknown;
  readonly contentType?: string;
  readonly accept?: string;
  /** Whom the controller acts as, e.g. `system:serviceaccount:ops-center:ops`; left out: itself. */
  readonly as?: string | undefined;
}

export interface ApiClient extends AsyncDisposable {
  readonly server: string;
  /** Throws ApiError for any answer that is none of success, ApiUnreachable where there is none in time. */
  call(call: ApiCall): Promise<unknown>;
  /** The same, tried again for a while where it passes by itself. Only for calls that may go through twice. */
  insist(call: ApiCall): Promise<unknown>;
  /** What is no JSON, e.g. a log. */
  text(call: ApiCall): Promise<string>;
  /** Upgrades to a WebSocket of one of the protocols, which is paused. Throws as `call` does. */
  socket(call: Pick<ApiCall, 'path' | 'query' | 'as'>, protocols: readonly string[]): Promise<WebSocket>;
  /** Each line of an answer that does not end, until the server ends it. Throws ApiQuiet after `quietSeconds` without one. */
  lines(call: ApiCall, quietSeconds: number, signal: AbortSignal): AsyncGenerator<unknown, void, undefined>;
}

const impersonation = 'Impersonate-User';

/** Between the tries of `insist`: some 30 s, longer than an API server takes to start again. */
const retryMs = [250, 500, 1_000, 2_000, 4_000, 8_000, 15_000];

type Dispatcher = NonNullable<ReturnType<Kubernetes.RequestContext['getDispatcher']>>;

export function createClient(
  kubernetes: Pick<typeof Kubernetes, 'HttpMethod' | 'IsomorphicFetchHttpLibrary' | 'RequestContext'>,
  connection: Connection,
  callTimeoutSeconds = 15,
): ApiClient {
  const { config, server } = connection;
  const http = new kubernetes.IsomorphicFetchHttpLibrary();
  // The client makes a new one, with new connections, for each call; the first serves until the server refuses it.
  let dispatcher: Dispatcher | undefined;

  async function send(one: ApiCall, signal: AbortSignal): Promise<Kubernetes.ResponseContext> {
    const request = new kubernetes.RequestContext(server + one.path, kubernetes.HttpMethod[one.method]);
    for (const [name, value] of Object.entries(one.query ?? {}))
      if (value !== undefined) request.setQueryParam(name, value);
    request.setHeaderParam('Accept', one.accept ?? 'application/json');
    request.setHeaderParam('User-Agent', 'migration-target');
    if (one.as !== undefined) request.setHeaderParam(impersonation, one.as);
    if (one.body !== undefined) {
      request.setHeaderParam('Content-Type', one.contentType ?? 'application/json');
      request.setBody(JSON.stringify(one.body));
    }
    try {
      await abortable(config.applySecurityAuthentication(request), signal);
      dispatcher ??= request.getDispatcher();
      if (dispatcher !== undefined) request.setDispatcher(dispatcher);
      request.setSignal(signal);
      const response = await http.send(request).toPromise();
      // Client certificates may have been renewed.
      if (response.httpStatusCode === 401) dispatcher = undefined;
      if (response.httpStatusCode >= 200 && response.httpStatusCode < 300) return response;
      throw ApiError.of(one, response.httpStatusCode, await response.body.text());
    } catch (thrown) {
      if (thrown instanceof ApiError) throw thrown;
      dispatcher = undefined;
      throw new ApiUnreachable(server, signal.aborted ? signal.reason : thrown);
    }
  }

  async function answer<T>(one: ApiCall, read: (text: string) => T): Promise<T> {
    const signal = AbortSignal.timeout(callTimeoutSeconds * 1000);
    const response = await send(one, signal);
    try {
      return read(await response.body.text());
    } catch (thrown) {
      throw new ApiUnreachable(server, signal.aborted ? signal.reason : thrown);
    }
  }
  const call = (one: ApiCall): Promise<unknown> => answer(one, (text): unknown => JSON.parse(text));

  return {
    server,
    call,
    text: (one) => answer(one, (text) => text),
    async socket({ path, query = {}, as }, protocols) {
      const options: ClientOptions = {};
      await config.applyToHTTPSOptions(options);
      const url = new URL(server + path);
      for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, value);
      url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
      const headers = { ...options.headers, ...(as === undefined ? {} : { [impersonation]: as }) };
      const { WebSocket: Socket } = await import('ws');
      const socket = new Socket(url, [...protocols], {
        ...options,
        headers,
        handshakeTimeout: callTimeoutSeconds * 1000,
      });
      return opened(socket, { method: 'GET', path }, server);
    },
    async insist(one) {
      for (const waitMs of retryMs) {
        try {
          return await call(one);
        } catch (thrown) {
          if (!passes(thrown)) throw thrown;
          await sleep(waitMs);
        }
      }
      return call(one);
    },
    async *lines(one, quietSeconds, signal) {
      const quiet = new AbortController();
      const timer = setTimeout(() => quiet.abort(new ApiQuiet(quietSeconds)), quietSeconds * 1000);
      try {
        const response = await send(one, AbortSignal.any([signal, quiet.signal]));
        yield* parsedLines(response.body.stream(), () => timer.refresh());
      } catch (thrown) {
        if (quiet.signal.aborted) throw quiet.signal.reason;
        throw thrown instanceof ApiError || thrown instanceof ApiUnreachable
          ? thrown
          : new ApiUnreachable(server, thrown);
      } finally {
        clearTimeout(timer);
        quiet.abort();
      }
    },
    async [Symbol.asyncDispose]() {
      await dispatcher?.destroy();
    },
  };
}

/** The refusal of an upgrade is an answer like any other. */
function opened(socket: WebSocket, call: Pick<ApiCall, 'method' | 'path'>, server: string): Promise<WebSocket> {
  const { promise, resolve, reject } = Promise.withResolvers<WebSocket>();
  socket.once('open', () => {
    // Nobody hears yet what comes.
    socket.pause();
    resolve(socket);
  });
  socket.once('error', (error) => reject(new ApiUnreachable(server, error)));
  socket.once('unexpected-response', (request, response) => {
    textOf(response).then(
      (body) => reject(ApiError.of(call, response.statusCode ?? 0, body)),
      (error: unknown) => reject(new ApiUnreachable(server, error)),
    );
    response.once('close', () => request.destroy());
  });
  return promise;
}

/** Nothing came for so long that the connection may be dead. */
export class ApiQuiet extends Error {
  override readonly name = 'ApiQuiet';

  constructor(seconds: number) {
    super(`nothing came for ${seconds} s`);
  }
}

/** Whether the same call may go through later. */
function passes(thrown: unknown): boolean {
  if (thrown instanceof ApiUnreachable) return true;
  return thrown instanceof ApiError && (thrown.status === 429 || thrown.status >= 500);
}

async function* parsedLines(
  stream: ReadableStream<Uint8Array> | null | undefined,
  onChunk: () => void,
): AsyncGenerator<unknown, void, undefined> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of stream ?? []) {
    onChunk();
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) if (line !== '') yield JSON.parse(line);
  }
}

/** A credential plugin knows of no time-out. */
async function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/** A path with its variable parts escaped, e.g. pathTo`/api/v1/namespaces/${namespace}/secrets`. */
export const pathTo = (parts: TemplateStringsArray, ...names: readonly string[]): string =>
  String.raw({ raw: parts }, ...names.map(encodeURIComponent));
