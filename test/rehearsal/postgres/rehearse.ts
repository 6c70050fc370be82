import { join } from 'node:path';

import type { DataLoss, OwnDatabase, TableLoss } from '../../../src/rollback/model.ts';
import type { LiveDatabase } from '../../../src/rollback/ports.ts';
import { createDatabase, databaseUrl, query, type Major, type TestDatabase } from '../../support/postgres.ts';
import { open, silent, temporaryFolder } from '../../integration/postgres/open.ts';

/** A scratch database with what the live one holds now. */
export async function restoreScratch(live: LiveDatabase, database: TestDatabase, id = 'before'): Promise<OwnDatabase> {
  await using folder = await temporaryFolder();
  const path = join(folder.path, id);
  await live.dump({ kind: 'path', path }, silent);
  const scratch = await live.newDatabase('scratch', `${id}${database.owner.replace(/\W|_/g, '')}`);
  await live.createDatabase(scratch, 'scratch');
  await live.restoreInto(scratch, { place: { kind: 'path', path }, format: 'directory' }, silent);
  return scratch;
}

/** A copy of a scratch database. */
export async function copy(live: LiveDatabase, from: OwnDatabase, database: TestDatabase): Promise<OwnDatabase> {
  const to = await live.newDatabase('scratch', `after${database.owner.replace(/\W|_/g, '')}`);
  await live.copyDatabase(from, to);
  return to;
}

export const within = (database: TestDatabase, { name }: OwnDatabase): string =>
  databaseUrl(database.url, { database: name });

export interface Rehearsal {
  readonly major: Major;
  /** Before. */
  readonly sql: string;
  readonly change: string;
  readonly mostRows?: number;
  /** `copy`: the change is made in a copy; `apart`: in the live database, of which a backup is restored. */
  readonly how?: 'copy' | 'apart';
  /** Who restores and compares. */
  readonly as?: 'owner' | 'admin';
}

/** What a change would lose. */
export async function rehearse(rehearsal: Rehearsal): Promise<DataLoss> {
  const { major, sql, change, mostRows = 1000, how = 'copy', as = 'owner' } = rehearsal;
  await using database = await createDatabase(major);
  const url = as === 'admin' ? database.adminUrl : database.url;
  await using live = await open(database, as === 'admin' ? { adminUrl: database.adminUrl } : {});
  const inside = (own: OwnDatabase): string => databaseUrl(url, { database: own.name });
  // As if restored, which it would have to be for each of hundreds of cases.
  const before = await live.newDatabase('scratch', `before${database.owner.replace(/\W|_/g, '')}`);
  await live.createDatabase(before, 'scratch');
  await query(inside(before), sql);
  let after: OwnDatabase;
  if (how === 'copy') {
    after = await copy(live, before, database);
    await query(inside(after), change);
  } else {
    await query(url, sql);
    await query(url, change);
    after = await restoreScratch(live, database, 'after');
  }
  try {
    return await live.findLoss(before, after, { isCopy: how === 'copy', mostRows }, silent);
  } finally {
    for (const own of [before, after]) await live.dropDatabase(own);
  }
}

/** A table's loss, in so far as it differs from none. */
export const loses = (table: string, rowsBefore: number, loss: Partial<TableLoss>): TableLoss => ({
  table,
  rowsBefore,
  gone: false,
  rowsGone: 0,
  rowsChanged: 0,
  columnsChanged: [],
  columnsGone: [],
  notCompared: null,
  ...loss,
});

export const none: DataLoss = { tables: [], moreTables: 0, rows: 0 };
