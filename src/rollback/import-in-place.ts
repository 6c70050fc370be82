/**
 * The dumps of old scripts, made backups of the catalogue where they lie: a manifest that names the file is all that is
 * written. Each is restored once into a scratch database, which tells its revisions, row counts and schema.
 */
import { keyOf, type MigrationTarget } from '../api/target.ts';
import { revisionsOf } from './compare.ts';
import { databaseInName, dumpTime } from './dump-time.ts';
import { asFailure } from './errors.ts';
import { appliedBelow, formatHeads } from './graph.ts';
import { describeIdentity, judgeIdentity } from './identification.ts';
import { importedManifest } from './imported-manifest.ts';
import { knownSchemas, type KnownSchemas } from './identify.ts';
import type { BackupManifest, RevisionGraph, SchemaFacts } from './model.ts';
import { openStore } from './open-store.ts';
import type { Contents, Ports } from './ports.ts';
import { workInScratch, type ScratchWork } from './scratch-work.ts';
import { newOperationId, openDatabase } from './steps/check.ts';

export interface DumpFile {
  /** Absolute, without a symbolic link in it. */
  readonly path: string;
  readonly name: string;
  readonly sizeBytes: number;
  readonly modifiedAt: Date;
  /** `plain`: perhaps compressed by gzip. */
  readonly format: 'plain' | 'custom';
  fingerprint(): Promise<{ readonly bytes: number; readonly sha256: string }>;
  /** Whether it is the file still that was found, as far as a glance tells. */
  isUnchanged(): Promise<boolean>;
}

export type FoundDump =
  | { readonly kind: 'dump'; readonly dump: DumpFile }
  /** `because`: a part of a sentence. */
  | { readonly kind: 'unusable'; readonly name: string; readonly because: string };

export interface DumpFolder {
  readonly path: string;
  /** By name. */
  readonly found: readonly FoundDump[];
  /** Files and folders that are not named like a dump. */
  readonly others: number;
}

export type Imported =
  | {
      readonly kind: 'imported';
      readonly manifest: BackupManifest;
      /** What people should know of it, in sentences. */
      readonly notes: readonly string[];
    }
  | { readonly kind: 'present'; readonly id: string }
  /** By its name it is of another database. */
  | { readonly kind: 'foreign'; readonly of: string }
  | { readonly kind: 'refused'; readonly because: string };

export interface Importer {
  /** The live database's name. */
  readonly database: string;
  /**
   * `onProgress`: how much of it is restored, from 0 to 1. The lock is held for one file at a time: an operation does not
   * wait for all of them. Throws what stands in the way of any file, e.g. DatabaseLocked (retry).
   */
  import(dump: DumpFile, onProgress: (part: number) => void): Promise<Imported>;
}

/** `prefix`: what the names of the files begin with; null: the database's name. */
export async function createImporter(
  target: MigrationTarget,
  ports: Ports,
  prefix: string | null,
  signal: AbortSignal,
): Promise<Importer> {
  const store = await openStore(target, ports);
  const { backups } = await store.list();
  const ids = new Map(
    backups.flatMap(({ id, files, external }) =>
      [...files, ...(external === undefined ? [] : [external])].map(({ sha256 }) => [sha256, id] as const),
    ),
  );
  const database = await nameOf(target, ports);
  const knowledge = new Knowledge();

  return {
    database,
    async import(dump, onProgress) {
      const named = databaseInName(dump.name);
      if (named !== null && named !== (prefix ?? database)) return { kind: 'foreign', of: named };
      const { bytes, sha256 } = await dump.fingerprint();
      const present = ids.get(sha256);
      if (present !== undefined) return { kind: 'present', id: present };

      return workInScratch(target, ports, signal, async (work): Promise<Imported> => {
        const { scope, operation } = work;
        const found = await restoreOnce(work, dump, signal, onProgress);
        if ('because' in found) return { kind: 'refused', ...found };
        const { contents } = found;
        const revisions = revisionsOf(contents.versionTable);
        if (revisions === null && contents.schema.lines.length === 0)
          return { kind: 'refused', because: 'it holds no table at all' };
        const stranger = revisions === null ? null : await strangerText(work, revisions, knowledge);
        if (stranger !== null) return { kind: 'refused', because: stranger };
        const identity = revisions === null ? await identifyDump(work, contents.schema, knowledge) : null;
        const now = ports.clock.now();
        const time = dumpTime(dump.name, dump.modifiedAt, now);
        if (!(await dump.isUnchanged()))
          return { kind: 'refused', because: 'it was written to while it was read: is its backup still being made?' };

        const id = scope.store.newId(time.at);
        const draft = await scope.store.begin(id, operation.id);
        try {
          const imported = importedManifest(work, {
            id,
            path: dump.path,
            format: dump.format,
            contents,
            properties: await scope.database.properties(),
            taken: { startedAt: time.at, finishedAt: time.at },
            verified: now,
          });
          const identified = identity?.revisions == null ? {} : { identified: identity.revisions };
          const external = { path: dump.path, bytes, sha256 };
          const manifest = await draft.commit({ ...imported, ...identified, external }, contents.schema);
          ids.set(sha256, id);
          const notes = [time.because, identity?.note ?? null].filter((note) => note !== null);
          return { kind: 'imported', manifest, notes };
        } catch (thrown) {
          await draft.discard();
          throw thrown;
        }
      });
    },
  };
}

async function nameOf(target: MigrationTarget, ports: Ports): Promise<string> {
  await using database = await openDatabase({ key: keyOf(target), target, ports }, newOperationId());
  return (await database.read()).identity.name;
}

/** What is in it, or why that can't be told. What is not the file's fault is thrown. */
async function restoreOnce(
  { scope, scratch }: ScratchWork,
  { path, format }: DumpFile,
  signal: AbortSignal,
  onProgress: (part: number) => void,
): Promise<{ readonly contents: Contents } | { readonly because: string }> {
  try {
    const tell = (done: number, total: number | null): void => onProgress(total === null ? 0 : done / (total || 1));
    await scope.database.restoreInto(scratch, { place: { kind: 'path', path }, format }, tell, signal);
    return { contents: await scope.database.contents(scratch) };
  } catch (thrown) {
    const failure = asFailure(thrown);
    if (failure.kind === 'retry' || failure.reason === 'ToolsNotFound' || failure.reason === 'InternalError')
      throw failure;
    return { because: failure.message };
  }
}

/** Read once for all files: neither the scripts nor what is known of them changes with an import. */
class Knowledge {
  #graph: RevisionGraph | null = null;
  #schemas: KnownSchemas | null = null;

  async graph({ scope }: ScratchWork): Promise<RevisionGraph> {
    return (this.#graph ??= await (await scope.alembic()).graph());
  }

  async schemas(work: ScratchWork): Promise<KnownSchemas> {
    return (this.#schemas ??= await knownSchemas(work.scope, work.operation, await this.graph(work), Infinity));
  }
}

/** Revisions that nobody could declare make it a dump of something else; null: they are known. */
async function strangerText(
  work: ScratchWork,
  revisions: readonly string[],
  knowledge: Knowledge,
): Promise<string | null> {
  const below = appliedBelow(await knowledge.graph(work), revisions);
  if (below.kind === 'known') return null;
  const { workingDir } = work.scope.target.spec.alembic;
  return `its version table says ${formatHeads(revisions)}, and the migrations of ${workingDir} have no ${formatHeads(below.missing)}: it is of another application's database, or of migrations that are gone`;
}

/**
 * A revision is told only where the schema leaves no doubt: with this nobody is asked again before a fallback restores it.
 */
async function identifyDump(
  work: ScratchWork,
  schema: SchemaFacts,
  knowledge: Knowledge,
): Promise<{ readonly revisions: readonly string[] | null; readonly note: string }> {
  const graph = await knowledge.graph(work);
  const { candidates, built } = await knowledge.schemas(work);
  const found = judgeIdentity(schema, candidates, { graph, built, said: null });
  const { verdict, notKnown } = found;
  const isSure = verdict.kind === 'identified' && verdict.match.inScripts && notKnown.length === 0;
  return {
    revisions: isSure ? verdict.revisions : null,
    note: `it has no version table. ${describeIdentity(found)}${isSure ? '' : ' So its revision counts as unknown, and no fallback takes it by itself'}`,
  };
}
