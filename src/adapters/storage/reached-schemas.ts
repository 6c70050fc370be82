/**
 * The schema at each revision that a database reached, and the one that its last rehearsal led to:
 * `.schemas/<hash>.json.gz`, the newest only.
 */
import { createHash } from 'node:crypto';
import type { TargetKey } from '../../api/target.ts';
import { Failure, stalled } from '../../rollback/errors.ts';
import type { SchemaAt, SchemaFacts } from '../../rollback/model.ts';
import { mapLimited } from './files.ts';
import type { KeptFiles } from './kept-files.ts';
import { parseRecordedSchema, type RecordedPlace } from './manifest.ts';
import { longestSchema, packText, unpackText } from './schema-file.ts';

/** A place in a database's history, as one target sees it. */
export interface Place {
  readonly target: TargetKey;
  readonly database: { readonly systemIdentifier: string; readonly name: string };
  /** A set: the order does not matter. */
  readonly revisions: readonly string[];
}

/** Durable when it resolves. */
export const writeReachedSchema = (files: KeptFiles, place: Place, facts: SchemaFacts): Promise<void> =>
  write(files, hashOf(place), facts, recordedPlaceOf(place));

/** null: never recorded. Throws BackupInvalid where the file is damaged. */
export const readReachedSchema = async (files: KeptFiles, place: Place): Promise<SchemaFacts | null> =>
  (await read(files, hashOf(place), place.target))?.facts ?? null;

const reachedName = /^(?<hash>[0-9a-f]{32})\.json\.gz$/;
/** Files read at a time. */
const parallel = 4;

/**
 * Every schema recorded of a database, as one target sees it. A file that was written before files told their place is left
 * out: only the hash of where it belongs is known. Throws BackupInvalid where one is damaged.
 */
export async function listReachedSchemas(files: KeptFiles, of: Omit<Place, 'revisions'>): Promise<readonly SchemaAt[]> {
  const names = await files.list('.schemas');
  const hashes = names.flatMap(({ name }) => reachedName.exec(name)?.groups?.['hash'] ?? []).toSorted();
  const found = await mapLimited(hashes, parallel, (hash) => read(files, hash, of.target));
  return found.flatMap((file) =>
    file?.place != null && isOf(file.place, of) ? [{ revisions: file.place.revisions, schema: file.facts }] : [],
  );
}

const isOf = (place: RecordedPlace, { target, database }: Omit<Place, 'revisions'>): boolean =>
  place.namespace === target.namespace &&
  place.name === target.name &&
  place.systemIdentifier === database.systemIdentifier &&
  place.database === database.name;

const recordedPlaceOf = ({ target, database, revisions }: Place): RecordedPlace => ({
  namespace: target.namespace,
  name: target.name,
  systemIdentifier: database.systemIdentifier,
  database: database.name,
  revisions: revisions.toSorted(),
});

/** Durable when it resolves. */
export const writeRehearsedSchema = (files: KeptFiles, target: TargetKey, facts: SchemaFacts): Promise<void> =>
  write(files, rehearsedHashOf(target), facts, null);

/** null: none. Throws BackupInvalid where the file is damaged. */
export const readRehearsedSchema = async (files: KeptFiles, target: TargetKey): Promise<SchemaFacts | null> =>
  (await read(files, rehearsedHashOf(target), target))?.facts ?? null;

async function write(
  files: KeptFiles,
  hash: string,
  { major, digest, lines }: SchemaFacts,
  place: RecordedPlace | null,
): Promise<void> {
  const file = { major, digest, lines, ...(place === null ? {} : { place }) };
  await files.write(pathOf(hash), await packText(JSON.stringify(file)));
}

async function read(
  files: KeptFiles,
  hash: string,
  target: TargetKey,
): Promise<ReturnType<typeof parseRecordedSchema> | null> {
  const path = pathOf(hash);
  try {
    const content = await files.read(path, longestSchema);
    return content === null ? null : parseRecordedSchema(await unpackText(content));
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw stalled(
      'BackupInvalid',
      `The schema recorded in ${files.nameOf(path)} can't be read, so nothing can be compared with it. Remove it: ${files.removing(path)}, then: ` +
        `migration-target reconcile ${target.name}`,
      error,
    );
  }
}

const pathOf = (hash: string): string => `.schemas/${hash}.json.gz`;

const hashOf = ({ target, database, revisions }: Place): string =>
  hash([target.namespace, target.name, database.systemIdentifier, database.name, ...revisions.toSorted()]);

const rehearsedHashOf = ({ namespace, name }: TargetKey): string => `rehearsed-${hash([namespace, name])}`;

const hash = (parts: readonly string[]): string =>
  createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 32);
