import { createHash, randomBytes } from 'node:crypto';
import { chmod, lstat, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isNativeError } from 'node:util/types';
import type { TargetKey } from '../../api/target.ts';
import { Failure, stalled } from '../../rollback/errors.ts';
import type { BackupManifest, SchemaFacts } from '../../rollback/model.ts';
import type { BackupDraft, BackupStore, BrokenBackup } from '../../rollback/ports.ts';
import { isBackupIdOf, newBackupId } from './backup-id.ts';
import { errorCode } from './errors.ts';
import { freeBytesAt, onStorage, storageFailure } from './failures.ts';
import {
  ensureDirectory,
  fingerprint,
  listTree,
  mapLimited,
  readBounded,
  syncDirectory,
  temporaryName,
  writeDurably,
} from './files.ts';
import { BackupProblem, formatManifest, longestManifest, parseManifest } from './manifest.ts';
import { readReachedSchema, writeReachedSchema } from './reached-schemas.ts';
import { readRestoreRecord, restoreRecordName, writeRestoreRecord } from './restore-records.ts';
import { longestSchema, packSchema, unpackSchema } from './schema-file.ts';

const manifestName = 'manifest.json';
const schemaName = /^schema-[0-9a-f]{16}\.json\.gz$/;
/** A draft carries the mark of its operation in its name, so that there is no moment without an owner. */
const temporaryFolder = /^\.(?<id>.+)\.(?<mark>[0-9a-f]{8})\.(?<kind>partial|removing)$/;
/** Files read at a time: enough to keep a disk busy, few enough for a small machine. */
const parallel = 4;
type Database = { readonly systemIdentifier: string; readonly name: string };

/**
 * The backups of one target below one folder, `<root>/<id>/{manifest.json, schema-….json.gz, dump/…, restores/…}`.
 * Several processes may use the folder at a time, since everything appears, changes and goes by a rename.
 */
export class DirectoryStore implements BackupStore {
  readonly #root: string;
  readonly #target: TargetKey;

  constructor(root: string, target: TargetKey) {
    this.#root = root;
    this.#target = target;
  }

  async list(): Promise<{ backups: BackupManifest[]; broken: BrokenBackup[] }> {
    // Reading writes nothing: a plan makes no folder. The first backup does.
    const names = await onStorage(this.#root, async () => {
      try {
        return await readdir(this.#root);
      } catch (error) {
        if (errorCode(error) === 'ENOENT') return [];
        throw error;
      }
    });
    const mine = names.filter((name) => isBackupIdOf(this.#target, name));
    const found = await mapLimited(mine, parallel, (id) => this.#inspect(id));
    const backups = found.filter((it) => it !== null).filter((it) => 'version' in it);
    const broken = found.filter((it) => it !== null).filter((it) => 'problem' in it);
    return {
      backups: backups.toSorted((a, b) => byTime(b, a)),
      broken: broken.toSorted((a, b) => (a.id < b.id ? 1 : -1)),
    };
  }

  newId(at: Date): string {
    return newBackupId(this.#target, at);
  }

  async begin(id: string, operationId: string): Promise<BackupDraft> {
    this.#assertId(id);
    const name = `.${id}.${markOf(operationId)}.partial`;
    const partial = join(this.#root, name);
    await onStorage(this.#root, async () => {
      await ensureDirectory(this.#root);
      if (await exists(this.#folder(id))) throw taken(id);
      await mkdir(partial, { mode: 0o700 }).catch((error: unknown) => {
        throw errorCode(error) === 'EEXIST' ? taken(id) : error;
      });
    });
    return {
      dumpDirectory: join(partial, 'dump'),
      commit: (manifest, schema) => this.#commit(id, partial, manifest, schema),
      discard: () => onStorage(this.#root, () => this.#delete(name, id)),
    };
  }

  async check(id: string): Promise<{ ok: true } | { ok: false; problem: string }> {
    this.#assertId(id);
    await this.#assertExists(id);
    try {
      await this.#compare(id, await this.#read(id));
      return { ok: true };
    } catch (error) {
      return { ok: false, problem: problemOf(error) };
    }
  }

  dumpPath(manifest: BackupManifest): string {
    const folder = this.#folder(manifest.id);
    if (manifest.format === 'directory') return join(folder, 'dump');
    const file = manifest.files.find(({ path }) => path.startsWith('dump/'));
    if (file === undefined) throw new Error(`the plain backup ${manifest.id} names no file in dump/`);
    return join(folder, file.path);
  }

  async schema(id: string): Promise<SchemaFacts | null> {
    const manifest = await this.#readOrFail(id);
    const file = manifest.files.find(({ path }) => schemaName.test(path));
    if (file === undefined) return null;
    return this.#orInvalid(id, async () => {
      const content = await readBounded(join(this.#folder(id), file.path), longestSchema);
      if (createHash('sha256').update(content).digest('hex') !== file.sha256) {
        throw new BackupProblem(`${file.path} has another checksum than when it was written`);
      }
      return unpackSchema(content);
    });
  }

  async markVerified(id: string, at: string, schema: SchemaFacts): Promise<void> {
    const manifest = await this.#readOrFail(id);
    const folder = this.#folder(id);
    await onStorage(this.#root, async () => {
      const dump = manifest.files.filter(({ path }) => !schemaName.test(path));
      const facts = { digest: schema.digest, major: schema.major };
      const files = [...dump, await writeSchema(folder, schema)];
      await writeManifest(folder, { ...manifest, verifiedAt: at, schema: facts, files, sizeBytes: sizeOf(files) });
      const replaced = manifest.files.filter(
        ({ path }) => schemaName.test(path) && !files.some((file) => file.path === path),
      );
      for (const { path } of replaced) await rm(join(folder, path), { force: true });
    });
  }

  async remove(id: string): Promise<void> {
    this.#assertId(id);
    await onStorage(this.#root, () => this.#delete(id, id));
  }

  async removeLeftovers(operationId: string): Promise<void> {
    await onStorage(this.#root, async () => {
      await ensureDirectory(this.#root);
      for (const name of await readdir(this.#root)) {
        const { id, mark, kind } = temporaryFolder.exec(name)?.groups ?? {};
        if (id === undefined || !isBackupIdOf(this.#target, id)) continue;
        // What was being removed may go, whoever began it.
        if (kind === 'removing' || mark === markOf(operationId)) await this.#delete(name, id);
      }
    });
  }

  async recordSchema(database: Database, revisions: readonly string[], facts: SchemaFacts): Promise<void> {
    await onStorage(this.#root, async () => {
      await writeReachedSchema(this.#root, { target: this.#target, database, revisions }, facts);
    });
  }

  async recordedSchema(database: Database, revisions: readonly string[], major: number): Promise<SchemaFacts | null> {
    const facts = await onStorage(this.#root, () =>
      readReachedSchema(this.#root, { target: this.#target, database, revisions }),
    );
    return facts?.major === major ? facts : null;
  }

  freeBytes(): Promise<number | null> {
    return freeBytesAt(this.#root);
  }

  async recordRestore(id: string, database: Database, state: 'intended' | 'done'): Promise<void> {
    await this.#readOrFail(id);
    await onStorage(this.#root, () => writeRestoreRecord(this.#folder(id), database, state));
  }

  async restoreRecord(id: string, database: Database): Promise<'intended' | 'done' | null> {
    await this.#assertExists(id);
    return this.#orInvalid(id, () => readRestoreRecord(this.#folder(id), database));
  }

  /** The backup's path. Throws where `id` is none of this target's, so that nothing else can become a path. */
  #folder(id: string): string {
    this.#assertId(id);
    return join(this.#root, id);
  }

  #assertId(id: string): void {
    if (isBackupIdOf(this.#target, id)) return;
    throw stalled(
      'BackupNotFound',
      `${JSON.stringify(id)} is not the id of a backup of ${this.#target.namespace}/${this.#target.name}. ` +
        `See those that there are: migration-target backups ${this.#target.name}`,
    );
  }

  async #assertExists(id: string): Promise<void> {
    const folder = this.#folder(id);
    if (await onStorage(this.#root, () => exists(folder))) return;
    throw stalled(
      'BackupNotFound',
      `The backup folder ${this.#root} has no backup ${id}. ` +
        `See those that there are: migration-target backups ${this.#target.name}`,
    );
  }

  /** One entry of the catalogue; null where it went away meanwhile. Throws nothing. */
  async #inspect(id: string): Promise<BackupManifest | BrokenBackup | null> {
    const folder = this.#folder(id);
    try {
      const manifest = await this.#read(id);
      await mapLimited(manifest.files, parallel, async ({ path, bytes }) => {
        const stat = await lstat(join(folder, path));
        if (!stat.isFile()) throw new BackupProblem(`${path} is not a regular file`);
        if (stat.size !== bytes) throw new BackupProblem(`${path} has ${stat.size} bytes instead of ${bytes}`);
      });
      return manifest;
    } catch (error) {
      if (!(await exists(folder).catch(() => true))) return null;
      const remedy = `It is never used. Look at it: ls -la '${folder}'; remove it if it is of no use: rm -r '${folder}'`;
      return { id, problem: `${problemOf(error)}. ${remedy}` };
    }
  }

  /** Throws BackupProblem, or what the operating system says. */
  async #read(id: string): Promise<BackupManifest> {
    const folder = this.#folder(id);
    if (!(await lstat(folder)).isDirectory()) throw new BackupProblem('it is a link or a file instead of a folder');
    const content = await readBounded(join(folder, manifestName), longestManifest);
    const manifest = parseManifest(content.toString('utf8'));
    const { namespace, name } = manifest.target;
    if (manifest.id !== id) throw new BackupProblem(`manifest.json is that of ${JSON.stringify(manifest.id)}`);
    if (namespace !== this.#target.namespace || name !== this.#target.name) {
      throw new BackupProblem(`manifest.json is of the target ${JSON.stringify(`${namespace}/${name}`)}`);
    }
    return manifest;
  }

  async #readOrFail(id: string): Promise<BackupManifest> {
    await this.#assertExists(id);
    return this.#orInvalid(id, () => this.#read(id));
  }

  async #orInvalid<T>(id: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof Failure) throw error;
      throw stalled(
        'BackupInvalid',
        `The backup ${id} can't be used: ${problemOf(error)}. ` +
          `Look at it: ls -la '${this.#folder(id)}', or choose another: migration-target backups ${this.#target.name}`,
        error,
      );
    }
  }

  /** Reads everything again. Throws BackupProblem for the first thing that is not as the manifest says. */
  async #compare(id: string, manifest: BackupManifest): Promise<void> {
    const folder = this.#folder(id);
    const entries = await listTree(folder);
    const odd = entries.find(({ kind }) => kind !== 'file' && kind !== 'directory');
    if (odd !== undefined)
      throw new BackupProblem(`${odd.path} is a ${odd.kind === 'link' ? 'symbolic link' : 'special file'}`);
    const present = new Set(entries.filter(({ kind }) => kind === 'file').map(({ path }) => path));
    const known = new Set(manifest.files.map(({ path }) => path));
    const missing = manifest.files.find(({ path }) => !present.has(path));
    if (missing !== undefined) throw new BackupProblem(`${missing.path} is missing`);
    const foreign = [...present].find((path) => !known.has(path) && !isOwnFile(path));
    if (foreign !== undefined) throw new BackupProblem(`${foreign} is not in manifest.json`);
    await mapLimited(manifest.files, parallel, async ({ path, bytes, sha256 }) => {
      const found = await fingerprint(join(folder, path));
      if (found.bytes !== bytes) throw new BackupProblem(`${path} has ${found.bytes} bytes instead of ${bytes}`);
      if (found.sha256 !== sha256) throw new BackupProblem(`${path} has another checksum than when it was written`);
    });
  }

  async #commit(
    id: string,
    partial: string,
    manifest: Omit<BackupManifest, 'files' | 'sizeBytes'>,
    schema: SchemaFacts | null,
  ): Promise<BackupManifest> {
    if (manifest.id !== id) throw new Error(`the draft of ${id} can't be committed as ${manifest.id}`);
    try {
      const dump = await this.#seal(partial);
      const files = schema === null ? dump : [...dump, await writeSchema(partial, schema)];
      const whole: BackupManifest = { ...manifest, files, sizeBytes: sizeOf(files) };
      await writeManifest(partial, whole);
      await rename(partial, this.#folder(id)).catch((error: unknown) => {
        throw ['EEXIST', 'ENOTEMPTY'].includes(errorCode(error) ?? '') ? taken(id) : error;
      });
      await syncDirectory(this.#root);
      return whole;
    } catch (error) {
      if (error instanceof BackupProblem)
        throw stalled(
          'BackupFailed',
          `The backup ${id} is not whole: ${error.message}. See: migration-target doctor ${this.#target.name}`,
          error,
        );
      throw await storageFailure(error, this.#root);
    }
  }

  /** Makes a dump private and durable, and says what it consists of. */
  async #seal(partial: string): Promise<BackupManifest['files']> {
    const entries = (await listTree(partial)).filter(({ path }) => path === 'dump' || path.startsWith('dump/'));
    const odd = entries.find(({ kind }) => kind !== 'file' && kind !== 'directory');
    if (odd !== undefined) throw new BackupProblem(`${odd.path} is neither a file nor a folder`);
    const files = await mapLimited(
      entries.filter(({ kind }) => kind === 'file'),
      parallel,
      async ({ path }) => ({ path, ...(await fingerprint(join(partial, path), { seal: true })) }),
    );
    for (const { path } of entries.filter(({ kind }) => kind === 'directory')) {
      await chmod(join(partial, path), 0o700);
      await syncDirectory(join(partial, path));
    }
    return files;
  }

  /** Out of the catalogue at once, by a rename; then deleted. Whoever finds it half deleted may go on. */
  async #delete(name: string, id: string): Promise<void> {
    const doomed = name.endsWith('.removing') ? name : `.${id}.${randomBytes(4).toString('hex')}.removing`;
    if (doomed !== name) {
      try {
        await rename(join(this.#root, name), join(this.#root, doomed));
      } catch (error) {
        if (errorCode(error) === 'ENOENT') return;
        throw error;
      }
      await syncDirectory(this.#root);
    }
    await rm(join(this.#root, doomed), { recursive: true, force: true });
  }
}

/** Order in time: by the moment of the dump, then by id, so that it is total. */
function byTime(a: BackupManifest, b: BackupManifest): number {
  const difference = Date.parse(a.startedAt) - Date.parse(b.startedAt);
  if (difference !== 0) return difference;
  return a.id < b.id ? -1 : 1;
}

const sizeOf = (files: BackupManifest['files']): number => files.reduce((sum, { bytes }) => sum + bytes, 0);

async function writeManifest(folder: string, manifest: BackupManifest): Promise<void> {
  await writeDurably(join(folder, manifestName), formatManifest(manifest));
}

/** Named by its content: a manifest that names it stays true whatever a process that dies later leaves behind. */
async function writeSchema(folder: string, schema: SchemaFacts): Promise<BackupManifest['files'][number]> {
  const content = await packSchema(schema);
  const sha256 = createHash('sha256').update(content).digest('hex');
  const path = `schema-${sha256.slice(0, 16)}.json.gz`;
  await writeDurably(join(folder, path), content);
  return { path, bytes: content.length, sha256 };
}

/** What lies in a backup beside the files of its manifest; nothing of it is restored. */
function isOwnFile(path: string): boolean {
  const parts = path.split('/');
  const name = parts.at(-1) ?? '';
  if (parts.length === 1) return name === manifestName || schemaName.test(name) || temporaryName.test(name);
  return parts.length === 2 && parts[0] === 'restores' && (restoreRecordName.test(name) || temporaryName.test(name));
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return false;
    throw error;
  }
}

function problemOf(error: unknown): string {
  if (error instanceof BackupProblem) return error.message;
  switch (errorCode(error)) {
    case 'ENOENT':
      return `a file is missing (${isNativeError(error) ? error.message : 'ENOENT'})`;
    case 'ELOOP':
      return 'manifest.json or another file is a symbolic link';
    default:
      return isNativeError(error) ? error.message : String(error);
  }
}

const markOf = (operationId: string): string => createHash('sha256').update(operationId).digest('hex').slice(0, 8);

const taken = (id: string): Failure =>
  stalled(
    'BackupFailed',
    `There is a backup ${id} already, or one being made. Take another: migration-target backup NAME`,
  );
