/** One YAML file of `targets/` or `approvals/`, read as one document. */
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

/** What belongs into a folder. */
export interface DocumentKind {
  readonly kind: 'MigrationTarget' | 'MigrationApproval';
  readonly folder: 'targets' | 'approvals';
}

export const targetDocuments: DocumentKind = { kind: 'MigrationTarget', folder: 'targets' };
export const approvalDocuments: DocumentKind = { kind: 'MigrationApproval', folder: 'approvals' };

/** Reads text that should be one document of that kind; what is wrong with its fields is not looked at here. */
export function readDocument(text: string, expected: DocumentKind): ReadDocument {
  const documents = parsed(text);
  const [document, second] = documents;
  const key = document === undefined ? null : keyIn(document);
  const refused = (problem: string): ReadDocument => ({ key, content: null, problem, digest: sha256(text) });

  if (document === undefined) return refused(`holds no document: write one ${expected.kind}`);
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
  if (kind !== expected.kind) {
    const what = typeof kind === 'string' ? `of kind ${kind}` : 'without a kind';
    // Its name belongs to another kind, so it stands for none of this one.
    return {
      ...refused(`holds a document ${what}: only ${expected.kind} belongs into ${expected.folder}/`),
      key: null,
    };
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

/** The name is looked for even in a document with errors, so that what it declares can be told. */
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
