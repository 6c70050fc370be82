import { randomBytes } from 'node:crypto';
import { chmod, lstat, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isNativeError } from 'node:util/types';
import type { TargetKey } from '../../api/target.ts';
import { stalled } from '../../rollback/errors.ts';
import type { BackupManifest, SchemaFacts } from '../../rollback/model.ts';
import type { BackupDraft, BrokenBackup, DumpPlace } from '../../rollback/ports.ts';
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
} from './common-store.ts';
import { errorCode } from './errors.ts';
import { assertExternalSize, assertExternalUnchanged } from './external-dump.ts';
import { freeBytesAt, onStorage, storageFailure } from './failures.ts';
import {
  ensureDirectory,
  fingerprint,
  listTree,
  mapLimited,
  readBounded,
  syncDirectory,
  temporaryName,
} from './files.ts';
import { keptInDirectory } from './kept-files.ts';
import { BackupProblem, longestManifest, sizeOf } from './manifest.ts';
import { restoreRecordName } from './restore-records.ts';

/** A draft carries the mark of its operation in its name, so that there is no moment without an owner. */
const temporaryFolder = /^\.(?<id>.+)\.(?<mark>[0-9a-f]{8})\.(?<kind>partial|removing)$/;
/** Files read at a time: enough to keep a disk busy, few enough for a small machine. */
const parallel = 4;

/**
 * The backups of one target below one folder, `<root>/<id>/{manifest.json, schema-….json.gz, dump/…, restores/…}`.
 * Several processes may use the folder at a time, since everything appears, changes and goes by a rename.
 */
export class DirectoryStore extends CommonStore {
  readonly #root: string;

  constructor(root: string, target: TargetKey) {
    super(keptInDirectory(root), target);
    this.#root = root;
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
    const mine = names.filter((name) => isBackupIdOf(this.target, name));
    const found = await mapLimited(mine, parallel, (id) => this.#inspect(id));
    return catalogueOf(found);
  }

  async begin(id: string, operationId: string): Promise<BackupDraft> {
    this.assertId(id);
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
      dump: { kind: 'path', path: join(partial, 'dump') },
      commit: (manifest, schema) => this.#commit(id, name, manifest, schema),
      discard: () => onStorage(this.#root, () => this.#delete(name, id)),
    };
  }

  async check(id: string): Promise<{ ok: true } | { ok: false; problem: string }> {
    this.assertId(id);
    await this.assertExists(id);
    try {
      await this.#compare(id, await this.read(id));
      return { ok: true };
    } catch (error) {
      return { ok: false, problem: this.problemOf(error) };
    }
  }

  dumpOf(manifest: BackupManifest): DumpPlace {
    if (manifest.external !== undefined) return { kind: 'path', path: manifest.external.path };
    const file = manifest.format === 'directory' ? 'dump' : dumpFileOf(manifest).path;
    return { kind: 'path', path: join(this.#folder(manifest.id), file) };
  }

  async remove(id: string): Promise<void> {
    this.assertId(id);
    await onStorage(this.#root, () => this.#delete(id, id));
  }

  async removeLeftovers(operationId: string): Promise<void> {
    await onStorage(this.#root, async () => {
      await ensureDirectory(this.#root);
      for (const name of await readdir(this.#root)) {
        const { id, mark, kind } = temporaryFolder.exec(name)?.groups ?? {};
        if (id === undefined || !isBackupIdOf(this.target, id)) continue;
        // What was being removed may go, whoever began it.
        if (kind === 'removing' || mark === markOf(operationId)) await this.#delete(name, id);
      }
    });
  }

  freeBytes(): Promise<number | null> {
    return freeBytesAt(this.#root);
  }

  /** The backup's path. Throws where `id` is none of this target's, so that nothing else can become a path. */
  #folder(id: string): string {
    this.assertId(id);
    return join(this.#root, id);
  }

  protected override async assertExists(id: string): Promise<void> {
    const folder = this.#folder(id);
    if (await onStorage(this.#root, () => exists(folder))) return;
    throw stalled(
      'BackupNotFound',
      `The backup folder ${this.#root} has no backup ${id}. ` +
        `See those that there are: migration-target backups ${this.target.name}`,
    );
  }

  /** One entry of the catalogue; null where it went away meanwhile. Throws nothing. */
  async #inspect(id: string): Promise<BackupManifest | BrokenBackup | null> {
    const folder = this.#folder(id);
    let external: BackupManifest['external'];
    try {
      const manifest = await this.read(id);
      external = manifest.external;
      if (external !== undefined) await assertExternalSize(external);
      await mapLimited(manifest.files, parallel, async ({ path, bytes }) => {
        const stat = await lstat(join(folder, path));
        if (!stat.isFile()) throw new BackupProblem(`${path} is not a regular file`);
        if (stat.size !== bytes) throw new BackupProblem(`${path} has ${stat.size} bytes instead of ${bytes}`);
      });
      return manifest;
    } catch (error) {
      if (!(await exists(folder).catch(() => true))) return null;
      const remedy =
        external === undefined
          ? `It is never used. Look at it: ls -la '${folder}'; remove it if it is of no use: rm -r '${folder}'`
          : `It is never used. Look at it: ls -l '${external.path}'; to forget the entry, which leaves that file as it is: rm -r '${folder}'`;
      return { id, problem: `${this.problemOf(error)}. ${remedy}` };
    }
  }

  /** Throws BackupProblem, or what the operating system says. */
  protected override async read(id: string): Promise<BackupManifest> {
    const folder = this.#folder(id);
    if (!(await lstat(folder)).isDirectory()) throw new BackupProblem('it is a link or a file instead of a folder');
    return this.parse(id, await readBounded(join(folder, manifestName), longestManifest));
  }

  protected override problemOf(error: unknown): string {
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
    if (manifest.external !== undefined) await assertExternalUnchanged(manifest.external);
    await mapLimited(manifest.files, parallel, async ({ path, bytes, sha256 }) => {
      const found = await fingerprint(join(folder, path));
      if (found.bytes !== bytes) throw new BackupProblem(`${path} has ${found.bytes} bytes instead of ${bytes}`);
      if (found.sha256 !== sha256) throw new BackupProblem(`${path} has another checksum than when it was written`);
    });
  }

  async #commit(
    id: string,
    draft: string,
    manifest: Omit<BackupManifest, 'files' | 'sizeBytes'>,
    schema: SchemaFacts | null,
  ): Promise<BackupManifest> {
    if (manifest.id !== id) throw new Error(`the draft of ${id} can't be committed as ${manifest.id}`);
    const partial = join(this.#root, draft);
    try {
      const dump = await this.#seal(partial);
      const files = schema === null ? dump : [...dump, await this.writeSchema(draft, schema)];
      const whole: BackupManifest = { ...manifest, files, sizeBytes: sizeOf({ ...manifest, files }) };
      await this.writeManifest(draft, whole);
      await rename(partial, this.#folder(id)).catch((error: unknown) => {
        throw ['EEXIST', 'ENOTEMPTY'].includes(errorCode(error) ?? '') ? taken(id) : error;
      });
      await syncDirectory(this.#root);
      return whole;
    } catch (error) {
      if (error instanceof BackupProblem) throw notWhole(id, this.target, error);
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
