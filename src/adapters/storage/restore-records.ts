/** What `restoreFrom` did with a backup, one small file for each database, in the backup's own `restores/`. */
import { createHash } from 'node:crypto';
import * as z from 'zod';
import { Failure } from '../../rollback/errors.ts';
import type { KeptFiles } from './kept-files.ts';
import { BackupProblem } from './manifest.ts';

type Database = { readonly systemIdentifier: string; readonly name: string };

/** Names of the records within `restores/`. */
export const restoreRecordName = /^[0-9a-f]{32}\.json$/;

const record = z.strictObject({
  version: z.literal(1),
  systemIdentifier: z.string(),
  name: z.string(),
  state: z.enum(['intended', 'done']),
});

/** Durable when it resolves. */
export async function writeRestoreRecord(
  files: KeptFiles,
  id: string,
  database: Database,
  state: 'intended' | 'done',
): Promise<void> {
  const { systemIdentifier, name } = database;
  const content: z.infer<typeof record> = { version: 1, systemIdentifier, name, state };
  await files.write(pathOf(id, database), `${JSON.stringify(content)}\n`);
}

/** null: never restored into that database. Throws BackupProblem where the record can't be read: guessing could restore twice. */
export async function readRestoreRecord(
  files: KeptFiles,
  id: string,
  database: Database,
): Promise<'intended' | 'done' | null> {
  const path = pathOf(id, database);
  try {
    const content = await files.read(path, 65_536);
    if (content === null) return null;
    const found = record.parse(JSON.parse(content.toString('utf8')));
    if (found.systemIdentifier === database.systemIdentifier && found.name === database.name) return found.state;
    throw new Error('it is of another database');
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new BackupProblem(
      `its record of a restore, ${files.nameOf(path)}, can't be read, so whether it was restored is unknown`,
      {
        cause: error,
      },
    );
  }
}

function pathOf(id: string, { systemIdentifier, name }: Database): string {
  const hash = createHash('sha256').update(`${systemIdentifier}\0${name}`).digest('hex').slice(0, 32);
  return `${id}/restores/${hash}.json`;
}
