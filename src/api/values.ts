import * as z from 'zod';
import { exactlyOne, path, withRules, type DeepReadonly } from './schema.ts';

/** Names of Secrets and their keys end up in paths of the directory home: no slash, no leading dot. */
export const secretName = z
  .string()
  .min(1)
  .max(253)
  .regex(/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/, 'write a name of lower-case letters, digits, "-" and "."');
export const secretKey = z
  .string()
  .min(1)
  .max(253)
  .regex(/^[-_A-Za-z0-9][-._A-Za-z0-9]*$/, 'write a key of letters, digits, "-", "_" and ".", not beginning with "."');

export const secretKeyRef = z
  .strictObject({
    name: secretName.describe('The name of the Secret. In the directory home: the folder DIR/secrets/NAME.'),
    key: secretKey.describe('The key in the Secret. In the directory home: the file DIR/secrets/NAME/KEY.'),
  })
  .describe('A key of a Secret in the namespace of the target. In the directory home: the file DIR/secrets/NAME/KEY.');

export const variableName = z
  .string()
  .min(1)
  .max(253)
  .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'write the name of a variable: letters, digits and "_"');

const sources = z.strictObject({
  secretKeyRef: secretKeyRef.optional(),
  file: path(
    'A file that the controller reads: an absolute path, or one relative to the folder that it was started in. Refused in a pod.',
  ).optional(),
  env: variableName.describe('A variable in the environment of the controller. Refused in a pod.').optional(),
});

/** Where a value that must not stand in the YAML comes from. One trailing newline is dropped. */
export const valueSource = withRules(sources, [
  exactlyOne(['secretKeyRef', 'file', 'env'], 'write exactly one of secretKeyRef, file and env'),
]);
export type ValueSource = DeepReadonly<z.output<typeof valueSource>>;

/** A variable of the environment that alembic runs in, as Kubernetes spells one. */
export const envVar = withRules(
  z.strictObject({
    name: variableName.describe('The name of the variable.'),
    value: z
      .string()
      .max(4096)
      .regex(/^[^\0]*$/, 'holds a NUL character: write it without')
      .describe('Its value, as it is: $(…) is not expanded.')
      .optional(),
    valueFrom: valueSource.describe('Where its value comes from, for what must not stand in the YAML.').optional(),
  }),
  [exactlyOne(['value', 'valueFrom'], 'write exactly one of value and valueFrom')],
);
export type EnvVar = DeepReadonly<z.output<typeof envVar>>;
