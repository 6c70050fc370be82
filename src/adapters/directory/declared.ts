/** All that `targets/` declares, by key. Reads files again only where they changed. */
import { lstat, readdir, readFile, stat } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { isTargetName, keyText, type TargetKey } from '../../api/target.ts';
import { readDocument, sha256, type ReadDocument } from './document.ts';
import { hasCode } from './files.ts';

/** What stands under a key: the content of the one file that declares it, or why nothing can be made of it. */
export interface Declared {
  readonly key: TargetKey;
  readonly files: readonly string[];
  readonly content: unknown;
  readonly problem: string | null;
  readonly digest: string;
}

interface ReadFile extends ReadDocument {
  readonly file: string;
}

/** Larger files are no declarations. */
const maxBytes = 1024 * 1024;

export interface DeclaredTargets {
  /** Keyed by `namespace/name`. Empty where there is no folder `targets/`. */
  read(): Promise<ReadonlyMap<string, Declared>>;
}

export function declaredTargets(folder: string): DeclaredTargets {
  const known = new Map<string, { readonly stamp: string; readonly read: ReadFile }>();

  async function readOne(file: string): Promise<ReadFile | null> {
    const broken = (problem: string): ReadFile => ({
      file,
      key: null,
      content: null,
      problem,
      digest: sha256(problem),
    });
    try {
      const { mtimeNs, ctimeNs, size, ino, isFile } = await facts(file);
      if (!isFile) return broken('is not a file');
      if (size > maxBytes) return broken('is larger than 1 MiB');
      const stamp = [mtimeNs, ctimeNs, size, ino].join(' ');
      const before = known.get(file);
      if (before?.stamp === stamp) return before.read;
      const read = { file, ...readDocument(await readFile(file, 'utf8')) };
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
      const read = (await Promise.all(files.map(readOne))).filter((one) => one !== null);
      return byKey(read);
    },
  };
}

async function yamlFiles(folder: string): Promise<readonly string[]> {
  try {
    const names = await readdir(folder);
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

async function facts(file: string) {
  const stats = await stat(file, { bigint: true });
  return { mtimeNs: stats.mtimeNs, ctimeNs: stats.ctimeNs, size: stats.size, ino: stats.ino, isFile: stats.isFile() };
}

/** Those that tell their name come first, so that one that does not can take nobody's away. */
function byKey(read: readonly ReadFile[]): ReadonlyMap<string, Declared> {
  const declared = new Map<string, Declared>();
  const named = Map.groupBy(
    read.filter((one) => one.key !== null),
    (one) => (one.key === null ? '' : keyText(one.key)),
  );
  for (const [text, ones] of named) {
    const [first, ...others] = ones;
    if (first?.key == null) continue;
    declared.set(text, others.length === 0 ? soleFile(first.key, first) : twins(first.key, ones));
  }
  for (const nameless of read.filter((one) => one.key === null)) {
    const key = keyOfFile(nameless.file, (candidate) => !declared.has(keyText(candidate)));
    declared.set(keyText(key), soleFile(key, nameless));
  }
  return declared;
}

function soleFile(key: TargetKey, { file, content, problem, digest }: ReadFile): Declared {
  return { key, files: [file], content, problem: problem === null ? null : `${file} ${problem}`, digest };
}

function twins(key: TargetKey, ones: readonly ReadFile[]): Declared {
  const files = ones.map(({ file }) => file);
  return {
    key,
    files,
    content: null,
    problem: `${files.join(' and ')} declare the same target ${keyText(key)}: rename one (metadata.name), or remove it`,
    digest: sha256(ones.map(({ digest }) => digest).join(' ')),
  };
}

/** The name that a file is shown under where none can be read in it. */
function keyOfFile(file: string, isFree: (key: TargetKey) => boolean): TargetKey {
  const asName = (text: string): string =>
    text
      .toLowerCase()
      .replaceAll(/[^a-z0-9.]+/g, '-')
      .replaceAll(/\.{2,}/g, '.');
  const whole = basename(file);
  const short = sha256(whole).slice(0, 8);
  const names = [basename(file, extname(file)), whole].map((name) =>
    asName(name)
      .replaceAll(/^[-.]+|[-.]+$/g, '')
      .slice(0, 63),
  );
  const keys = [...names.filter(isTargetName), `file-${short}`].map((name) => ({ namespace: 'default', name }));
  return keys.find(isFree) ?? { namespace: 'default', name: `file-${sha256(file).slice(0, 32)}` };
}
