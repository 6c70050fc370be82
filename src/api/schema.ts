/**
 * How the API is written once: a zod schema that also says what Kubernetes needs to know. A rule is a sentence with
 * two spellings, one that runs here and one (CEL) that runs in the API server, so that both refuse in the same words.
 */
import * as z from 'zod';

/** The same, all the way down, for values that nobody may change. */
export type DeepReadonly<T> = T extends (infer Item)[]
  ? readonly DeepReadonly<Item>[]
  : T extends object
    ? { readonly [Key in keyof T]: DeepReadonly<T[Key]> }
    : T;

/** What must hold of a value of type T, beyond its shape. */
export interface Rule<T> {
  /** Says what to write instead. */
  readonly message: string;
  readonly holds: (value: T) => boolean;
  /** The same in the API server's expression language; `self` is the value. */
  readonly cel: string;
}

/** The schema, held to the rules here and, through the generated CRD, in the API server. */
export function withRules<Schema extends z.ZodType>(schema: Schema, rules: readonly Rule<z.output<Schema>>[]): Schema {
  return schema
    .superRefine((value, context) => {
      for (const rule of rules) {
        if (!rule.holds(value)) context.addIssue({ code: 'custom', message: rule.message });
      }
    })
    .meta({ 'x-kubernetes-validations': rules.map(({ cel, message }) => ({ rule: cel, message })) });
}

/**
 * An object whose fields say which variant it is: exactly one of `names` is set. A union would be the natural
 * spelling, but Kubernetes' structural schemas know none.
 */
export function exactlyOne<T extends object>(names: readonly (keyof T & string)[], message: string): Rule<T> {
  return {
    message,
    holds: (value) => names.filter((name) => value[name] !== undefined).length === 1,
    cel: `[${names.map((name) => `has(self.${name})`).join(', ')}].filter(isSet, isSet).size() == 1`,
  };
}

/** Only the API server sees what an object was before, so this rule stands there alone. */
export const immutable = <Schema extends z.ZodType>(schema: Schema, message: string): Schema =>
  schema.meta({ 'x-kubernetes-validations': [{ rule: 'self == oldSelf', message }] });

/** A list that holds nothing twice. */
export const listSet = <Item extends z.ZodType<string>>(items: z.ZodArray<Item>): z.ZodArray<Item> =>
  withoutTwins(items, (item) => item).meta({ 'x-kubernetes-list-type': 'set' });

/** A list whose items are told apart by their `name`. */
export const listByName = <Item extends z.ZodType<{ name: string }>>(items: z.ZodArray<Item>): z.ZodArray<Item> =>
  withoutTwins(items, (item) => item.name).meta({
    'x-kubernetes-list-type': 'map',
    'x-kubernetes-list-map-keys': ['name'],
  });

/** The API server has this from the list's type, so there is no rule to spell twice. */
function withoutTwins<Item extends z.ZodType>(
  items: z.ZodArray<Item>,
  keyOf: (item: z.output<Item>) => string,
): z.ZodArray<Item> {
  return items.superRefine((list, context) => {
    const seen = new Set<string>();
    list.forEach((item, index) => {
      const key = keyOf(item);
      if (seen.has(key))
        context.addIssue({ code: 'custom', path: [index], message: `"${key}" stands here twice: write it once` });
      seen.add(key);
    });
  });
}

/**
 * Text of bounded length, without NUL, which neither PostgreSQL nor a file system can hold. Without a bound, the API
 * server would refuse the rules around it as too costly.
 */
export const text = (maxLength: number, description: string): z.ZodString =>
  z
    .string()
    .min(1)
    .max(maxLength)
    .regex(/^[^\0]+$/, 'holds a NUL character: write it without')
    .describe(description);

/** A path in a file system. */
export const path = (description: string): z.ZodString => text(1024, description);
