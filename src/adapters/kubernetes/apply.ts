/** `migration-target apply` against a cluster: server-side apply, so that fields which others own are not taken from them. */
import { problemsText } from '../../api/problems.ts';
import { keyOf, keyText, parseTarget, type TargetKey } from '../../api/target.ts';
import type { Declaration } from '../../rollback/ports.ts';
import { applyPatch, type ApiClient } from './client.ts';
import { isNotFound, isStatus, type ApiCause } from './errors.ts';
import { cliFieldManager, collectionPath } from './objects.ts';

export interface ApplyOptions {
  readonly dryRun: boolean;
  /** Where a document goes that names no namespace. */
  readonly namespace: string;
  /** Whether that namespace was asked for by name, so that a document of another one is a mistake. */
  readonly namespaceIsAsked: boolean;
}

type Invalid = Extract<Declaration, { kind: 'invalid' }>;

/** Returns the object as the cluster has it then (or would have it), or what is wrong with the document. */
export async function applyTarget(
  client: ApiClient,
  document: unknown,
  { dryRun, namespace, namespaceIsAsked }: ApplyOptions,
): Promise<{ readonly kind: 'applied'; readonly object: unknown } | Invalid> {
  const named = withNamespace(document, namespace);
  const parsed = parseTarget(named);
  if (!parsed.ok) return invalid(nameIn(named), problemsText(parsed.problems));
  const key = keyOf(parsed.target);
  if (namespaceIsAsked && key.namespace !== namespace) {
    return invalid(
      key,
      `metadata.namespace is ${key.namespace}, and --namespace ${namespace} asks for another: leave one of them out`,
    );
  }
  try {
    const object = await client.call({
      method: 'PATCH',
      path: `${collectionPath(key.namespace)}/${encodeURIComponent(key.name)}`,
      query: { fieldManager: cliFieldManager, fieldValidation: 'Strict', dryRun: dryRun ? 'All' : undefined },
      contentType: applyPatch,
      body: declaredIn(named),
    });
    return { kind: 'applied', object };
  } catch (thrown) {
    if (isStatus(thrown, 409) && thrown.causes.some(isFieldConflict))
      return invalid(key, conflictText(key, thrown.causes));
    if (isStatus(thrown, 422) || isStatus(thrown, 400)) return invalid(key, thrown.says);
    if (isNotFound(thrown)) {
      return invalid(
        key,
        `there is no namespace ${key.namespace}. Create it: kubectl create namespace ${key.namespace}`,
      );
    }
    throw thrown;
  }
}

const invalid = (key: TargetKey, problem: string): Invalid => ({
  kind: 'invalid',
  key,
  generation: 0,
  problem,
  status: null,
});

const isFieldConflict = ({ reason }: ApiCause): boolean => reason === 'FieldManagerConflict';

function conflictText(key: TargetKey, causes: readonly ApiCause[]): string {
  const fields = causes.filter(isFieldConflict).map(({ field, message }) => {
    const owner = /"([^"]+)"/.exec(message)?.[1];
    return `${field.replace(/^\./, '')}${owner === undefined ? '' : ` (by ${owner})`}`;
  });
  return `${keyText(key)} has fields that somebody else declares: ${fields.join(', ')}. Change them there, or take them over: kubectl -n ${key.namespace} apply --server-side --field-manager=${cliFieldManager} --force-conflicts -f FILE`;
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function withNamespace(document: unknown, namespace: string): unknown {
  if (!isRecord(document) || !isRecord(document['metadata'])) return document;
  return { ...document, metadata: { namespace, ...document['metadata'] } };
}

/** What a person declares of it: a document that came from `kubectl get -o yaml` holds more, which is the server's. */
function declaredIn(document: unknown): unknown {
  if (!isRecord(document) || !isRecord(document['metadata'])) return document;
  const { name, namespace, labels, annotations } = document['metadata'];
  const { apiVersion, kind, spec } = document;
  return { apiVersion, kind, metadata: { name, namespace, labels, annotations }, spec };
}

function nameIn(document: unknown): TargetKey {
  const metadata = isRecord(document) && isRecord(document['metadata']) ? document['metadata'] : {};
  return { namespace: textOf(metadata['namespace']), name: textOf(metadata['name']) };
}

const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');
