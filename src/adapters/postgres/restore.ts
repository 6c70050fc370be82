import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure, retry, stalled } from '../../rollback/errors.ts';
import type { OwnDatabase } from '../../rollback/model.ts';
import type { DumpPlace, Progress } from '../../rollback/ports.ts';
import { pipe, run } from '../process/run.ts';
import type { Outcome } from '../process/run.ts';
import type { Context } from './context.ts';
import { cutOff } from './cut-off.ts';
import { jobsFor, tableCounter } from './dump.ts';
import { isScratchName } from './identifiers.ts';
import { findDatabases } from './manage.ts';
import { plainDumpLines, scanPlainDump } from './plain-dump.ts';
import type { Session } from './session.ts';
import { toolCommand, toolFailure } from './tool-runs.ts';
import type { Tools } from './tools.ts';

export interface Dump {
  readonly place: DumpPlace;
  readonly format: 'directory' | 'custom' | 'plain';
  /** Of a dump that is not plain: without its rows. */
  readonly schemaOnly?: boolean;
}

/**
 * Up to this size of its table of contents (some 200 bytes an entry) a dump is restored in one transaction: one commit
 * instead of thousands. Beyond, the server's table of locks could run full.
 */
const oneTransactionTocBytes = 256 * 1024;

/** Restores a dump into an empty database of ours; one that is scratch is cut off from other servers. Throws BackupInvalid, RestoreFailed. */
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
    dump.format !== 'plain'
      ? await restoreArchive(context, tools, database, dump, progress, AbortSignal.any([context.signal, signal]))
      : await restorePlain(context, tools, database, dump.place, progress, AbortSignal.any([context.signal, signal]));
  if (outcome.code !== 0) {
    throw toolFailure(
      dump.format === 'plain' ? 'psql' : 'pg_restore',
      { ...context.worker, database: database.name },
      outcome,
      'RestoreFailed',
      'The live database was not touched. A role that may restore everything (spec.database.adminUrlFrom) often helps; then: migration-target reconcile NAME',
    );
  }
  if (!isScratchName(database.name)) return;
  await using session = await connectToOwn(context, database);
  await cutOff(session);
}

/** Connects to a database of ours. */
export async function connectToOwn(context: Context, database: OwnDatabase): Promise<Session> {
  const session = await context.connect(database.name).catch((error: unknown) => {
    throw error instanceof Failure && error.reason === 'DatabaseNotFound' ? goneSince(database, error) : error;
  });
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
export async function assertOwn(maintenance: Session, database: OwnDatabase): Promise<void> {
  const named = (await findDatabases(maintenance, [database])).find(({ name }) => name === database.name);
  if (named?.oid !== database.oid) throw madeByOthers(database, named?.oid);
}

/** The next try makes a scratch database anew; whatever else was dropped somebody has to know of. */
const goneSince = (database: OwnDatabase, cause: Failure): Failure =>
  isScratchName(database.name)
    ? retry(
        'DatabaseUnreachable',
        `The database "${database.name}" is not there any more: somebody dropped it. It is tried again by itself.`,
        cause,
      )
    : madeByOthers(database, undefined);

const madeByOthers = (database: OwnDatabase, oid: string | number | undefined): Failure =>
  stalled(
    'RecoveryFailed',
    oid === undefined
      ? `The database "${database.name}" is not there any more: somebody dropped it. Begin again: migration-target reconcile NAME`
      : `The database "${database.name}" has the oid ${oid}, not ${database.oid}: somebody else made it. Rename or drop it, then: migration-target reconcile NAME`,
  );

async function restoreArchive(
  context: Context,
  tools: Tools,
  database: OwnDatabase,
  { place, format, schemaOnly = false }: Dump,
  progress: Progress,
  signal: AbortSignal,
): Promise<Outcome> {
  const { tocBytes, bytes, tables, path, content } = await openArchive(place, format, tools);
  // What comes by a stream can't be read by several at once.
  const jobs = content === null ? jobsFor(bytes * 4) : 1;
  const together = jobs === 1 && tocBytes <= oneTransactionTocBytes ? ['--single-transaction'] : [`--jobs=${jobs}`];
  const access = await context.toolAccess(tools, database.name);
  return run(
    toolCommand(
      tools,
      tools.pgRestore,
      access,
      [
        `--format=${format}`,
        '--exit-on-error',
        '--no-subscriptions',
        '--verbose',
        ...(schemaOnly ? ['--schema-only'] : []),
        ...together,
        ...(path === null ? [] : [path]),
      ],
      {
        signal,
        onStderrLine: tableCounter(progress, tables, 'tables restored'),
      },
    ),
    content === null ? {} : { input: content },
  );
}

/** What pg_restore opens by itself, or what it is fed. */
type Opened = Measured &
  (
    | { readonly path: string; readonly content: null }
    | { readonly path: null; readonly content: AsyncIterable<Uint8Array> }
  );

async function openArchive(place: DumpPlace, format: Dump['format'], { seeFiles }: Tools): Promise<Opened> {
  if (place.kind === 'stream') {
    const { content, bytes } = await place.read();
    return { tocBytes: bytes, bytes, tables: null, path: null, content };
  }
  const { path } = place;
  const measured = await (format === 'directory' ? measureFolder(path) : measureFile(path));
  if (seeFiles) return { ...measured, path, content: null };
  if (format === 'directory') throw unseen(path);
  return { ...measured, path: null, content: createReadStream(path) };
}

interface Measured {
  /** At most. */
  readonly tocBytes: number;
  readonly bytes: number;
  readonly tables: number | null;
}

const unreadable = (path: string, error: unknown): Failure =>
  stalled(
    'BackupInvalid',
    `The dump ${path} can't be read: ${String(error)}. Take another: migration-target backups`,
    error,
  );

const unseen = (path: string): Failure =>
  stalled(
    'BackupInvalid',
    `The dump ${path} is a folder, written by a pg_dump beside the controller, and the pg_restore in the database's container can't read it. Install PostgreSQL's tools beside the controller and leave spec.runtime.docker.databaseContainer out, or take another backup.`,
  );

/** Throws BackupInvalid where the folder is none of pg_dump's. */
async function measureFolder(path: string): Promise<Measured> {
  const names = await readdir(path).catch((error: unknown) => {
    throw unreadable(path, error);
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

/** One file holds the table of contents too: how much of it that is only pg_restore could tell. */
async function measureFile(path: string): Promise<Measured> {
  const { size } = await stat(path).catch((error: unknown) => {
    throw unreadable(path, error);
  });
  return { tocBytes: size, bytes: size, tables: null };
}

/** Looked through before anything of it runs, and again line by line as it is fed: the file can't change in between. */
async function restorePlain(
  context: Context,
  tools: Tools,
  database: OwnDatabase,
  place: DumpPlace,
  progress: Progress,
  signal: AbortSignal,
): Promise<Outcome> {
  const { bytes } = await scanPlainDump(place);
  const access = await context.toolAccess(tools, database.name);
  const command = toolCommand(
    tools,
    tools.psql,
    access,
    ['--no-psqlrc', '--quiet', '--set=ON_ERROR_STOP=1', '--single-transaction', '--output=/dev/null', '--file=-'],
    { signal },
  );
  return run(command, { input: plainDumpLines(place, (done) => progress(done, bytes, 'bytes')) });
}

/**
 * The schema of a database alone, restored into another once that is `ready`: in a format that is no SQL text, and so
 * can't carry psql commands.
 */
export async function copySchema(
  context: Context,
  major: number,
  way: { readonly from: string; readonly into: OwnDatabase; readonly ready: Promise<unknown> },
): Promise<void> {
  const tools = await context.tools(major);
  const from = await context.toolAccess(tools, way.from);
  const to = await context.toolAccess(tools, way.into.name);
  const lockTimeout = `--lock-wait-timeout=${Math.round(context.settings.lockTimeoutSeconds * 1000)}`;
  const [dumped, restored] = await pipe(
    toolCommand(
      tools,
      tools.pgDump,
      from,
      ['--schema-only', '--format=custom', '--compress=0', '--no-subscriptions', lockTimeout],
      { signal: context.signal },
    ),
    way.ready.then(() =>
      toolCommand(tools, tools.pgRestore, to, ['--exit-on-error', '--single-transaction', '--no-subscriptions'], {
        signal: context.signal,
      }),
    ),
  );
  const next =
    'The live database was not touched. Give spec.database.adminUrlFrom the URL of a role that may, then: migration-target reconcile NAME';
  if (dumped !== null && dumped.code !== 0)
    throw toolFailure('pg_dump --schema-only', context.worker, dumped, 'BackupFailed', next);
  if (restored.code !== 0)
    throw toolFailure('pg_restore', { ...context.worker, database: way.into.name }, restored, 'RestoreFailed', next);
}
