/** What a catalogue does in the same way wherever it is: all but the dumps themselves, and how they appear and go. */
import { createHash } from 'node:crypto';
import type { TargetKey } from '../../api/target.ts';
import { Failure, stalled } from '../../rollback/errors.ts';
import type { BackupManifest, BuiltSchemas, RecordedScripts, SchemaAt, SchemaFacts } from '../../rollback/model.ts';
import type { BackupDraft, BackupStore, BrokenBackup, DumpPlace } from '../../rollback/ports.ts';
import { isBackupIdOf, newBackupId } from './backup-id.ts';
import { readBuiltSchemas, writeBuiltSchemas } from './built-schemas.ts';
import type { KeptFiles } from './kept-files.ts';
import { BackupProblem, formatManifest, parseManifest, sizeOf } from './manifest.ts';
import {
  listReachedSchemas,
  readReachedSchema,
  readRehearsedSchema,
  writeReachedSchema,
  writeRehearsedSchema,
} from './reached-schemas.ts';
import { readScripts, writeScripts } from './recorded-scripts.ts';
import { readRestoreRecord, writeRestoreRecord } from './restore-records.ts';
import { longestSchema, packSchema, unpackSchema } from './schema-file.ts';

export const manifestName = 'manifest.json';
export const schemaName = /^schema-[0-9a-f]{16}\.json\.gz$/;

export type Database = { readonly systemIdentifier: string; readonly name: string };
type Checked = { readonly ok: true } | { readonly ok: false; readonly problem: string };

export abstract class CommonStore implements BackupStore {
  protected readonly files: KeptFiles;
  protected readonly target: TargetKey;

  protected constructor(files: KeptFiles, target: TargetKey) {
    this.files = files;
    this.target = target;
  }

  abstract list(options?: {
    readonly mayBeOld?: boolean;
  }): Promise<{ readonly backups: readonly BackupManifest[]; readonly broken: readonly BrokenBackup[] }>;
  abstract begin(id: string, operationId: string): Promise<BackupDraft>;
  abstract check(id: string): Promise<Checked>;
  abstract dumpOf(manifest: BackupManifest): DumpPlace;
  abstract remove(id: string): Promise<void>;
  abstract removeLeftovers(operationId: string): Promise<void>;
  abstract freeBytes(): Promise<number | null>;
  /** Throws BackupProblem, and whatever reading throws. */
  protected abstract read(id: string): Promise<BackupManifest>;
  /** Throws BackupNotFound. */
  protected abstract assertExists(id: string): Promise<void>;
  /** As the end of a sentence. */
  protected abstract problemOf(error: unknown): string;

  newId(at: Date): string {
    return newBackupId(this.target, at);
  }

  async schema(id: string): Promise<SchemaFacts | null> {
    const manifest = await this.readOrFail(id);
    const file = manifest.files.find(({ path }) => schemaName.test(path));
    if (file === undefined) return null;
    return this.orInvalid(id, async () => {
      const content = await this.files.read(`${id}/${file.path}`, longestSchema);
      if (content === null) throw new BackupProblem(`a file is missing (${file.path})`);
      if (createHash('sha256').update(content).digest('hex') !== file.sha256) {
        throw new BackupProblem(`${file.path} has another checksum than when it was written`);
      }
      return unpackSchema(content);
    });
  }

  async markVerified(id: string, at: string, schema: SchemaFacts): Promise<void> {
    const manifest = await this.readOrFail(id);
    const dump = manifest.files.filter(({ path }) => !schemaName.test(path));
    const facts = { digest: schema.digest, major: schema.major };
    const files = [...dump, await this.writeSchema(id, schema)];
    const verified = { ...manifest, verifiedAt: at, schema: facts, files };
    await this.writeManifest(id, { ...verified, sizeBytes: sizeOf(verified) });
    const replaced = manifest.files.filter(
      ({ path }) => schemaName.test(path) && !files.some((file) => file.path === path),
    );
    for (const { path } of replaced) await this.files.remove(`${id}/${path}`);
  }

  async recordRestore(id: string, database: Database, state: 'intended' | 'done'): Promise<void> {
    await this.readOrFail(id);
    await writeRestoreRecord(this.files, id, database, state);
  }

  async restoreRecord(id: string, database: Database): Promise<'intended' | 'done' | null> {
    await this.assertExists(id);
    return this.orInvalid(id, () => readRestoreRecord(this.files, id, database));
  }

  recordSchema(database: Database, revisions: readonly string[], facts: SchemaFacts): Promise<void> {
    return writeReachedSchema(this.files, { target: this.target, database, revisions }, facts);
  }

  async recordedSchema(database: Database, revisions: readonly string[], major: number): Promise<SchemaFacts | null> {
    const facts = await readReachedSchema(this.files, { target: this.target, database, revisions });
    return facts?.major === major ? facts : null;
  }

  async recordedSchemas(database: Database, major: number): Promise<readonly SchemaAt[]> {
    const all = await listReachedSchemas(this.files, { target: this.target, database });
    return all.filter(({ schema }) => schema.major === major);
  }

  recordScripts(database: Database, scripts: RecordedScripts): Promise<void> {
    return writeScripts(this.files, { target: this.target, database }, scripts);
  }

  recordedScripts(database: Database): Promise<readonly RecordedScripts[]> {
    return readScripts(this.files, { target: this.target, database });
  }

  builtSchemas(of: string, major: number): Promise<BuiltSchemas | null> {
    return readBuiltSchemas(this.files, this.target, of, major);
  }

  recordBuilt(of: string, built: BuiltSchemas): Promise<void> {
    return writeBuiltSchemas(this.files, this.target, of, built);
  }

  recordRehearsed(facts: SchemaFacts): Promise<void> {
    return writeRehearsedSchema(this.files, this.target, facts);
  }

  rehearsedSchema(): Promise<SchemaFacts | null> {
    return readRehearsedSchema(this.files, this.target);
  }

  /** Throws where `id` is none of this target's, so that nothing else can become a path. */
  protected assertId(id: string): void {
    if (isBackupIdOf(this.target, id)) return;
    throw stalled(
      'BackupNotFound',
      `${JSON.stringify(id)} is not the id of a backup of ${this.target.namespace}/${this.target.name}. ` +
        `See those that there are: migration-target backups ${this.target.name}`,
    );
  }

  protected async readOrFail(id: string): Promise<BackupManifest> {
    await this.assertExists(id);
    return this.orInvalid(id, () => this.read(id));
  }

  protected async orInvalid<T>(id: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof Failure) throw error;
      throw stalled(
        'BackupInvalid',
        `The backup ${id} can't be used: ${this.problemOf(error)}. ` +
          `Look at it: ${this.files.looking(id)}, or choose another: migration-target backups ${this.target.name}`,
        error,
      );
    }
  }

  /** Throws BackupProblem where it is none of that backup's. */
  protected parse(id: string, content: Buffer): BackupManifest {
    const manifest = parseManifest(content.toString('utf8'));
    const { namespace, name } = manifest.target;
    if (manifest.id !== id) throw new BackupProblem(`manifest.json is that of ${JSON.stringify(manifest.id)}`);
    if (namespace !== this.target.namespace || name !== this.target.name) {
      throw new BackupProblem(`manifest.json is of the target ${JSON.stringify(`${namespace}/${name}`)}`);
    }
    return manifest;
  }

  protected writeManifest(folder: string, manifest: BackupManifest): Promise<void> {
    return this.files.write(`${folder}/${manifestName}`, formatManifest(manifest));
  }

  /** Named by its content: a manifest that names it stays true whatever a process that dies later leaves behind. */
  protected async writeSchema(folder: string, schema: SchemaFacts): Promise<BackupManifest['files'][number]> {
    const content = await packSchema(schema);
    const sha256 = createHash('sha256').update(content).digest('hex');
    const path = `schema-${sha256.slice(0, 16)}.json.gz`;
    await this.files.write(`${folder}/${path}`, content);
    return { path, bytes: content.length, sha256 };
  }
}

/** The catalogue, newest first, of what was found of each backup; null: it went away meanwhile. */
export function catalogueOf(found: readonly (BackupManifest | BrokenBackup | null)[]): {
  backups: BackupManifest[];
  broken: BrokenBackup[];
} {
  const all = found.filter((it) => it !== null);
  return {
    backups: all.filter((it) => 'version' in it).toSorted((a, b) => byTime(b, a)),
    broken: all.filter((it) => 'problem' in it).toSorted((a, b) => (a.id < b.id ? 1 : -1)),
  };
}

/** Order in time: by the moment of the dump, then by id, so that it is total. */
function byTime(a: BackupManifest, b: BackupManifest): number {
  const difference = Date.parse(a.startedAt) - Date.parse(b.startedAt);
  if (difference !== 0) return difference;
  return a.id < b.id ? -1 : 1;
}

/** The file that a dump not in directory format is. */
export function dumpFileOf({ id, files }: BackupManifest): BackupManifest['files'][number] {
  const file = files.find(({ path }) => path.startsWith('dump/'));
  if (file === undefined) throw new Error(`the backup ${id} names no file in dump/`);
  return file;
}

/** Of an operation, for names. */
export const markOf = (operationId: string): string =>
  createHash('sha256').update(operationId).digest('hex').slice(0, 8);

export const taken = (id: string): Failure =>
  stalled(
    'BackupFailed',
    `There is a backup ${id} already, or one being made. Take another: migration-target backup NAME`,
  );

/** A draft that can't become a backup. */
export const notWhole = (id: string, target: TargetKey, problem: BackupProblem): Failure =>
  stalled(
    'BackupFailed',
    `The backup ${id} is not whole: ${problem.message}. See: migration-target doctor ${target.name}`,
    problem,
  );
