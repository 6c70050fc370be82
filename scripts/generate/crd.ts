/** A CustomResourceDefinition of a kind, as YAML. */
import { basename } from 'node:path';
import { stringify } from 'yaml';
import { group, version } from '../../src/api/group.ts';
import type { Kind } from './kinds.ts';
import { structuralSchema, withoutDefaults, type OpenApi } from './structural.ts';

export const crdFile = (kind: Kind): string => `crds/${group}_${kind.plural}.yaml`;
/** Spelt so that `kubectl apply -f crds/`, which reads every *.yaml, does not take it for an object. */
export const crdsFile = 'crds/Kustomization';

const header = '# Generated from src/api: change it there, then run: npm run generate\n';

/** All of them, for kustomize. */
export function crdsKustomization(kinds: readonly Kind[]): string {
  return (
    header +
    stringify({
      apiVersion: 'kustomize.config.k8s.io/v1beta1',
      kind: 'Kustomization',
      resources: kinds.map((kind) => basename(crdFile(kind))),
    })
  );
}

export function crdYaml(kind: Kind): string {
  const { columns, kind: kindName, plural, singular, shortNames } = kind;
  const definition = {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${group}` },
    spec: {
      group,
      names: {
        kind: kindName,
        listKind: `${kindName}List`,
        plural,
        singular,
        ...(shortNames.length > 0 && { shortNames }),
        categories: ['migration-target'],
      },
      scope: 'Namespaced',
      versions: [
        {
          name: version,
          served: true,
          storage: true,
          subresources: { status: {} },
          additionalPrinterColumns: columns.map(({ name, type, jsonPath, wide }) => ({
            name,
            type,
            jsonPath,
            ...(wide && { priority: 1 }),
          })),
          schema: { openAPIV3Schema: objectSchema(kind) },
        },
      ],
    },
  };
  return header + stringify(definition, { lineWidth: 120, aliasDuplicateObjects: false });
}

/** The whole object; Kubernetes itself knows what metadata may hold, but for the bounds of the name. */
export function objectSchema({ schema, statusDefault }: Kind): OpenApi {
  const whole = structuralSchema(schema);
  const { metadata, spec, status } = whole.properties ?? {};
  const name = metadata?.properties?.['name'];
  if (spec === undefined || status === undefined || name === undefined) {
    throw new Error('a kind needs metadata.name, spec and status: look at its schema in src/api');
  }
  const { nullable: _nullable, ...statusObject } = withoutDefaults(status);
  return {
    type: 'object',
    ...(whole.description !== undefined && { description: whole.description }),
    required: ['spec'],
    properties: {
      apiVersion: { type: 'string', description: `${group}/${version}` },
      kind: { type: 'string', description: 'The kind of the object.' },
      metadata: { type: 'object', properties: { name } },
      spec,
      status: { ...statusObject, ...(statusDefault && { default: statusDefault }) },
    },
  };
}
