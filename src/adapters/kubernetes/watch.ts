/** Which objects changed: a list, then a watch from where the list ended, again and again until aborted. */
import * as z from 'zod';
import type { TargetKey } from '../../api/target.ts';
import { wait } from '../../rollback/wait.ts';
import { ApiQuiet, type ApiClient } from './client.ts';
import { asHomeFailure, ApiError } from './errors.ts';

export interface WatchOptions {
  /** The collection, e.g. `/apis/…/migrationtargets`. */
  readonly path: string;
  readonly onChange: (key: TargetKey) => void;
  /**
   * Whole objects are asked for, not their metadata alone, and each one that comes is handed over before `onChange`,
   * also where only its status changed; null: it is gone. For kinds whose objects are small.
   */
  readonly onObject?: (key: TargetKey, object: unknown) => void;
  readonly onProblem: (problem: Error) => void;
  /** True once a list went through, false while the server can't be watched. */
  readonly onSynced: (synced: boolean) => void;
  readonly signal: AbortSignal;
  /**
   * The server sends a bookmark about once a minute: after this long without anything the connection may be dead. A
   * cluster in which nothing at all happens sends none (tried); connecting again costs it one request.
   */
  readonly quietSeconds?: number;
  readonly pageSize?: number;
}

const head = z.looseObject({
  // Of a whole object the rest goes to `onObject`.
  metadata: z.looseObject({
    name: z.string(),
    namespace: z.string().default(''),
    uid: z.string().default(''),
    resourceVersion: z.string(),
    generation: z.int().default(0),
    annotations: z.record(z.string(), z.string()).default({}),
    deletionTimestamp: z.string().nullish(),
  }),
});
const headList = z.object({
  metadata: z.object({ resourceVersion: z.string(), continue: z.string().optional() }),
  // An empty list of heads is null.
  items: z.array(head).nullable(),
});
const watchEvent = z.discriminatedUnion('type', [
  z.object({ type: z.enum(['ADDED', 'MODIFIED', 'DELETED']), object: head }),
  z.object({ type: z.literal('BOOKMARK'), object: z.object({ metadata: z.object({ resourceVersion: z.string() }) }) }),
  z.object({
    type: z.literal('ERROR'),
    object: z.object({ code: z.int().default(500), message: z.string().default(''), reason: z.string().default('') }),
  }),
]);
type Head = z.output<typeof head>;

/** Metadata is all that is needed: what is due is read afresh, and a status may be large. */
const headsOnly = (kind: string): string => `application/json;as=${kind};g=meta.k8s.io;v=v1`;
const reconnectMs = (failures: number): number =>
  Math.min(30_000, 250 * 2 ** Math.min(failures - 1, 16)) * (0.5 + Math.random() / 2);

/** Resolves when listed once (or aborted); goes on until aborted, whatever happens. */
export function watchHeads(client: ApiClient, options: WatchOptions): Promise<void> {
  const { path, onChange, onObject, onProblem, onSynced, signal, quietSeconds = 100, pageSize = 500 } = options;
  const accepted = (kind: string): string => (onObject === undefined ? headsOnly(kind) : 'application/json');
  /** What people can change of each object, so that our own writes of a status make nothing due. */
  const seen = new Map<string, { readonly key: TargetKey; readonly version: string }>();

  function notice(whole: Head): void {
    const object = whole.metadata;
    const key = { namespace: object.namespace, name: object.name };
    onObject?.(key, whole);
    const version = JSON.stringify([
      object.uid,
      object.generation,
      object.annotations,
      object.deletionTimestamp ?? null,
    ]);
    const id = `${key.namespace}/${key.name}`;
    if (seen.get(id)?.version === version) return;
    seen.set(id, { key, version });
    onChange(key);
  }

  function noticeGone(id: string): void {
    const known = seen.get(id);
    seen.delete(id);
    if (known === undefined) return;
    onObject?.(known.key, null);
    onChange(known.key);
  }

  /** Returns the version to watch from. */
  async function list(): Promise<string> {
    const present = new Set<string>();
    let page: string | undefined;
    for (;;) {
      const answer = headList.parse(
        await client.call({
          method: 'GET',
          path,
          query: { limit: String(pageSize), continue: page },
          accept: accepted('PartialObjectMetadataList'),
        }),
      );
      for (const item of answer.items ?? []) {
        present.add(`${item.metadata.namespace}/${item.metadata.name}`);
        notice(item);
      }
      page = answer.metadata.continue;
      if (page === undefined || page === '') {
        for (const id of seen.keys()) if (!present.has(id)) noticeGone(id);
        return answer.metadata.resourceVersion;
      }
    }
  }

  /** Returns the version reached when the server ends the watch, which it does every few minutes. */
  async function follow(from: string, onVersion: (version: string) => void): Promise<void> {
    const lines = client.lines(
      {
        method: 'GET',
        path,
        query: {
          watch: 'true',
          resourceVersion: from,
          allowWatchBookmarks: 'true',
          timeoutSeconds: String(240 + Math.floor(Math.random() * 60)),
        },
        accept: accepted('PartialObjectMetadata'),
      },
      quietSeconds,
      signal,
    );
    for await (const line of lines) {
      const event = watchEvent.parse(line);
      if (event.type === 'ERROR') throw new ApiError(`watching ${path}`, event.object.code, event.object);
      if (event.type === 'DELETED') noticeGone(`${event.object.metadata.namespace}/${event.object.metadata.name}`);
      else if (event.type !== 'BOOKMARK') notice(event.object);
      onVersion(event.object.metadata.resourceVersion);
    }
  }

  async function run(onFirst: () => void): Promise<void> {
    let version: string | null = null;
    let failures = 0;
    while (!signal.aborted) {
      const startedAt = performance.now();
      try {
        if (version === null) {
          version = await list();
          onSynced(true);
          onFirst();
        }
        await follow(version, (reached) => {
          version = reached;
        });
      } catch (thrown) {
        if (signal.aborted) return;
        // Quiet: goes on from where it was. Too old a version (410) is listed anew, and nothing to tell.
        if (!(thrown instanceof ApiQuiet)) version = null;
        if (!(thrown instanceof ApiQuiet) && !isExpired(thrown)) {
          onSynced(false);
          onProblem(asError(asHomeFailure(thrown)));
        }
      }
      // A server that ends every watch at once must not be asked in a tight loop.
      failures = performance.now() - startedAt < 5_000 ? failures + 1 : 0;
      if (failures > 0) await wait(reconnectMs(failures), signal);
    }
  }

  return new Promise((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true });
    if (signal.aborted) return resolve();
    void run(resolve);
  });
}

const isExpired = (thrown: unknown): boolean =>
  thrown instanceof ApiError && (thrown.status === 410 || thrown.reason === 'Expired');

const asError = (thrown: unknown): Error => (thrown instanceof Error ? thrown : new Error(String(thrown)));
