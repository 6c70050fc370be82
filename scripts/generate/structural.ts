/** From zod to what Kubernetes calls a structural schema. */
import * as z from 'zod';

/** The part of OpenAPI 3.0 that the API uses. */
export interface OpenApi {
  readonly type?: 'object' | 'array' | 'string' | 'integer' | 'number' | 'boolean';
  readonly description?: string;
  readonly default?: unknown;
  readonly nullable?: true;
  readonly enum?: readonly string[];
  readonly pattern?: string;
  readonly format?: string;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly maxProperties?: number;
  readonly required?: readonly string[];
  readonly properties?: Readonly<Record<string, OpenApi>>;
  readonly additionalProperties?: OpenApi;
  readonly items?: OpenApi;
  readonly 'x-kubernetes-int-or-string'?: true;
  readonly 'x-kubernetes-preserve-unknown-fields'?: true;
  readonly 'x-kubernetes-validations'?: readonly { readonly rule: string; readonly message: string }[];
}

/** The schema of what people write: before defaults are applied. */
export function structuralSchema(schema: z.ZodType): OpenApi {
  const generated = z.toJSONSchema(schema, {
    target: 'openapi-3.0',
    io: 'input',
    override: ({ jsonSchema }) => adapt(jsonSchema as Record<string, unknown>),
  });
  // The two only differ in their type: `adapt` has seen to it that the content is of this shape.
  return generated as unknown as OpenApi;
}

/** Takes out of one node, in place, what structural schemas do not know, and puts in what only they know. */
function adapt(node: Record<string, unknown>): void {
  for (const key of ['allOf', 'anyOf', 'oneOf', 'not', '$ref']) {
    if (key in node)
      throw new Error(`${JSON.stringify(node)} is not structural: write the schema in src/api without ${key}`);
  }
  const { override } = node;
  if (override !== undefined) {
    const { description } = node;
    for (const key of Object.keys(node)) delete node[key];
    Object.assign(node, { description }, override);
  }
  // The API server prunes unknown fields, and refuses them where the client asks for it, as kubectl does.
  const { properties } = node;
  if (node['type'] === 'object' && typeof properties === 'object' && properties !== null) {
    delete node['additionalProperties'];
    // An empty one the API server leaves out, and then the same file, applied again, is a change.
    if (Object.keys(properties).length === 0) delete node['properties'];
  }
  if (node['default'] === null) delete node['default'];
  if (node['type'] === 'integer') {
    node['format'] = 'int64';
    if (node['minimum'] === Number.MIN_SAFE_INTEGER) delete node['minimum'];
    if (node['maximum'] === Number.MAX_SAFE_INTEGER) delete node['maximum'];
  }
}

/** The same without defaults: what a controller writes is shown as it was written. */
export function withoutDefaults(schema: OpenApi): OpenApi {
  const { default: _default, ...rest } = schema;
  return {
    ...rest,
    ...(schema.items && { items: withoutDefaults(schema.items) }),
    ...(schema.properties && {
      properties: Object.fromEntries(
        Object.entries(schema.properties).map(([name, field]) => [name, withoutDefaults(field)]),
      ),
    }),
  };
}
