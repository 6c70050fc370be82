/** `backups import NAME DIR` in the directory home: one line for each file, and how long the rest will take. */
import { keyOf, seconds, type MigrationTarget } from '../api/target.ts';
import { formatRevisions, revisionsOfBackup } from '../rollback/compare.ts';
import { asFailure } from '../rollback/errors.ts';
import {
  createImporter,
  type DumpFile,
  type FoundDump,
  type Imported,
  type Importer,
} from '../rollback/import-in-place.ts';
import { asPart } from '../rollback/sentences.ts';
import { wait } from '../rollback/wait.ts';
import type { Context } from './context.ts';
import { exitCodes, type ExitCode } from './exit-codes.ts';
import { listenForInterrupts, stopsSafely } from './interrupts.ts';
import { answer, type Screen } from './output.ts';
import { Problem } from './problem.ts';
import { showProgress, type Progress } from './progress.ts';
import { count, formatBytes, formatInstant } from './text.ts';

/** What became of a file. */
type Became = { readonly file: string } & (Imported | { readonly kind: 'unusable'; readonly because: string });

export async function importHere(
  context: Context,
  target: MigrationTarget,
  dir: string,
  prefix: string | null,
): Promise<ExitCode> {
  const { name } = target.metadata;
  const folder = await context.wiring.openDumpFolder(dir);
  if (folder.found.length === 0) {
    const others =
      folder.others === 0
        ? 'It is empty.'
        : `There ${folder.others === 1 ? 'is 1 other file' : `are ${folder.others} other files`} in it.`;
    throw new Problem(
      `BackupNotFound ${name}`,
      `No file in ${folder.path} is named like a dump (.sql, .sql.gz, .dump). ${others} To see: ls -la '${folder.path}'`,
    );
  }
  const progress = showProgress({ screen: context.output.notes, now: () => performance.now() });
  using interrupts = listenForInterrupts(progress.say, stopsSafely);
  try {
    const became = await importAll(context, target, folder.found, { prefix, progress, signal: interrupts.signal });
    progress.observe({ kind: 'step', step: 'import', state: 'finished' });
    await tell(context, target, { folder: folder.path, others: folder.others, became });
    return became.some(({ kind }) => kind === 'refused' || kind === 'unusable') ? exitCodes.error : exitCodes.done;
  } finally {
    progress.stop();
  }
}

interface Options {
  readonly prefix: string | null;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

async function importAll(
  context: Context,
  target: MigrationTarget,
  found: readonly FoundDump[],
  { prefix, progress, signal }: Options,
): Promise<readonly Became[]> {
  // The steps of a single file would hide how far all of it is.
  const ports = await context.ports((event) => (event.kind === 'note' ? progress.observe(event) : undefined));
  const importer = await createImporter(target, ports, prefix, signal);
  const total = found.reduce((sum, one) => sum + (one.kind === 'dump' ? one.dump.sizeBytes : 0), 0);
  const became: Became[] = [];
  let done = 0;
  progress.observe({ kind: 'step', step: 'import', state: 'started' });
  for (const one of found) {
    const file = one.kind === 'dump' ? one.dump.name : one.name;
    const result: Became =
      one.kind === 'unusable'
        ? { file, ...one }
        : {
            file,
            ...(await importOne(context, target, importer, one.dump, {
              signal,
              say: progress.say,
              onProgress: (part) =>
                progress.observe({
                  kind: 'progress',
                  step: 'import',
                  done: done + Math.round(part * one.dump.sizeBytes),
                  total,
                  what: 'bytes',
                }),
            })),
          };
    if (one.kind === 'dump') done += one.dump.sizeBytes;
    became.push(result);
    progress.say(lineOf(result, importer.database, context.output.notes));
    progress.observe({ kind: 'progress', step: 'import', done, total, what: 'bytes' });
  }
  return became;
}

const lockedMs = 1_000;

/** Where an operation holds the database, it comes first, and is waited for. */
async function importOne(
  context: Context,
  target: MigrationTarget,
  importer: Importer,
  dump: DumpFile,
  {
    signal,
    say,
    onProgress,
  }: {
    readonly signal: AbortSignal;
    readonly say: (text: string) => void;
    readonly onProgress: (part: number) => void;
  },
): Promise<Imported> {
  const until = performance.now() + seconds(target.spec.timeout) * 1000;
  for (let tries = 0; ; tries += 1) {
    if (signal.aborted) throw interrupted(context, target);
    try {
      return await importer.import(dump, onProgress);
    } catch (thrown) {
      if (signal.aborted) throw interrupted(context, target, thrown);
      const failure = asFailure(thrown);
      if (failure.reason !== 'DatabaseLocked' || performance.now() > until) throw thrown;
      if (tries === 0) say(`${failure.message} It is waited for.`);
      await wait(lockedMs, signal);
    }
  }
}

const interrupted = (context: Context, { metadata }: MigrationTarget, cause?: unknown): Problem =>
  new Problem(
    `Interrupted ${metadata.name}`,
    `What was imported stays imported, and nothing is left half done. The same command goes on with the rest; to see what there is: ${context.command(`backups ${metadata.name}`)}`,
    exitCodes.interrupted,
    { cause },
  );

/** One line, whatever is in the name. */
function lineOf(became: Became, database: string, { paint }: Screen): string {
  const file = became.file.replaceAll(/\s/g, ' ');
  switch (became.kind) {
    case 'imported': {
      const { manifest, notes } = became;
      const what = `at ${formatRevisions(revisionsOfBackup(manifest))}, of ${formatInstant(manifest.finishedAt)}, ${count(Object.keys(manifest.rowCounts).length, 'table')}, ${formatBytes(manifest.sizeBytes)}`;
      const told = notes.map((note) => `; ${asPart(note)}`).join('');
      return `${paint('green', '✓')} ${file}   ${manifest.id}: ${what}${told}`;
    }
    case 'present':
      return `${paint('dim', '·')} ${file}   is in the catalogue already, as ${became.id}`;
    case 'foreign':
      return `${paint('dim', '·')} ${file}   is of the database ${became.of} by its name, and not of ${database}`;
    case 'refused':
    case 'unusable':
      // What to do is in the JSON; here each file has a line.
      return `${paint('red', '✗')} ${file}   ${(became.because.split(/\. (?=[A-Z])/)[0] ?? '').replaceAll(/\s+/g, ' ')}`;
  }
}

async function tell(
  context: Context,
  target: MigrationTarget,
  { folder, others, became }: { readonly folder: string; readonly others: number; readonly became: readonly Became[] },
): Promise<void> {
  const { name } = target.metadata;
  const of = (...kinds: readonly Became['kind'][]): number => became.filter(({ kind }) => kinds.includes(kind)).length;
  const sums: readonly (readonly [number, string])[] = [
    [of('imported'), 'imported'],
    [of('present'), 'in the catalogue already'],
    [of('foreign'), 'of other databases by their names (another beginning: --prefix TEXT)'],
    [of('refused', 'unusable'), 'that can not be used'],
    [others, 'not named like a dump, and not looked at'],
  ];
  await answer(context.output, {
    object: {
      target: keyOf(target),
      folder,
      files: became.map((one) =>
        one.kind === 'imported' ? { ...one, manifest: undefined, id: one.manifest.id } : one,
      ),
    },
    names: became.flatMap((one) => (one.kind === 'imported' ? [one.manifest.id] : [])),
    text: () =>
      [
        `${folder}: ${sums.flatMap(([sum, what]) => (sum === 0 ? [] : [`${sum} ${what}`])).join(', ')}.`,
        ...(of('imported') === 0
          ? []
          : [
              `The times in their names were read as local time of this host (${Intl.DateTimeFormat().resolvedOptions().timeZone}), and are told in UTC. The files stay where they are, and are never changed or removed by this program; entries have their time like other backups (spec.backup.retention). To see them: ${context.command(`backups ${name}`)}`,
            ]),
      ].join('\n'),
  });
}
