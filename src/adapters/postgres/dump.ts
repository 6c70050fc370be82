import { createWriteStream } from 'node:fs';
import { mkdir, stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { type Failure, retry, stalled } from '../../rollback/errors.ts';
import type { DumpPath, DumpPlace, DumpResult, DumpSink, Progress } from '../../rollback/ports.ts';
import { CutShort, run } from '../process/run.ts';
import type { Outcome } from '../process/run.ts';
import type { Context } from './context.ts';
import { readProperties } from './properties.ts';
import { readPosition, takeSnapshot } from './row-counts.ts';
import { readSchemaFacts } from './schema-facts.ts';
import { remembered } from './tool-memory.ts';
import { toolCommand, toolFailure } from './tool-runs.ts';
import type { Tools } from './tools.ts';
import { readVersionTable } from './version-table.ts';

/** Below this a second connection costs more than it brings (each logs in and sets itself up first). */
const parallelFromBytes = 64 * 1024 * 1024;

/** Connections for a dump or restore of that many bytes. */
export const jobsFor = (bytes: number): number =>
  bytes < parallelFromBytes ? 1 : Math.max(1, Math.min(4, availableParallelism()));

/** pg_dump builds without zstd, found out by trying it. */
const withoutZstd = new Set<string>();

/**
 * Dumps the live database into a folder, which must not exist, or a stream. Counts, revisions and properties are read in the very
 * snapshot that pg_dump uses. `--no-sync`: whoever puts the folder into the catalogue fsyncs each file and the folder.
 */
export async function dump(
  context: Context,
  into: DumpPath | DumpSink,
  progress: Progress,
  signal: AbortSignal = context.signal,
): Promise<DumpResult> {
  if (into.kind === 'path' && (await exists(into.path)))
    throw stalled(
      'BackupFailed',
      `The folder ${into.path} exists already, and a dump never goes into one that may hold another. Remove it.`,
    );
  await using session = await context.connect(context.live);
  const tools = await context.tools(session.server.major);
  const access = await context.toolAccess(tools, context.live);

  const position = await readPosition(session);
  return await session.transaction('ISOLATION LEVEL REPEATABLE READ, READ ONLY', async (transaction) => {
    const [exported] = await transaction.rows<{ snapshot: string; size: string; tables: string }>(
      'Exporting a snapshot',
      `SELECT pg_export_snapshot() AS snapshot, pg_database_size(current_database())::text AS size,
         (SELECT count(*)::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema')) AS tables`,
    );
    if (!exported)
      throw stalled('InternalError', `${session.subject.where} exported no snapshot. Read the server's log.`);

    const reportTables = tableCounter(progress, Number(exported.tables), 'tables dumped');
    const abort = new AbortController();
    const target = await targetOf(into, tools, Number(exported.size));
    const attempt = (compression: string): Promise<Outcome> =>
      run(
        toolCommand(
          tools,
          tools.pgDump,
          access,
          [
            ...target.args,
            `--snapshot=${exported.snapshot}`,
            `--compress=${compression}`,
            `--lock-wait-timeout=${Math.round(context.settings.lockTimeoutSeconds * 1000)}`,
            '--no-sync',
            '--verbose',
          ],
          { signal: AbortSignal.any([context.signal, signal, abort.signal]), onStderrLine: reportTables },
        ),
        target.output === undefined ? {} : { output: target.output },
      );
    const dumping = dumpCompressed(tools, session.server.major, attempt);
    try {
      const snapshot = await takeSnapshot(transaction, position);
      const versionTable = await readVersionTable(transaction, context.settings.versionTable);
      const properties = await readProperties(transaction, session.server.major);
      const schema = await readSchemaFacts(transaction, session.server.major, context.settings.versionTable);
      const outcome = await dumping;
      if (outcome.code !== 0) {
        throw toolFailure(
          `pg_dump into ${target.name}`,
          context.worker,
          outcome,
          'BackupFailed',
          'Nothing was changed. Correct that, then: migration-target reconcile NAME',
        );
      }
      return {
        snapshot,
        revisions: versionTable.kind === 'present' ? versionTable.revisions : null,
        properties,
        schema,
        tool: tools.version,
        place: target.place(),
        format: target.format,
      };
    } catch (error) {
      // Whatever failed first is told; the dump must have ended before its snapshot and its folder go.
      abort.abort();
      await dumping.catch(() => undefined);
      throw error;
    }
  });
}

/** Where a dump goes, and how pg_dump is told. */
interface Target extends Pick<DumpResult, 'format'> {
  readonly name: string;
  readonly args: readonly string[];
  /** Takes what an attempt writes to its stdout, in place of what the one before wrote. Left out: pg_dump writes by itself. */
  readonly output?: (content: AsyncIterable<Uint8Array>) => Promise<void>;
  /** Once it is there. */
  readonly place: () => DumpPlace;
}

async function targetOf(into: DumpPath | DumpSink, { seeFiles }: Tools, bytes: number): Promise<Target> {
  if (into.kind === 'stream') return intoStream(into, bytes);
  return seeFiles ? intoFolder(into, bytes) : intoFile(into.path);
}

const intoFolder = (into: DumpPath, bytes: number): Target => ({
  name: into.path,
  format: 'directory',
  args: ['--format=directory', `--file=${into.path}`, `--jobs=${jobsFor(bytes)}`],
  place: () => into,
});

const dumpName = 'database.dump';

/** From a tool that doesn't see the folder: one file, which comes by a stream, and so over one connection. */
async function intoFile(directory: string): Promise<Target> {
  const path = join(directory, dumpName);
  const failed = (error: unknown): never => {
    throw error instanceof CutShort ? error : unwritable(path, error);
  };
  await mkdir(directory, { mode: 0o700 }).catch(failed);
  return {
    name: directory,
    format: 'custom',
    args: ['--format=custom'],
    output: (content) => pipeline(content, createWriteStream(path, { mode: 0o600 })).catch(failed),
    place: () => ({ kind: 'path', path }),
  };
}

/** The same, but no disk here holds it. */
function intoStream(sink: DumpSink, bytes: number): Target {
  let written: DumpPlace | null = null;
  return {
    name: 'a stream',
    format: 'custom',
    args: ['--format=custom'],
    output: async (content) => {
      written = await sink.write(dumpName, content, bytes);
    },
    place: () => {
      if (written === null) throw new Error('nothing was dumped');
      return written;
    },
  };
}

const unwritable = (path: string, cause: unknown): Failure =>
  retry(
    'StorageUnavailable',
    `The dump can't be written to ${path} (${(cause as NodeJS.ErrnoException).code ?? String(cause)}). Make room or mend the rights of the folder; it is tried again by itself.`,
    cause,
  );

/** zstd where this pg_dump has it (16+, and built with it), as it is several times faster; else gzip, both at level 1. */
async function dumpCompressed(
  { pgDump, seeFiles }: Tools,
  major: number,
  attempt: (compression: string) => Promise<Outcome>,
): Promise<Outcome> {
  if (major < 16) return attempt('1');
  const tried: Outcome[] = [];
  const tryZstd = async (): Promise<string | null> => {
    if (withoutZstd.has(pgDump)) return 'no';
    const outcome = await attempt('zstd:1');
    tried.push(outcome);
    if (outcome.code === 0 || !/does not support compression/.test(outcome.stderr)) return null;
    withoutZstd.add(pgDump);
    return 'no';
  };
  // Another machine's can't be looked at from here.
  const answer = await (seeFiles ? remembered(pgDump, '--compress=zstd', tryZstd) : tryZstd());
  const [outcome] = tried;
  return answer === null && outcome !== undefined ? outcome : attempt('gzip:1');
}

/** Tells the tables of which pg_dump or pg_restore (`--verbose`) has begun the contents. */
export function tableCounter(progress: Progress, total: number | null, what: string): (line: string) => void {
  let done = 0;
  return (line) => {
    if (/(dumping contents of|processing data for) table/.test(line)) progress((done += 1), total, what);
  };
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );
