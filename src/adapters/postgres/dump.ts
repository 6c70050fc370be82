import { stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { stalled } from '../../rollback/errors.ts';
import type { DumpResult, Progress } from '../../rollback/ports.ts';
import { run } from '../process/run.ts';
import type { Outcome } from '../process/run.ts';
import type { Context } from './context.ts';
import { readProperties } from './properties.ts';
import { readPosition, takeSnapshot } from './row-counts.ts';
import { readSchemaFacts } from './schema-facts.ts';
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
 * Dumps the live database into `directory`, which must not exist. Counts, revisions and properties are read in the very
 * snapshot that pg_dump uses. `--no-sync`: whoever puts the folder into the catalogue fsyncs each file and the folder.
 */
export async function dump(
  context: Context,
  directory: string,
  progress: Progress,
  signal: AbortSignal = context.signal,
): Promise<DumpResult> {
  if (await exists(directory))
    throw stalled(
      'BackupFailed',
      `The folder ${directory} exists already, and a dump never goes into one that may hold another. Remove it.`,
    );
  await using session = await context.connect(context.live);
  const tools = await context.tools(session.server.major);
  await using access = await context.toolAccess(context.live);

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
    const attempt = (compression: string): Promise<Outcome> =>
      run(
        toolCommand(
          tools.pgDump,
          access,
          [
            '--format=directory',
            `--file=${directory}`,
            `--snapshot=${exported.snapshot}`,
            `--jobs=${jobsFor(Number(exported.size))}`,
            `--compress=${compression}`,
            `--lock-wait-timeout=${Math.round(context.settings.lockTimeoutSeconds * 1000)}`,
            '--no-sync',
            '--verbose',
          ],
          { signal: AbortSignal.any([context.signal, signal, abort.signal]), onStderrLine: reportTables },
        ),
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
          `pg_dump into ${directory}`,
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
      };
    } catch (error) {
      // Whatever failed first is told; the dump must have ended before its snapshot and its folder go.
      abort.abort();
      await dumping.catch(() => undefined);
      throw error;
    }
  });
}

/** zstd where this pg_dump has it (16+, and built with it), as it is several times faster; else gzip, both at level 1. */
async function dumpCompressed(
  { pgDump }: Tools,
  major: number,
  attempt: (compression: string) => Promise<Outcome>,
): Promise<Outcome> {
  if (major < 16) return attempt('1');
  if (!withoutZstd.has(pgDump)) {
    const outcome = await attempt('zstd:1');
    if (!(outcome.code !== 0 && /does not support compression/.test(outcome.stderr))) return outcome;
    withoutZstd.add(pgDump);
  }
  return attempt('gzip:1');
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
