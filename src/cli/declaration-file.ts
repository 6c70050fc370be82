/** Declarations as YAML text: read from a file, and changed in one field without touching the rest of it. */
import { readFile } from 'node:fs/promises';
import { isMap, isScalar, parseDocument, Scalar } from 'yaml';
import { Problem } from './problem.ts';

/** The text of `file`; `-` is the standard input. */
export async function readDeclaration(file: string): Promise<string> {
  try {
    if (file !== '-') return await readFile(file, 'utf8');
    const chunks: Uint8Array[] = [];
    for await (const chunk of process.stdin) chunks.push(chunk as Uint8Array);
    return Buffer.concat(chunks).toString('utf8');
  } catch (error) {
    throw new Problem(
      `No file ${file}`,
      `It can't be read: ${error instanceof Error ? error.message : String(error)}.`,
      undefined,
      { cause: error },
    );
  }
}

/**
 * The same declaration with other revisions: absolute ids, in quotes, since YAML takes digits for a number. Comments and
 * order stay. None is `base`.
 */
export function withRevisions(text: string, revisions: readonly string[]): string {
  const document = parseDocument(text, { logLevel: 'error' });
  if (document.errors[0] !== undefined || !isMap(document.get('spec'))) {
    throw new Problem('InvalidSpec', 'The declaration has no spec in which the revision could be written.');
  }
  const [only, second] = revisions;
  if (second === undefined) {
    const written = document.getIn(['spec', 'revision'], true);
    // Only its own characters are replaced, so that everything else stays as it was typed.
    if (isScalar(written) && written.range) {
      return `${text.slice(0, written.range[0])}${JSON.stringify(only ?? 'base')}${text.slice(written.range[1])}`;
    }
    document.setIn(['spec', 'revision'], quoted(only ?? 'base'));
    document.deleteIn(['spec', 'revisions']);
  } else {
    document.setIn(['spec', 'revisions'], revisions.map(quoted));
    document.deleteIn(['spec', 'revision']);
  }
  return document.toString({ lineWidth: 0 });
}

function quoted(id: string): Scalar<string> {
  const scalar = new Scalar(id);
  scalar.type = Scalar.QUOTE_DOUBLE;
  return scalar;
}
