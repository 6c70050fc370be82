/** One YAML file of `targets/`, read as one document. */
import { createHash } from 'node:crypto';
import { isScalar, parseAllDocuments, type Document } from 'yaml';
import { isTargetName, type TargetKey } from '../../api/target.ts';

/** What a file holds. `key` is null where no name can be read. */
export interface ReadDocument {
  readonly key: TargetKey | null;
  /** The document as plain data; null where `problem` says why there is none. */
  readonly content: unknown;
  readonly problem: string | null;
  /** Of what generations count: the spec, or the whole text where there is none to be read. Hex. */
  readonly digest: string;
}

/** Reads text that should be one MigrationTarget; what is wrong with its fields is not looked at here. */
export function readDocument(text: string): ReadDocument {
  const documents = parsed(text);
  const [document, second] = documents;
  const key = document === undefined ? null : keyIn(document);
  const refused = (problem: string): ReadDocument => ({ key, content: null, problem, digest: sha256(text) });

  if (document === undefined) return refused('holds no document: write one MigrationTarget');
  if (second !== undefined) {
    return refused(`holds ${documents.length} documents: write one a file, each in a file of its own`);
  }
  const [error] = document.errors;
  if (error !== undefined) return refused(`is not YAML: ${error.message.split('\n')[0]}`);
  let content: unknown;
  try {
    content = document.toJS();
  } catch (thrown) {
    // Aliases that lead nowhere, or that multiply beyond measure.
    return refused(`is not YAML: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
  }
  const kind = field(content, 'kind');
  if (kind !== 'MigrationTarget') {
    const what = typeof kind === 'string' ? `of kind ${kind}` : 'without a kind';
    // Its name belongs to another kind, so it stands for no target's.
    return { ...refused(`holds a document ${what}: only MigrationTarget belongs into targets/`), key: null };
  }
  return { key, content, problem: null, digest: sha256(canonical(field(content, 'spec'))) };
}

/** Documents that hold nothing, as a trailing `---` leaves one, count for nothing. */
function parsed(text: string): readonly Document[] {
  return Array.from<Document>(parseAllDocuments(text, { logLevel: 'error' })).filter(
    ({ contents, errors }) =>
      errors.length > 0 || (contents !== null && !(isScalar(contents) && contents.value === null)),
  );
}

/** The name is looked for even in a document with errors, so that its target can be told. */
function keyIn(document: Document): TargetKey | null {
  const name = document.getIn(['metadata', 'name']);
  const namespace = document.getIn(['metadata', 'namespace']) ?? 'default';
  if (typeof name !== 'string' || typeof namespace !== 'string') return null;
  return isTargetName(name) && isTargetName(namespace) ? { namespace, name } : null;
}

export function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
}

export const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

/** JSON with sorted keys: the order of fields is no change. */
export function canonical(value: unknown): string {
  return (
    JSON.stringify(value, (_key, inner: unknown) =>
      typeof inner === 'object' && inner !== null && !Array.isArray(inner)
        ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
        : inner,
    ) ?? 'null'
  );
}
