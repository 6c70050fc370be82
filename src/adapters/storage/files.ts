/** Files that survive a power cut, and trees that hold nothing but files and folders. */
import { createHash, randomBytes } from 'node:crypto';
import { constants, type Dirent } from 'node:fs';
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { errorCode } from './errors.ts';

/** No link is followed, and a pipe in a file's place does not block. */
const readSafely = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** Names of files that were being written when a process died; nothing ever reads them. */
export const temporaryName = /^\..+\.[0-9a-f]{8}\.tmp$/;

/** A file could not be written, for the operating system's reason in `cause`. */
export class NotWritten extends Error {
  override readonly name = 'NotWritten';
  /** null: it was a stream. */
  readonly bytes: number | null;

  constructor(bytes: number | null, cause: unknown) {
    super(`${bytes ?? 'some'} bytes could not be written`, { cause });
    this.bytes = bytes;
  }
}

/**
 * Replaces a file at once and for good: whoever reads sees the old content or the new, also after a power cut. Throws
 * NotWritten, also for what a stream throws.
 */
export async function writeDurably(
  path: string,
  content: string | Uint8Array | AsyncIterable<Uint8Array>,
): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(4).toString('hex')}.tmp`);
  try {
    await using file = await open(temporary, 'wx', 0o600);
    await file.writeFile(content);
    await file.sync();
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    const isWhole = typeof content === 'string' || content instanceof Uint8Array;
    throw new NotWritten(isWhole ? Buffer.byteLength(content) : null, error);
  }
  await syncDirectory(dirname(path));
}

/** Makes the names in a folder durable. */
export async function syncDirectory(path: string): Promise<void> {
  await using directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  await directory.sync();
}

/**
 * Creates a folder (0700) and those above it that are missing. What is there already is left, be it a folder or not.
 * Node's own `recursive` says ENOENT where the truth is EROFS.
 */
export async function ensureDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (error) {
    const code = errorCode(error);
    if (code === 'EEXIST') return;
    if (code !== 'ENOENT') throw error;
    await ensureDirectory(dirname(path));
    await mkdir(path, { mode: 0o700 });
  }
  await syncDirectory(dirname(path));
}

export interface Entry {
  /** Relative to the tree's root, with `/`. */
  readonly path: string;
  readonly kind: 'file' | 'directory' | 'link' | 'special';
}

/** Everything below a folder, folders before their content; links are named, not followed. */
export async function listTree(root: string, below = ''): Promise<readonly Entry[]> {
  const found = await readdir(join(root, below), { withFileTypes: true });
  const entries: Entry[] = [];
  for (const entry of found.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = below === '' ? entry.name : `${below}/${entry.name}`;
    const kind = kindOf(entry);
    entries.push({ path, kind });
    if (kind === 'directory') entries.push(...(await listTree(root, path)));
  }
  return entries;
}

function kindOf(entry: Dirent): Entry['kind'] {
  if (entry.isFile()) return 'file';
  if (entry.isDirectory()) return 'directory';
  return entry.isSymbolicLink() ? 'link' : 'special';
}

/** Reads a whole regular file, at most `limit` bytes. Throws for a link, for anything else than a file, and beyond. */
export async function readBounded(path: string, limit: number): Promise<Buffer> {
  await using file = await open(path, readSafely);
  const stat = await file.stat();
  if (!stat.isFile()) throw new Error(`${path} is not a regular file`);
  if (stat.size > limit) throw new Error(`${path} has ${stat.size} bytes, more than the ${limit} that are read`);
  return await file.readFile();
}

export interface Fingerprint {
  readonly bytes: number;
  /** Lower-case hex. */
  readonly sha256: string;
}

/** Size and checksum of a file, read once as a stream. `seal`: it also becomes private (0600) and durable. */
export async function fingerprint(path: string, options: { readonly seal?: boolean } = {}): Promise<Fingerprint> {
  const hash = createHash('sha256');
  let bytes = 0;
  await using file = await open(path, readSafely);
  if (options.seal === true) {
    await file.chmod(0o600);
    await file.sync();
  }
  for await (const chunk of file.createReadStream({ autoClose: false, highWaterMark: 1 << 20 })) {
    if (!Buffer.isBuffer(chunk)) throw new TypeError('a stream without an encoding gives buffers');
    hash.update(chunk);
    bytes += chunk.length;
  }
  return { bytes, sha256: hash.digest('hex') };
}

/** `Promise.all` of a function over items, at most `limit` at a time; results in the items' order. */
export async function mapLimited<T, R>(
  items: readonly T[],
  limit: number,
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  const queue = items.entries();
  const worker = async () => {
    for (const [index, item] of queue) results[index] = await work(item);
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker));
  return results;
}
