/** How a database is set up, apart from what is in it (docs/adr/0008-a-restored-database-is-set-up-as-the-live-one.md). Pure. */
import type { DatabaseProperties } from './model.ts';

/** How many differences a note tells. */
const mostTold = 10;

/** A database for the content of a backup, set up as the present one is; what the content was written with stays. */
export function setUpAs(present: DatabaseProperties, backup: DatabaseProperties): DatabaseProperties {
  const { encoding, collate, ctype, localeProvider, icuLocale, icuRules } = backup;
  return { ...present, encoding, collate, ctype, localeProvider, icuLocale, icuRules };
}

/** In what the present set-up differs from the backup's, as part of a sentence; null: in nothing. */
export function describeSetUp(present: DatabaseProperties, backup: DatabaseProperties): string | null {
  const compared = (what: string, before: string | number, now: string | number): readonly string[] =>
    before === now ? [] : [`${what} (${before} in the backup, ${now} now)`];
  const [before, now] = [byName(backup.statements), byName(present.statements)];
  const differences = [
    ...compared('the owner', backup.owner, present.owner),
    ...compared('the tablespace', backup.tablespace, present.tablespace),
    ...compared('the connection limit', backup.connectionLimit, present.connectionLimit),
    ...(backup.comment === present.comment ? [] : ['the comment']),
    ...[...new Set([...before.keys(), ...now.keys()])]
      .filter((name) => before.get(name) !== now.get(name))
      .map(
        (name) =>
          `${name} (${!now.has(name) ? 'only in the backup' : before.has(name) ? 'another value' : 'only now'})`,
      ),
  ];
  if (differences.length === 0) return null;
  const more = differences.length > mostTold ? `; and ${differences.length - mostTold} more` : '';
  return `${differences.slice(0, mostTold).join('; ')}${more}`;
}

const byName = (statements: readonly string[]): ReadonlyMap<string, string> =>
  new Map(statements.map((statement) => [shortName(statement), statement]));

/** `GRANT CONNECT TO "reader"`, `ALTER DATABASE SET "search_path"`: without the value of a setting, which can be a secret. */
export function shortName(statement: string): string {
  const short = statement.replace(/ (ON|IN) DATABASE %DATABASE%/, '').replace(' %DATABASE%', '');
  return short.startsWith('ALTER ') ? (short.split(' TO ')[0] ?? '') : short;
}
