/** All that `targets/` declares, by key. */
import { basename, extname } from 'node:path';
import { isTargetName, keyText, type TargetKey } from '../../api/target.ts';
import { documentFiles, type ReadFile } from './document-files.ts';
import { sha256, targetDocuments } from './document.ts';

/** What stands under a key: the content of the one file that declares it, or why nothing can be made of it. */
export interface Declared {
  readonly key: TargetKey;
  readonly files: readonly string[];
  readonly content: unknown;
  readonly problem: string | null;
  readonly digest: string;
}

export interface DeclaredTargets {
  /** Keyed by `namespace/name`. Empty where there is no folder `targets/`. */
  read(): Promise<ReadonlyMap<string, Declared>>;
}

export function declaredTargets(folder: string): DeclaredTargets {
  const files = documentFiles(folder, targetDocuments);
  return { read: async () => byKey(await files.read()) };
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
