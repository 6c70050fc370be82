import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { createDatabases } from '../../../src/adapters/postgres/index.ts';
import { Failure } from '../../../src/rollback/errors.ts';
import type { OwnDatabase, SchemaFacts } from '../../../src/rollback/model.ts';
import { localLauncher } from '../../../src/adapters/process/local.ts';
import type { Command } from '../../../src/adapters/process/run.ts';
import type { DatabaseSettings, LiveDatabase, Progress } from '../../../src/rollback/ports.ts';
import { query, type TestDatabase } from '../../support/postgres.ts';

/** Opens a test's database as the procedure does. Each call is a process of its own, as far as sessions go. */
export async function open(
  database: TestDatabase,
  change: Partial<DatabaseSettings> & { readonly toolDirectories?: readonly string[] } = {},
): Promise<LiveDatabase> {
  const { toolDirectories = [database.server.binDir], ...settings } = change;
  return createDatabases({ toolDirectories }).open({
    url: database.url,
    adminUrl: null,
    maintenanceDatabase: 'postgres',
    versionTable: { schema: 'public', name: 'alembic_version' },
    lockTimeoutSeconds: 2,
    operationId: 'abc123',
    place: null,
    ...settings,
  });
}

/** What a promise is rejected with; fails where it resolves, or with anything but a Failure. */
export async function failureOf(promise: Promise<unknown>): Promise<Failure> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
  throw new Error('the promise resolved');
}

export const silent: Progress = () => undefined;

/** A folder that is gone after the test. */
export async function temporaryFolder(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'mt-postgres-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** The live database by name and oid. */
export async function identify(database: TestDatabase): Promise<OwnDatabase> {
  const [row] = await query<{ oid: string }>(
    database.server.adminUrl,
    'SELECT oid::text FROM pg_database WHERE datname = $1',
    [database.name],
  );
  return { name: database.name, oid: Number(row?.oid) };
}

/** Dumps the live database and restores it into a new one of its properties. */
export async function restoreCopy(live: LiveDatabase, folder: string, id = 'copy'): Promise<OwnDatabase> {
  const dump = await live.dump({ kind: 'path', path: join(folder, id) }, silent);
  const into = await live.newDatabase('restored', id);
  await live.createDatabase(into, dump.properties);
  await live.restoreInto(into, { place: { kind: 'path', path: join(folder, id) }, format: 'directory' }, silent);
  return into;
}

/** The live schema by way of a scratch database, which is gone afterwards. */
export async function canonicalSchema(live: LiveDatabase, id = 'compare'): Promise<SchemaFacts> {
  const scratch = await live.newDatabase('scratch', id);
  try {
    return await live.canonicalSchema(scratch, live.createDatabase(scratch, 'scratch'));
  } finally {
    await live.dropDatabase(scratch);
  }
}

export const versionTable = (revision: string): string =>
  `CREATE TABLE alembic_version (version_num varchar(32) NOT NULL CONSTRAINT alembic_version_pkc PRIMARY KEY);
   INSERT INTO alembic_version VALUES ('${revision}');`;

/** A tool of this machine's, as `run` takes it. */
export const here = (program: string, args: readonly string[]): Command => ({
  launcher: localLauncher({ environment: {}, group: false }),
  program,
  args,
  env: {},
});
