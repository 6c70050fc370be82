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

/** Text of bounded length: without a bound, the API server refuses the rules around it as too costly. */
export const text = (maxLength: number, description: string): z.ZodString =>
  z.string().min(1).max(maxLength).describe(description);

/** A path in a file system: anything but NUL. */
export const path = (description: string): z.ZodString => z.string().min(1).max(1024).regex(/^[^\0]+$/).describe(description);
