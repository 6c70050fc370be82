import { createHash } from 'node:crypto';
import type { TargetKey } from '../../api/target.ts';
import { stalled, type Failure } from '../../rollback/errors.ts';
import type { BackupManifest, SchemaFacts } from '../../rollback/model.ts';
import type { BackupDraft, BrokenBackup, DumpPlace, DumpSink, DumpStream } from '../../rollback/ports.ts';
import { isBackupIdOf } from './backup-id.ts';
import {
  catalogueOf,
  CommonStore,
  dumpFileOf,
  manifestName,
  markOf,
  notWhole,
  schemaName,
  taken,
  type Database,
} from './common-store.ts';
import { assertExternalSize, assertExternalUnchanged } from './external-dump.ts';
import { mapLimited, type Fingerprint } from './files.ts';
import type { KeptFiles } from './kept-files.ts';
import { restoreKey, type Catalogue, type Known } from './known.ts';
import { BackupProblem, longestManifest, sizeOf } from './manifest.ts';
import type { ObjectPlace, StoredObject } from './object-place.ts';
import { restoreRecordName } from './restore-records.ts';

/** Objects asked for at a time. */
const parallel = 8;

/**
 * A note of each backup that is being made (by the mark of its operation) or removed, from before its first object until
 * after its last: a bucket knows no rename, and an upload that was begun is not listed among the objects.
 */
const noteFolder = '.unfinished';
const noteName = /^(?<id>.+)\.(?<mark>[0-9a-f]{8}|removing)$/;

/**
 * The backups of one target where there are objects and no renames, laid out as in a folder: `<id>/{manifest.json, schema-….json.gz, dump/<one file>,
 * restores/…}`. A backup is what has a manifest, which is written last and removed first.
 */
export class ObjectStore extends CommonStore {
  readonly #place: ObjectPlace;
  readonly #known: Known;

  constructor(place: ObjectPlace, target: TargetKey, known: Known) {
    const watched = known.watching(place);
    super(keptIn(watched), target);
    this.#place = watched;
    this.#known = known;
  }

  list({ mayBeOld = false } = {}): Promise<Catalogue> {
    return this.#known.catalogue(() => this.#readAll(), { mayBeOld });
  }

  async #readAll(): Promise<Catalogue> {
    const { namespace, name } = this.target;
    const objects = Map.groupBy(
      await this.#place.list(`${namespace}.${name}-`),
      ({ key }) => key.split('/', 1)[0] ?? '',
    );
    const mine = [...objects].filter(
      ([id, found]) => isBackupIdOf(this.target, id) && found.some(({ key }) => key === `${id}/${manifestName}`),
    );
    return catalogueOf(await mapLimited(mine, parallel, ([id, found]) => this.#inspect(id, found)));
  }

  override async recordRestore(id: string, database: Database, state: 'intended' | 'done'): Promise<void> {
    await super.recordRestore(id, database, state);
    if (state === 'done') this.#known.restored.add(restoreKey(id, database));
    else this.#known.restored.delete(restoreKey(id, database));
  }

  /** Asked for at each visit while `spec.restoreFrom` is declared. */
  override async restoreRecord(id: string, database: Database): Promise<'intended' | 'done' | null> {
    if (this.#known.restored.has(restoreKey(id, database))) return 'done';
    const found = await super.restoreRecord(id, database);
    if (found === 'done') this.#known.restored.add(restoreKey(id, database));
    return found;
  }

  async begin(id: string, operationId: string): Promise<BackupDraft> {
    this.assertId(id);
    if ((await this.#place.list(`${id}/`)).length > 0) throw taken(id);
    await this.#place.write(noteOf(id, markOf(operationId)), `${operationId}\n`);
    const written: { path: string; bytes: number; sha256: string }[] = [];
    const dump: DumpSink = {
      kind: 'stream',
      write: async (file, content, bytes) => {
        const path = `dump/${file}`;
        const print = fingerprinting(content);
        await this.#place.upload(`${id}/${path}`, print.content, bytes);
        const fingerprint = print.taken();
        written.splice(0, written.length, { path, ...fingerprint });
        return this.#stream(`${id}/${path}`, fingerprint);
      },
    };
    return {
      dump,
      commit: (manifest, schema) => this.#commit(id, operationId, written, manifest, schema),
      discard: () => this.#clear(id, markOf(operationId)),
    };
  }

  async check(id: string): Promise<{ ok: true } | { ok: false; problem: string }> {
    await this.assertExists(id);
    try {
      const manifest = await this.read(id);
      const objects = await this.#place.list(`${id}/`);
      assertSizes(id, manifest, objects);
      const known = new Set(manifest.files.map(({ path }) => `${id}/${path}`));
      const foreign = objects.find(({ key }) => !known.has(key) && !isOwnFile(key.slice(id.length + 1)));
      if (foreign !== undefined) throw new BackupProblem(`${foreign.key} is not in manifest.json`);
      if (manifest.external !== undefined) await assertExternalUnchanged(manifest.external);
      for (const { path, ...fingerprint } of manifest.files) await this.#compare(`${id}/${path}`, fingerprint);
      return { ok: true };
    } catch (error) {
      if (!(error instanceof BackupProblem)) throw error;
      return { ok: false, problem: this.problemOf(error) };
    }
  }

  dumpOf(manifest: BackupManifest): DumpPlace {
    this.assertId(manifest.id);
    if (manifest.external !== undefined) return { kind: 'path', path: manifest.external.path };
    const { path, ...fingerprint } = dumpFileOf(manifest);
    return this.#stream(`${manifest.id}/${path}`, fingerprint);
  }

  async remove(id: string): Promise<void> {
    this.assertId(id);
    await this.#place.write(noteOf(id, 'removing'), 'removing\n');
    await this.#clear(id, 'removing');
  }

  async removeLeftovers(operationId: string): Promise<void> {
    const { namespace, name } = this.target;
    for (const { key } of await this.#place.list(`${noteFolder}/${namespace}.${name}-`)) {
      const { id = '', mark = '' } = noteName.exec(key.slice(noteFolder.length + 1))?.groups ?? {};
      if (!isBackupIdOf(this.target, id)) continue;
      // What was being removed may go, whoever began it.
      if (mark === 'removing') await this.#clear(id, mark);
      else if (mark === markOf(operationId)) await this.#clearUnlessWhole(id, mark);
    }
  }

  freeBytes(): Promise<number | null> {
    return this.#place.freeBytes();
  }

  protected override async read(id: string): Promise<BackupManifest> {
    const content = await this.files.read(`${id}/${manifestName}`, longestManifest);
    if (content === null) throw new BackupProblem('manifest.json is missing');
    const manifest = this.parse(id, content);
    if (manifest.format === 'directory')
      throw new BackupProblem('its dump is a folder of many files, which can’t be streamed: bring it back to a folder');
    return manifest;
  }

  protected override async assertExists(id: string): Promise<void> {
    this.assertId(id);
    if (await this.#hasManifest(id)) return;
    throw stalled(
      'BackupNotFound',
      `${this.#place.nameOf('')} has no backup ${id}. See those that there are: migration-target backups ${this.target.name}`,
    );
  }

  protected override problemOf(error: unknown): string {
    return error instanceof Error ? error.message : String(error);
  }

  async #hasManifest(id: string): Promise<boolean> {
    return (await this.#place.list(`${id}/${manifestName}`)).length > 0;
  }

  /** One entry of the catalogue; null where it went away meanwhile. Throws StorageUnavailable. */
  async #inspect(id: string, objects: readonly StoredObject[]): Promise<BackupManifest | BrokenBackup | null> {
    try {
      const manifest = await this.read(id);
      assertSizes(id, manifest, objects);
      if (manifest.external !== undefined) await assertExternalSize(manifest.external);
      return manifest;
    } catch (error) {
      if (!(error instanceof BackupProblem)) throw error;
      if (!(await this.#hasManifest(id))) return null;
      return {
        id,
        problem: `${error.message}. It is never used. Look at it: ${this.#place.looking(id)}; remove it if it is of no use: ${this.#place.removingAll(id)}`,
      };
    }
  }

  async #commit(
    id: string,
    operationId: string,
    dump: BackupManifest['files'],
    manifest: Omit<BackupManifest, 'files' | 'sizeBytes'>,
    schema: SchemaFacts | null,
  ): Promise<BackupManifest> {
    if (manifest.id !== id) throw new Error(`the draft of ${id} can't be committed as ${manifest.id}`);
    try {
      const files = schema === null ? dump : [...dump, await this.writeSchema(id, schema)];
      const whole: BackupManifest = { ...manifest, files, sizeBytes: sizeOf({ ...manifest, files }) };
      await this.writeManifest(id, whole);
      await this.#place.remove(noteOf(id, markOf(operationId)));
      return whole;
    } catch (error) {
      throw error instanceof BackupProblem ? notWhole(id, this.target, error) : error;
    }
  }

  /** The dump of a dead operation that wrote its manifest is a backup: only the note was left. */
  async #clearUnlessWhole(id: string, mark: string): Promise<void> {
    await ((await this.#hasManifest(id)) ? this.#place.remove(noteOf(id, mark)) : this.#clear(id, mark));
  }

  /** The manifest first: from then on it is no backup. The note last: whoever finds it half done may go on. */
  async #clear(id: string, mark: string): Promise<void> {
    await this.#place.remove(`${id}/${manifestName}`);
    await this.#place.abandonUploads(`${id}/`);
    const objects = await this.#place.list(`${id}/`);
    await mapLimited(objects, parallel, ({ key }) => this.#place.remove(key));
    await this.#place.remove(noteOf(id, mark));
  }

  #stream(key: string, expected: Fingerprint): DumpStream {
    const name = this.#place.nameOf(key);
    return {
      kind: 'stream',
      name,
      read: async () => {
        const found = await this.#place.download(key);
        if (found === null) throw this.#unusable(name, 'is gone');
        if (found.bytes !== expected.bytes)
          throw this.#unusable(name, `has ${found.bytes} bytes instead of ${expected.bytes}`);
        return { bytes: found.bytes, content: this.#compared(name, found.content, expected) };
      },
    };
  }

  async *#compared(
    name: string,
    content: AsyncIterable<Uint8Array>,
    expected: Fingerprint,
  ): AsyncGenerator<Uint8Array> {
    const print = fingerprinting(content);
    yield* print.content;
    if (print.taken().sha256 !== expected.sha256)
      throw this.#unusable(name, 'has another checksum than when it was written');
  }

  #unusable(name: string, what: string): Failure {
    return stalled(
      'BackupInvalid',
      `The dump ${name} ${what}. Choose another backup: migration-target backups ${this.target.name}`,
    );
  }

  /** Reads all of it. Throws BackupProblem. */
  async #compare(key: string, expected: Fingerprint): Promise<void> {
    const found = await this.#place.download(key);
    if (found === null) throw new BackupProblem(`${key} is missing`);
    const print = fingerprinting(found.content);
    for await (const _ of print.content);
    if (print.taken().sha256 !== expected.sha256)
      throw new BackupProblem(`${key} has another checksum than when it was written`);
  }
}

const noteOf = (id: string, mark: string): string => `${noteFolder}/${id}.${mark}`;

function assertSizes(id: string, { files }: BackupManifest, objects: readonly StoredObject[]): void {
  const sizes = new Map(objects.map(({ key, bytes }) => [key, bytes]));
  for (const { path, bytes } of files) {
    const found = sizes.get(`${id}/${path}`);
    if (found === undefined) throw new BackupProblem(`${path} is missing`);
    if (found !== bytes) throw new BackupProblem(`${path} has ${found} bytes instead of ${bytes}`);
  }
}

/** What is in a backup beside the files of its manifest; nothing of it is restored. */
function isOwnFile(path: string): boolean {
  const [first = '', second] = path.split('/');
  if (second === undefined) return first === manifestName || schemaName.test(first);
  return first === 'restores' && restoreRecordName.test(second);
}

/** The same bytes; and once all were read, how many they were and their checksum. */
function fingerprinting(content: AsyncIterable<Uint8Array>): {
  readonly content: AsyncIterable<Uint8Array>;
  readonly taken: () => Fingerprint;
} {
  const hash = createHash('sha256');
  let bytes = 0;
  return {
    content: (async function* () {
      for await (const chunk of content) {
        hash.update(chunk);
        bytes += chunk.length;
        yield chunk;
      }
    })(),
    taken: () => ({ bytes, sha256: hash.digest('hex') }),
  };
}

const keptIn = (place: ObjectPlace): KeptFiles => ({
  read: (path, limit) => place.read(path, limit),
  write: (path, content) => place.write(path, content),
  renew: () => Promise.resolve(false),
  list: async (folder) =>
    (await place.list(`${folder}/`, { flat: true })).map(({ key, at }) => ({
      name: key.slice(folder.length + 1),
      at,
    })),
  remove: (path) => place.remove(path),
  nameOf: (path) => place.nameOf(path),
  looking: (folder) => place.looking(folder),
  removing: (path) => place.removing(path),
});
