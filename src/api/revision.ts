import * as z from 'zod';
import { withRules, type Rule } from './schema.ts';

/** An absolute revision id as alembic's version table can hold it, or `base`. */
const pattern = /^[A-Za-z0-9_.]{1,32}$/;

const absolute = 'write the absolute id of a revision as the migration file has it ("alembic history" lists them)';

const startsRelative = (value: string): boolean => /^[-+]/.test(value);
const hasRange = (value: string): boolean => value.includes(':');
const hasLabel = (value: string): boolean => value.includes('@');
const isHead = (value: string): boolean => /^heads?$/.test(value);

/** At most one of them fails, so that people read the one sentence that helps. `whenText`: for a value that may be no text. */
const rulesOfText = (whenText: string): readonly Rule<string>[] => [
  {
    message: `the revision is empty: ${absolute}, or "base" for the state before the first migration`,
    holds: (value) => value !== '',
    cel: `${whenText}self != ''`,
  },
  {
    message: `a revision cannot begin with "-" or "+", since a relative one such as -1 means something else each time it is read: ${absolute}`,
    holds: (value) => !startsRelative(value),
    cel: `${whenText}!self.matches('^[-+]')`,
  },
  {
    message: `"head" means something else after the next commit: ${absolute}`,
    holds: (value) => !isHead(value),
    cel: `${whenText}!(self in ['head', 'heads'])`,
  },
  {
    message: `a range such as a:b is not a state of the database: ${absolute}, the one to end at`,
    holds: (value) => startsRelative(value) || !hasRange(value),
    cel: `${whenText}self.matches('^[-+]') || !self.contains(':')`,
  },
  {
    message: `a branch label such as label@head can move: ${absolute}; for several heads: revisions: ["a", "b"]`,
    holds: (value) => startsRelative(value) || hasRange(value) || !hasLabel(value),
    cel: `${whenText}self.matches('^[-+]') || self.contains(':') || !self.contains('@')`,
  },
  {
    message: `not a revision id: ${absolute}; 1 to 32 letters, digits, "_" and "."`,
    holds: (value) =>
      value === '' || startsRelative(value) || hasRange(value) || hasLabel(value) || pattern.test(value),
    cel: `${whenText}self == '' || self.matches('^[-+]') || self.contains(':') || self.contains('@') || self.matches('^[A-Za-z0-9_.]{1,32}$')`,
  },
];

export const quoteIt =
  'write the revision in quotes, e.g. revision: "0123": YAML reads unquoted digits as a number, and leading zeros are lost';

/** One of several heads. */
export const headRevision = withRules(z.string().meta({ maxLength: 32 }), [
  ...rulesOfText(''),
  {
    message: '"base" is the state without any revision: write revision: "base" instead of a list',
    holds: (value) => value !== 'base',
    cel: "self != 'base'",
  },
]).describe('The absolute id of a revision.');

/** `spec.revision`. Kubernetes is told to let a number through, so that a rule can say what to write instead. */
export const revision = withRules(z.string(), rulesOfText('type(self) != string || '))
  .describe(
    'A string, always in quotes: the alembic revision that the database should be at, its absolute id as the migration file has it; or "base", the state before the first migration. An older revision than the current one is a downgrade.',
  )
  .meta({
    override: {
      'x-kubernetes-int-or-string': true,
      pattern: pattern.source,
      'x-kubernetes-validations': [
        { rule: 'type(self) == string', message: quoteIt },
        ...rulesOfText('type(self) != string || ').map(({ cel, message }) => ({ rule: cel, message })),
      ],
    },
  });
