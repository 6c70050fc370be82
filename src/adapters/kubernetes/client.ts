/**
 * Calls of the Kubernetes API, as JSON. Of @kubernetes/client-node this takes what is hard: kubeconfigs, credentials
 * and TLS. Its generated methods patch as JSON patch by default, never time out, and make a connection for each call;
 * its informer ends for good at the first reset.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type * as Kubernetes from '@kubernetes/client-node';
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
}

export interface ApiClient extends AsyncDisposable {
  readonly server: string;
  /** Throws ApiError for any answer that is none of success, ApiUnreachable where there is none in time. */
  call(call: ApiCall): Promise<unknown>;
  /** The same, tried again for a while where it passes by itself. Only for calls that may go through twice. */
  insist(call: ApiCall): Promise<unknown>;
  /** Each line of an answer that does not end, until the server ends it. Throws ApiQuiet after `quietSeconds` without one. */
  lines(call: ApiCall, quietSeconds: number, signal: AbortSignal): AsyncGenerator<unknown, void, undefined>;
}

/** Between the tries of `insist`: some 30 s, longer than an API server takes to start again. */
const retryMs = [250, 500, 1_000, 2_000, 4_000, 8_000, 15_000];

type Dispatcher = NonNullable<ReturnType<Kubernetes.RequestContext['getDispatcher']>>;

export function createClient(
  kubernetes: typeof Kubernetes,
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

  async function call(one: ApiCall): Promise<unknown> {
    const signal = AbortSignal.timeout(callTimeoutSeconds * 1000);
    const response = await send(one, signal);
    try {
      return JSON.parse(await response.body.text());
    } catch (thrown) {
      throw new ApiUnreachable(server, signal.aborted ? signal.reason : thrown);
    }
  }

  return {
    server,
    call,
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
