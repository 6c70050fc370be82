/** One MigrationTarget object: what is read of it, and how each part of it is written. */
import { setTimeout as sleep } from 'node:timers/promises';
import * as z from 'zod';
import { apiVersion, finalizer, group, version } from '../../api/group.ts';
import { problemsText } from '../../api/problems.ts';
import { targetStatus } from '../../api/status.ts';
import { keyText, parseTarget, type TargetKey, type TargetStatus } from '../../api/target.ts';
import type { Declaration } from '../../rollback/ports.ts';
import { missedAnOperation, operationsOf } from '../../rollback/status.ts';
import { applyPatch, mergePatch, pathTo, type ApiClient } from './client.ts';
import { isNotFound, isStatus } from './errors.ts';
import { statusDigest } from './status-digest.ts';

/** Who wrote a field, as `kubectl get --show-managed-fields` tells: the controller, or a person by a command. */
export const fieldManager = 'migration-target';
export const cliFieldManager = 'migration-target-cli';

const storedTarget = z.looseObject({
  metadata: z.looseObject({
    name: z.string(),
    namespace: z.string().default(''),
    uid: z.string().default(''),
    generation: z.int().default(0),
    resourceVersion: z.string().default(''),
    deletionTimestamp: z.string().nullish(),
    finalizers: z.array(z.string()).default([]),
  }),
  status: z.unknown(),
});

/** The object as the API server answers it: whatever its spec and status may hold. */
export type StoredTarget = z.output<typeof storedTarget>;
export const asStored = (answer: unknown): StoredTarget => storedTarget.parse(answer);

/** Which object it was, and how new. */
export interface Version {
  readonly uid: string;
  readonly resourceVersion: string;
}

export const collectionPath = (namespace: string | null): string =>
  namespace === null
    ? `/apis/${group}/${version}/migrationtargets`
    : pathTo`/apis/${group}/${version}/namespaces/${namespace}/migrationtargets`;

const pathOf = ({ namespace, name }: TargetKey): string => `${collectionPath(namespace)}/${encodeURIComponent(name)}`;

/** What it declares; invalid where the schema is not ours, e.g. since it was stored before the API changed. */
export function declarationOf(stored: StoredTarget): Declaration {
  const parsed = parseTarget({ ...stored, apiVersion, kind: 'MigrationTarget', status: stored.status ?? null });
  if (parsed.ok) return { kind: 'target', target: parsed.target };
  const { namespace, name, generation } = stored.metadata;
  const status = targetStatus.safeParse(stored.status);
  return {
    kind: 'invalid',
    key: { namespace, name },
    generation,
    problem: `${problemsText(parsed.problems)}. Mend it: kubectl -n ${namespace} edit mtgt ${name}`,
    status: status.success ? status.data : null,
  };
}

/** Deleted, held, and without an operation for which it would have to be. */
export function isHeldForNothing({ metadata: { deletionTimestamp, finalizers }, status }: StoredTarget): boolean {
  const hasJournal = z.looseObject({ operation: z.looseObject({}) }).safeParse(status).success;
  return deletionTimestamp != null && finalizers.includes(finalizer) && !hasJournal;
}

/** null: there is none. */
export async function readTarget(client: ApiClient, key: TargetKey): Promise<StoredTarget | null> {
  try {
    return asStored(await client.call({ method: 'GET', path: pathOf(key) }));
  } catch (thrown) {
    if (isNotFound(thrown)) return null;
    throw thrown;
  }
}

/**
 * Server-side apply: fields that we wrote once and no longer do go, those of others stay. `known`, the version that
 * was read, is a condition, so that a status never lands on an object that was deleted and made again meanwhile; where
 * others only changed it, it is written all the same. (A uid in the body is not looked at for a status: tried with 1.35.)
 * With `replaces`, the status that this one was made of, it is not where another process journalled an operation.
 */
export async function writeStatus(
  client: ApiClient,
  key: TargetKey,
  known: (Version & { readonly status: string }) | undefined,
  status: TargetStatus,
  replaces?: TargetStatus | null,
): Promise<StoredTarget> {
  let resourceVersion = known?.resourceVersion;
  const isOlder = replaces !== undefined && known?.status !== statusDigest(replaces);
  return despiteConflicts(async (isAgain) => {
    if (isAgain || isOlder) {
      const { metadata, status: now } = asStored(await client.insist({ method: 'GET', path: pathOf(key) }));
      if (known !== undefined && metadata.uid !== known.uid) {
        throw new Error(
          `MigrationTarget ${keyText(key)} was deleted and made again meanwhile; the old one's status is dropped`,
        );
      }
      if (replaces !== undefined && operationsDigest(now) !== operationsDigest(replaces)) throw missedAnOperation(key);
      ({ resourceVersion } = metadata);
    }
    const { namespace, name } = key;
    const metadata = resourceVersion === undefined ? { namespace, name } : { namespace, name, resourceVersion };
    const answer = await client.insist({
      method: 'PATCH',
      path: `${pathOf(key)}/status`,
      query: { fieldManager, force: 'true' },
      contentType: applyPatch,
      // Left out rather than null, which kubectl shows as `<no value>`.
      body: {
        apiVersion,
        kind: 'MigrationTarget',
        metadata,
        status: { ...status, currentRevision: status.currentRevision ?? undefined },
      },
    });
    return asStored(answer);
  });
}

/** Of a status as it is stored, or as it was read: what is left out is as good as null or empty. */
function operationsDigest(status: unknown): string {
  const { operation, keptAside, history } = operationsOf((status ?? null) as TargetStatus | null);
  return statusDigest({ operation, keptAside: keptAside ?? [], history: history ?? [] });
}

/** Adds or removes the finalizer; returns the version it has then, null where it is gone. Others' finalizers stay. */
export async function writeFinalizer(client: ApiClient, key: TargetKey, held: boolean): Promise<Version | null> {
  try {
    return await despiteConflicts(async () => {
      const { metadata } = asStored(await client.insist({ method: 'GET', path: pathOf(key) }));
      const { finalizers, resourceVersion, uid } = metadata;
      if (finalizers.includes(finalizer) === held) return metadata;
      const others = finalizers.filter((one) => one !== finalizer);
      const answer = await client.insist({
        method: 'PATCH',
        path: pathOf(key),
        query: { fieldManager },
        contentType: mergePatch,
        body: { metadata: { uid, resourceVersion, finalizers: held ? [...others, finalizer] : others } },
      });
      return asStored(answer).metadata;
    });
  } catch (thrown) {
    // There is nothing left to let go.
    if (!held && isNotFound(thrown)) return null;
    throw thrown;
  }
}

/** What a person asks for by a command. */
export async function editTarget(client: ApiClient, key: TargetKey, body: unknown): Promise<void> {
  const query = { fieldManager: cliFieldManager };
  try {
    await client.call({ method: 'PATCH', path: pathOf(key), query, contentType: mergePatch, body });
  } catch (thrown) {
    if (!isNotFound(thrown)) throw thrown;
    const message = `There is no MigrationTarget ${keyText(key)}. See: kubectl get mtgt --all-namespaces`;
    throw new Error(message, { cause: thrown });
  }
}

/** How often others may change an object between our reading and writing it. */
const maxConflicts = 10;

/** Tries again where the API server says that somebody else was faster. */
export async function despiteConflicts<T>(attempt: (isAgain: boolean) => Promise<T>): Promise<T> {
  for (let conflicts = 0; ; conflicts += 1) {
    try {
      return await attempt(conflicts > 0);
    } catch (thrown) {
      if (!isStatus(thrown, 409) || conflicts >= maxConflicts) throw thrown;
      await sleep(10 * 2 ** conflicts * Math.random());
    }
  }
}
