/** The collections of the kinds beside MigrationTarget, and what is written of their objects: the status. */
import * as z from 'zod';
import { apiVersion, group, version } from '../../api/group.ts';
import { keyText, type TargetKey } from '../../api/target.ts';
import { applyPatch, pathTo, type ApiClient } from './client.ts';
import { isNotFound } from './errors.ts';
import { despiteConflicts, fieldManager, type Version } from './objects.ts';
import { everyItem } from './pages.ts';

export interface Collection {
  readonly kind: string;
  readonly plural: string;
}

/** null: of all namespaces. */
export const pathOfAll = ({ plural }: Collection, namespace: string | null): string =>
  namespace === null
    ? `/apis/${group}/${version}/${plural}`
    : pathTo`/apis/${group}/${version}/namespaces/${namespace}/${plural}`;

export const pathOfOne = (collection: Collection, { namespace, name }: TargetKey): string =>
  `${pathOfAll(collection, namespace)}/${encodeURIComponent(name)}`;

/** As the CRDs have it. */
export const maxNameLength = 63;
/** What the API server appends to `generateName`. */
const generatedLength = 5;
export const trimmedName = (text: string): string => text.replace(/[-.]+$/, '');

/** `generateName` of an object about a target. */
export const generateNameFor = (target: string): string =>
  `${trimmedName(target.slice(0, maxNameLength - generatedLength - 1))}-`;

export const listAll = (
  client: ApiClient,
  collection: Collection,
  namespace: string | null,
): Promise<readonly unknown[]> => everyItem(client, pathOfAll(collection, namespace));

const answered = z.object({ metadata: z.object({ uid: z.string(), resourceVersion: z.string() }) });

/**
 * Server-side apply, on the very object that was read: one that was deleted and made again under the same name is
 * another. Returns its version then; null where it is gone.
 */
export async function applyStatus(
  client: ApiClient,
  collection: Collection,
  key: TargetKey,
  known: Version,
  status: unknown,
): Promise<Version | null> {
  const path = pathOfOne(collection, key);
  let { resourceVersion } = known;
  try {
    return await despiteConflicts(async (isAgain) => {
      if (isAgain) {
        const { metadata } = answered.parse(await client.insist({ method: 'GET', path }));
        if (metadata.uid !== known.uid) {
          throw new Error(
            `${collection.kind} ${keyText(key)} was deleted and made again meanwhile; what was to be said of the old one is dropped`,
          );
        }
        ({ resourceVersion } = metadata);
      }
      const answer = await client.insist({
        method: 'PATCH',
        path: `${path}/status`,
        query: { fieldManager, force: 'true' },
        contentType: applyPatch,
        body: { apiVersion, kind: collection.kind, metadata: { ...key, resourceVersion }, status },
      });
      return answered.parse(answer).metadata;
    });
  } catch (thrown) {
    if (isNotFound(thrown)) return null;
    throw thrown;
  }
}
