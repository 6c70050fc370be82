/** The reference of the API for people: docs/reference/api.md. */
import { apiVersion } from '../../src/api/group.ts';
import { reasons } from '../../src/api/reasons.ts';
import { objectSchema } from './crd.ts';
import type { Kind } from './kinds.ts';
import type { OpenApi } from './structural.ts';

export const referenceFile = 'docs/reference/api.md';

export function referenceMarkdown(kinds: readonly Kind[]): string {
  return [
    '<!-- Generated from src/api: change it there, then run: npm run generate -->',
    '',
    `# API reference: ${apiVersion}`,
    '',
    'Durations are written as `30s`, `5m`, `1h30m`, `7d`. Fields in **bold** must be written.',
    '',
    ...kinds.flatMap(kindSection),
    '## Reasons',
    '',
    'Each condition carries one of them; alerts and scripts may match on them.',
    '',
    ...table(
      ['Reason', 'Meaning'],
      Object.entries(reasons).map(([reason, meaning]) => [code(reason), meaning]),
    ),
  ].join('\n');
}

function kindSection(kind: Kind): readonly string[] {
  const schema = objectSchema(kind);
  const { spec, status } = schema.properties ?? {};
  const rows = [...(spec ? fieldRows('spec', spec, true) : []), ...(status ? fieldRows('status', status, false) : [])];
  return [
    `## ${kind.kind}`,
    '',
    schema.description ?? '',
    '',
    ...table(['Field', 'Type', 'Default', 'Description'], rows),
  ];
}

/** A row of the field, and one of each field below it. */
function fieldRows(path: string, schema: OpenApi, required: boolean): readonly (readonly string[])[] {
  const below = schema.type === 'array' ? schema.items : schema;
  const prefix = schema.type === 'array' ? `${path}[]` : path;
  return [
    [
      required ? `**${code(path)}**` : code(path),
      typeOf(schema),
      schema.default === undefined || isEmpty(schema.default) ? '' : code(JSON.stringify(schema.default)),
      [schema.description ?? '', ...rulesOf(schema)].filter((part) => part !== '').join('<br>'),
    ],
    ...Object.entries(below?.properties ?? {}).flatMap(([name, field]) =>
      fieldRows(`${prefix}.${name}`, field, below?.required?.includes(name) ?? false),
    ),
  ];
}

function typeOf(schema: OpenApi): string {
  if (schema['x-kubernetes-int-or-string']) return 'string';
  if (schema.enum) return schema.enum.map(code).join(', ');
  if (schema.type === 'array')
    return `list of ${schema.items?.properties ? 'objects' : `${typeOf(schema.items ?? {})}s`}`;
  if (schema.additionalProperties) return 'map of strings';
  return schema.type ?? 'any';
}

const rulesOf = (schema: OpenApi): readonly string[] =>
  (schema['x-kubernetes-validations'] ?? []).map(({ message }) => `Refused with: ${message}.`);

const isEmpty = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && Object.keys(value).length === 0;

const code = (text: string): string => `\`${text}\``;

function table(header: readonly string[], rows: readonly (readonly string[])[]): readonly string[] {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(header), line(header.map(() => '---')), ...rows.map(line), ''];
}
