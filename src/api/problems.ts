/** What is wrong with a document, in sentences that say what to write instead. Values are not repeated: one may be a secret. */
import * as z from 'zod';
import { quoteIt } from './revision.ts';

export interface Problem {
  /** e.g. `spec.alembic.env[0].name`; empty for the document itself. */
  readonly path: string;
  readonly message: string;
}

type Path = readonly PropertyKey[];

/** The issues that a schema found, in the terms of the people who write the document. */
export function problemsOf(schema: z.ZodType, issues: readonly z.core.$ZodIssue[]): readonly Problem[] {
  return issues.flatMap((issue): readonly Problem[] => {
    if (issue.code === 'unrecognized_keys') {
      const known = fieldsOf(schemaAt(schema, issue.path));
      return issue.keys.map((key) => ({ path: pathText([...issue.path, key]), message: unknownField(key, known) }));
    }
    return [{ path: pathText(issue.path), message: sentence(issue, schemaAt(schema, issue.path)) }];
  });
}

/** Problems as one text, e.g. for a condition. */
export const problemsText = (problems: readonly Problem[]): string =>
  problems.map(({ path, message }) => (path === '' ? message : `${path}: ${message}`)).join('; ');

function sentence(issue: z.core.$ZodIssue, schema: z.ZodType | null): string {
  switch (issue.code) {
    case 'invalid_type':
      return wrongType(issue, schema);
    case 'invalid_value':
      return `write ${oneOf(issue.values.map((value) => (typeof value === 'string' ? value : String(value))))}`;
    case 'too_small':
      if (issue.origin === 'string') return 'is empty: write a value, or leave the field out';
      return issue.origin === 'array'
        ? `write at least ${issue.minimum}`
        : `write a number of at least ${issue.minimum}`;
    case 'too_big':
      if (issue.origin === 'string') return `is longer than ${issue.maximum} characters: write a shorter one`;
      return issue.origin === 'array' ? `write at most ${issue.maximum}` : `write a number of at most ${issue.maximum}`;
    // The rules and patterns of the API carry their own sentence; the rest does not occur in it.
    case 'custom':
    case 'invalid_format':
    case 'invalid_key':
    case 'invalid_element':
    case 'invalid_union':
    case 'not_multiple_of':
    case 'unrecognized_keys':
      return issue.message;
  }
}

function wrongType(issue: z.core.$ZodIssueInvalidType, schema: z.ZodType | null): string {
  const { input, expected } = issue;
  if (input === undefined && issue.path.length > 0) {
    return `is missing: write it${schema?.description === undefined ? '' : `. ${schema.description}`}`;
  }
  if (input === null) return 'is empty: write a value, or leave the field out';
  if (expected === 'string') return isRevision(issue.path) ? quoteIt : 'write text, in quotes';
  return `write ${words[expected] ?? `a value of type ${expected}`}`;
}

/** `a`, `a or b`, `a, b or c`. */
const oneOf = (values: readonly string[]): string => values.join(', ').replace(/, ([^,]*)$/, ' or $1');

const words: Readonly<Record<string, string>> = {
  object: 'fields (FIELD: VALUE, one a line and indented)',
  record: 'fields (NAME: VALUE, one a line and indented)',
  array: 'a list (- ITEM, one a line)',
  boolean: 'true or false',
  number: 'a number',
  int: 'a whole number',
};

const isRevision = (path: Path): boolean => path[0] === 'spec' && (path[1] === 'revision' || path[1] === 'revisions');

function unknownField(key: string, known: readonly string[]): string {
  const nearest = known
    .map((name) => ({ name, distance: editDistance(key.toLowerCase(), name.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance)[0];
  if (nearest !== undefined && nearest.distance <= Math.max(2, nearest.name.length / 3)) {
    return `unknown field: did you mean "${nearest.name}"?`;
  }
  return known.length === 0 ? 'unknown field: none is known here' : `unknown field: known are ${known.join(', ')}`;
}

/** Levenshtein: how many letters to add, to drop or to replace. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (const [index, letter] of Array.from(a).entries()) {
    const next = [index + 1];
    for (let column = 0; column < b.length; column++) {
      const [above = 0, diagonal = 0, left = 0] = [row[column + 1], row[column], next[column]];
      next.push(Math.min(above + 1, left + 1, diagonal + (b[column] === letter ? 0 : 1)));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

/** `spec.alembic.env[0].name`; a key with other characters in quotes. */
function pathText(path: Path): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`;
    const name = String(part);
    if (!/^[A-Za-z_][\w-]*$/.test(name)) return `${text}[${JSON.stringify(name)}]`;
    return text === '' ? name : `${text}.${name}`;
  }, '');
}

function schemaAt(schema: z.ZodType, path: Path): z.ZodType | null {
  return path.reduce<z.ZodType | null>((at, part) => {
    const inner = at === null ? null : unwrap(at);
    if (inner instanceof z.ZodObject) return (inner.shape[String(part)] as z.ZodType | undefined) ?? null;
    if (inner instanceof z.ZodArray) return inner.element as z.ZodType;
    return null;
  }, schema);
}

function fieldsOf(schema: z.ZodType | null): readonly string[] {
  const inner = schema === null ? null : unwrap(schema);
  return inner instanceof z.ZodObject ? Object.keys(inner.shape) : [];
}

/** What is below defaults, optionality and transformations. */
function unwrap(schema: z.ZodType): z.ZodType {
  if (schema instanceof z.ZodPipe) return unwrap(schema.in as z.ZodType);
  if (
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodNullable ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault
  ) {
    return unwrap(schema.unwrap() as z.ZodType);
  }
  return schema;
}
