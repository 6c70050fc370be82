/** Which objects changed: a list, then a watch from where the list ended, again and again until aborted. */
import * as z from 'zod';
import { keyText, type TargetKey } from '../../api/target.ts';
import { wait } from '../../rollback/wait.ts';
import { ApiQuiet, type ApiClient } from './client.ts';
import { asHomeFailure, ApiError } from './errors.ts';
import type { Version } from './objects.ts';
import { eachItem } from './pages.ts';

export interface WatchOptions {
  /** The collection, e.g. `/apis/…/migrationtargets`. */
  readonly path: string;
  readonly onChange: (key: TargetKey) => void;
  /**
   * Whole objects are asked for, not their metadata alone, and each one that comes is handed over before `onChange`,
   * also where only its status changed; null: it is gone. For kinds whose objects are small.
   */
  readonly onObject?: (key: TargetKey, object: unknown) => void;
  /** Each version of an object that is heard of, before `onChange`, also where only its status changed; null: it is gone. */
  readonly onVersion?: (key: TargetKey, version: Version | null) => void;
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

/** What people can change of an object: our own writes of a status make no other of it. */
const declaredVersion = ({ uid, generation, annotations, deletionTimestamp }: Head['metadata']): string =>
  JSON.stringify([uid, generation, annotations, deletionTimestamp ?? null]);

/** Each object of a collection, as a text that differs once people change it. */
export async function listHeads(client: ApiClient, path: string): Promise<{ key: TargetKey; version: string }[]> {
  const found: { key: TargetKey; version: string }[] = [];
  const accept = headsOnly('PartialObjectMetadataList');
  for await (const item of eachItem(client, { path, accept })) {
    const { metadata } = head.parse(item);
    found.push({ key: { namespace: metadata.namespace, name: metadata.name }, version: declaredVersion(metadata) });
  }
  return found;
}

/** Resolves when listed once (or aborted); goes on until aborted, whatever happens. */
export function watchHeads(client: ApiClient, options: WatchOptions): Promise<void> {
  const { path, onChange, onObject, onVersion, onProblem, onSynced, signal, quietSeconds = 100, pageSize } = options;
  const accepted = (kind: string): string => (onObject === undefined ? headsOnly(kind) : 'application/json');
  const seen = new Map<string, { readonly key: TargetKey; readonly version: string }>();

  function notice(whole: Head): void {
    const object = whole.metadata;
    const key = { namespace: object.namespace, name: object.name };
    onObject?.(key, whole);
    onVersion?.(key, { uid: object.uid, resourceVersion: object.resourceVersion });
    const version = declaredVersion(object);
    const id = keyText(key);
    if (seen.get(id)?.version === version) return;
    seen.set(id, { key, version });
    onChange(key);
  }

  function noticeGone(id: string): void {
    const known = seen.get(id);
    seen.delete(id);
    if (known === undefined) return;
    onObject?.(known.key, null);
    onVersion?.(known.key, null);
    onChange(known.key);
  }

  /** Returns the version to watch from. */
  async function list(): Promise<string> {
    const present = new Set<string>();
    let reached = '';
    const onPage = ({ resourceVersion }: { readonly resourceVersion: string }): void =>
      void (reached = resourceVersion);
    for await (const item of eachItem(client, {
      path,
      accept: accepted('PartialObjectMetadataList'),
      pageSize,
      onPage,
    })) {
      const object = head.parse(item);
      present.add(keyText(object.metadata));
      notice(object);
    }
    for (const id of seen.keys()) if (!present.has(id)) noticeGone(id);
    return reached;
  }

  /** Returns the version reached when the server ends the watch, which it does every few minutes. */
  async function follow(from: string, onReached: (version: string) => void): Promise<void> {
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
      if (event.type === 'DELETED') noticeGone(keyText(event.object.metadata));
      else if (event.type !== 'BOOKMARK') notice(event.object);
      onReached(event.object.metadata.resourceVersion);
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
