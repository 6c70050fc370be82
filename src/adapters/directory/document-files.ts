/** The YAML files of a folder, each read as one document. Reads files again only where they changed. */
import { lstat, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { readDocument, sha256, type DocumentKind, type ReadDocument } from './document.ts';
import { hasCode } from './files.ts';

export interface ReadFile extends ReadDocument {
  readonly file: string;
  /** When it was last written, in milliseconds; 0: nobody knows. */
  readonly writtenAt: number;
}

/** Larger files are no declarations. */
const maxBytes = 1024 * 1024;

export interface DocumentFiles {
  /** In the order of their names. None where there is no such folder. */
  read(): Promise<readonly ReadFile[]>;
}

export function documentFiles(folder: string, expected: DocumentKind): DocumentFiles {
  const known = new Map<string, { readonly stamp: string; readonly read: ReadFile }>();

  async function readOne(file: string): Promise<ReadFile | null> {
    const broken = (problem: string): ReadFile => ({
      file,
      key: null,
      content: null,
      problem,
      digest: sha256(problem),
      writtenAt: 0,
    });
    try {
      const { mtimeNs, ctimeNs, size, ino, isFile } = await facts(file);
      if (!isFile) return broken('is not a file');
      if (size > maxBytes) return broken('is larger than 1 MiB');
      const stamp = [mtimeNs, ctimeNs, size, ino].join(' ');
      const before = known.get(file);
      if (before?.stamp === stamp) return before.read;
      const writtenAt = Number(mtimeNs / 1_000_000n);
      const read = { file, writtenAt, ...readDocument(await readFile(file, 'utf8'), expected) };
      known.set(file, { stamp, read });
      return read;
    } catch (error) {
      if (hasCode(error, 'ENOENT')) {
        // It went away between being listed and being read, as if it had never been there; a link may lead nowhere.
        const link = await lstat(file).catch(() => null);
        return link === null ? null : broken('is a link that leads nowhere: mend or remove it');
      }
      return broken(`cannot be read: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  return {
    async read() {
      const files = await yamlFiles(folder);
      for (const file of known.keys()) if (!files.includes(file)) known.delete(file);
      return (await Promise.all(files.map(readOne))).filter((one) => one !== null);
    },
  };
}

async function yamlFiles(folder: string): Promise<readonly string[]> {
  try {
    const names = await readdir(folder);
    if (names.length === 0) await assertNotRemoved(folder);
    // Names that begin with a dot are left by editors and by ourselves, on the way to the real one.
    return names
      .filter((name) => /\.ya?ml$/.test(name) && !name.startsWith('.'))
      .sort()
      .map((name) => join(folder, name));
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  }
}

/** A bind mount goes on showing a folder that was removed, which says nothing of the one in its place. */
async function assertNotRemoved(folder: string): Promise<void> {
  if ((await stat(folder)).nlink > 0) return;
  throw new Error(
    `The folder ${folder} was removed, or another was put in its place, where it is mounted from, so what is declared now can't be seen. Start the container again: docker compose restart controller; or mount the folder above it.`,
  );
}

async function facts(file: string) {
  const stats = await stat(file, { bigint: true });
  return { mtimeNs: stats.mtimeNs, ctimeNs: stats.ctimeNs, size: stats.size, ino: stats.ino, isFile: stats.isFile() };
}
