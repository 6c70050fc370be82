import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { stalled, type Failure } from '../../rollback/errors.ts';
import type { OwnDatabase } from '../../rollback/model.ts';
import type { Progress } from '../../rollback/ports.ts';
import { pipe, run } from '../process/run.ts';
import type { Outcome } from '../process/run.ts';
import type { Context } from './context.ts';
import { jobsFor, tableCounter } from './dump.ts';
import { findDatabases } from './manage.ts';
import { plainDumpLines, scanPlainDump } from './plain-dump.ts';
import type { Session } from './session.ts';
import { toolCommand, toolFailure } from './tool-runs.ts';
import type { Tools } from './tools.ts';

export interface Dump {
  readonly path: string;
  readonly format: 'directory' | 'plain';
  /** Of a directory-format dump: without its rows. */
  readonly schemaOnly?: boolean;
}

/**
 * Up to this size of its table of contents (some 200 bytes an entry) a dump is restored in one transaction: one commit
 * instead of thousands. Beyond, the server's table of locks could run full.
 */
const oneTransactionTocBytes = 256 * 1024;

/** Restores a dump into an empty database of ours. Throws BackupInvalid, RestoreFailed. */
export async function restoreInto(
  context: Context,
  database: OwnDatabase,
  dump: Dump,
  progress: Progress,
  signal: AbortSignal = context.signal,
): Promise<void> {
  const maintenance = await context.onMaintenance();
  await assertOwn(maintenance, database);
  const tools = await context.tools(maintenance.server.major);
  const outcome =
    dump.format === 'directory'
      ? await restoreDirectory(context, tools, database, dump, progress, AbortSignal.any([context.signal, signal]))
      : await restorePlain(context, tools, database, dump.path, progress);
  if (outcome.code !== 0) {
    throw toolFailure(
      dump.format === 'directory' ? 'pg_restore' : 'psql',
      { ...context.worker, database: database.name },
      outcome,
      'RestoreFailed',
      'The live database was not touched. A role that may restore everything (spec.database.adminUrlFrom) often helps; then: migration-target reconcile NAME',
    );
  }
}

/** Connects to a database of ours. */
export async function connectToOwn(context: Context, database: OwnDatabase): Promise<Session> {
  const session = await context.connect(database.name);
  try {
    await assertIdentity(session, database);
    return session;
  } catch (error) {
    await session[Symbol.asyncDispose]();
    throw error;
  }
}

/** Makes sure that the session is in the database that was made, not in another of its name. */
export async function assertIdentity(session: Session, database: OwnDatabase): Promise<void> {
  const [row] = await session.rows<{ oid: string }>(
    'Identifying the database',
    'SELECT oid::text FROM pg_database WHERE datname = current_database()',
  );
  if (row?.oid !== `${database.oid}`) throw madeByOthers(database, row?.oid);
}

/** The same of one that nobody has connected to yet. */
async function assertOwn(maintenance: Session, database: OwnDatabase): Promise<void> {
  const named = (await findDatabases(maintenance, [database])).find(({ name }) => name === database.name);
  if (named?.oid !== database.oid) throw madeByOthers(database, named?.oid);
}

const madeByOthers = (database: OwnDatabase, oid: string | number | undefined): Failure =>
  stalled(
    'RecoveryFailed',
    oid === undefined
      ? `The database "${database.name}" is not there any more: somebody dropped it. Begin again: migration-target reconcile NAME`
      : `The database "${database.name}" has the oid ${oid}, not ${database.oid}: somebody else made it. Rename or drop it, then: migration-target reconcile NAME`,
  );

async function restoreDirectory(
  context: Context,
  tools: Tools,
  database: OwnDatabase,
  { path, schemaOnly = false }: Dump,
  progress: Progress,
  signal: AbortSignal,
): Promise<Outcome> {
  const { tocBytes, bytes, tables } = await measure(path);
  const jobs = jobsFor(bytes * 4);
  const together = jobs === 1 && tocBytes <= oneTransactionTocBytes ? ['--single-transaction'] : [`--jobs=${jobs}`];
  await using access = await context.toolAccess(database.name);
  return await run(
    toolCommand(
      tools.pgRestore,
      access,
      [
        '--format=directory',
        '--exit-on-error',
        '--no-subscriptions',
        '--verbose',
        ...(schemaOnly ? ['--schema-only'] : []),
        ...together,
        path,
      ],
      {
        signal,
        onStderrLine: tableCounter(progress, tables, 'tables restored'),
      },
    ),
  );
}

/** Throws BackupInvalid where the folder is none of pg_dump's. */
async function measure(
  path: string,
): Promise<{ readonly tocBytes: number; readonly bytes: number; readonly tables: number }> {
  const names = await readdir(path).catch((error: unknown) => {
    throw stalled(
      'BackupInvalid',
      `The dump ${path} can't be read: ${String(error)}. Take another: migration-target backups`,
      error,
    );
  });
  if (!names.includes('toc.dat'))
    throw stalled(
      'BackupInvalid',
      `${path} holds no toc.dat, so it is no dump in directory format. Take another: migration-target backups`,
    );
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(path, name))).size));
  return {
    tocBytes: sizes[names.indexOf('toc.dat')] ?? 0,
    bytes: sizes.reduce((sum, size) => sum + size, 0),
    tables: names.filter((name) => /^\d+\.dat(\.\w+)?$/.test(name)).length,
  };
}

/** Looked through before anything of it runs, and again line by line as it is fed: the file can't change in between. */
async function restorePlain(
  context: Context,
  tools: Tools,
  database: OwnDatabase,
  path: string,
  progress: Progress,
): Promise<Outcome> {
  const { bytes } = await scanPlainDump(path);
  await using access = await context.toolAccess(database.name);
  const command = toolCommand(
    tools.psql,
    access,
    ['--no-psqlrc', '--quiet', '--set=ON_ERROR_STOP=1', '--single-transaction', '--output=/dev/null', '--file=-'],
    { signal: context.signal },
  );
  return await run(
    command,
    plainDumpLines(path, (done) => progress(done, bytes, 'bytes')),
  );
}

/**
 * The live database's schema alone, restored into `database` once that is `ready`: in a format that is no SQL text, and so
 * can't carry psql commands.
 */
export async function copySchema(
  context: Context,
  major: number,
  database: OwnDatabase,
  ready: Promise<unknown>,
): Promise<void> {
  const tools = await context.tools(major);
  await using from = await context.toolAccess(context.live);
  await using to = await context.toolAccess(database.name);
  const lockTimeout = `--lock-wait-timeout=${Math.round(context.settings.lockTimeoutSeconds * 1000)}`;
  const [dumped, restored] = await pipe(
    toolCommand(
      tools.pgDump,
      from,
      ['--schema-only', '--format=custom', '--compress=0', '--no-subscriptions', lockTimeout],
      { signal: context.signal },
    ),
    ready.then(() =>
      toolCommand(tools.pgRestore, to, ['--exit-on-error', '--single-transaction', '--no-subscriptions'], {
        signal: context.signal,
      }),
    ),
  );
  const next =
    'The live database was not touched. Give spec.database.adminUrlFrom the URL of a role that may, then: migration-target reconcile NAME';
  // A dump that was ended by a signal was ended because the restore had failed, and that tells why.
  if (dumped.code !== 0 && (dumped.signal === null || restored.code === 0))
    throw toolFailure('pg_dump --schema-only', context.worker, dumped, 'BackupFailed', next);
  if (restored.code !== 0)
    throw toolFailure('pg_restore', { ...context.worker, database: database.name }, restored, 'RestoreFailed', next);
}
