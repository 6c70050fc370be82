import { describe, expect, test } from '@jest/globals';
import { objectSchema } from '../../../scripts/generate/crd.ts';
import { kinds } from '../../../scripts/generate/kinds.ts';
import type { OpenApi } from '../../../scripts/generate/structural.ts';

/** Every schema below this one, with the path that it has in the object. */
function below(path: string, schema: OpenApi): readonly (readonly [path: string, schema: OpenApi])[] {
  return [
    [path, schema],
    ...Object.entries(schema.properties ?? {}).flatMap(([name, field]) => below(`${path}.${name}`, field)),
    ...(schema.items ? below(`${path}[]`, schema.items) : []),
    ...(schema.additionalProperties ? below(`${path}.*`, schema.additionalProperties) : []),
  ];
}

describe.each(kinds.map((kind) => [kind.kind, kind] as const))('the schema of %s', (_name, kind) => {
  const { metadata: _metadata, ...properties } = objectSchema(kind).properties ?? {};
  const all = Object.entries(properties).flatMap(([name, schema]) => below(name, schema));
  const pathsWhere = (matches: (schema: OpenApi) => boolean): readonly string[] =>
    all.filter(([, schema]) => matches(schema)).map(([path]) => path);

  test('describes every field', () => {
    const named = all.filter(([path]) => !path.endsWith('[]') && !path.endsWith('.*'));
    expect(named.filter(([, { description }]) => !/[.?]$/.test(description ?? '')).map(([path]) => path)).toEqual([
      'apiVersion',
    ]);
  });

  test('bounds every text, list and map of the spec, since rules cost as much as they may be long', () => {
    const bounded = (schema: OpenApi): boolean => {
      if (schema.type === 'string') return schema.maxLength !== undefined || schema.enum !== undefined;
      if (schema.type === 'array') return schema.maxItems !== undefined;
      return schema.additionalProperties === undefined || schema.maxProperties !== undefined;
    };
    expect(pathsWhere((schema) => !bounded(schema)).filter((path) => path.startsWith('spec'))).toEqual([]);
  });

  test('says of every field what it is', () => {
    const typed = (schema: OpenApi): boolean =>
      schema.type !== undefined || schema['x-kubernetes-int-or-string'] === true;
    expect(pathsWhere((schema) => !typed(schema))).toEqual([]);
  });
});
