/** The schema at each revision that a database reached: `<root>/.schemas/<hash>.json.gz`, the newest only. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { TargetKey } from '../../api/target.ts';
import { stalled } from '../../rollback/errors.ts';
import type { SchemaFacts } from '../../rollback/model.ts';
import { errorCode } from './errors.ts';
import { ensureDirectory, readBounded, writeDurably } from './files.ts';
import { longestSchema, packSchema, unpackSchema } from './schema-file.ts';

/** A place in a database's history, as one target sees it. */
export interface Place {
  readonly target: TargetKey;
  readonly database: { readonly systemIdentifier: string; readonly name: string };
  /** A set: the order does not matter. */
  readonly revisions: readonly string[];
}

/** Durable when it resolves. */
export async function writeReachedSchema(root: string, place: Place, facts: SchemaFacts): Promise<void> {
  await ensureDirectory(join(root, '.schemas'));
  await writeDurably(pathOf(root, place), await packSchema(facts));
}

/** null: never recorded. Throws BackupInvalid where the file is damaged. */
export async function readReachedSchema(root: string, place: Place): Promise<SchemaFacts | null> {
  const path = pathOf(root, place);
  try {
    return await unpackSchema(await readBounded(path, longestSchema));
  } catch (error) {
    const code = errorCode(error);
    if (code === 'ENOENT') return null;
    if (code !== null) throw error;
    throw stalled(
      'BackupInvalid',
      `The schema recorded in ${path} can't be read, so nothing can be compared with it. Remove it: rm '${path}', then: ` +
        `migration-target reconcile ${place.target.name}`,
      error,
    );
  }
}

function pathOf(root: string, { target, database, revisions }: Place): string {
  const place = [target.namespace, target.name, database.systemIdentifier, database.name, ...revisions.toSorted()];
  const hash = createHash('sha256').update(JSON.stringify(place)).digest('hex').slice(0, 32);
  return join(root, '.schemas', `${hash}.json.gz`);
}
