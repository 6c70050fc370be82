import { stalled } from '../../rollback/errors.ts';
import type { DatabaseProperties } from '../../rollback/model.ts';
import { shortName } from '../../rollback/set-up.ts';
import { quoteName, quoteText } from './identifiers.ts';
import type { Statements } from './session.ts';

/** Settings whose value is a list of quoted names (GUC_LIST_QUOTE): given back as one string they would become one name. */
const quotedLists = new Set([
  'local_preload_libraries',
  'search_path',
  'session_preload_libraries',
  'shared_preload_libraries',
  'temp_tablespaces',
  'unix_socket_directories',
]);

/** Stands for the quoted name in `DatabaseProperties.statements`. */
const placeholder = '%DATABASE%';

interface Row {
  readonly owner: string;
  readonly encoding: string;
  readonly collate: string;
  readonly ctype: string;
  readonly provider: string;
  readonly locale: string | null;
  readonly icu_rules: string | null;
  readonly tablespace: string;
  readonly connection_limit: number;
  readonly comment: string | null;
  readonly template: boolean;
  readonly grants:
    readonly { readonly grantee: string | null; readonly privilege: string; readonly grantable: boolean }[] | null;
  readonly settings: readonly { readonly role: string | null; readonly setting: string }[];
}

/** What a dump of the database does not carry of it: of the session's own, or of the one of that name. */
export async function readProperties(
  session: Statements,
  major: number,
  database: string | null = null,
): Promise<DatabaseProperties> {
  // datlocale was called daticulocale before 17; daticurules came with 16.
  const locale = major >= 17 ? 'd.datlocale' : 'd.daticulocale';
  const [row] = await session.rows<Row>(
    "Reading the database's properties",
    `SELECT pg_get_userbyid(d.datdba) AS owner, pg_encoding_to_char(d.encoding) AS encoding, d.datcollate AS collate, d.datctype AS ctype,
       d.datlocprovider AS provider, ${locale} AS locale, ${major >= 16 ? 'd.daticurules' : 'NULL::text'} AS icu_rules, t.spcname AS tablespace,
       d.datconnlimit AS connection_limit, shobj_description(d.oid, 'pg_database') AS comment, d.datistemplate AS template,
       CASE WHEN d.datacl IS NOT NULL THEN (
         SELECT coalesce(json_agg(json_build_object('grantee', r.rolname, 'privilege', a.privilege_type, 'grantable', a.is_grantable)
                         ORDER BY r.rolname NULLS FIRST, a.privilege_type), '[]')
         FROM aclexplode(d.datacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee) END AS grants,
       (SELECT coalesce(json_agg(json_build_object('role', r.rolname, 'setting', c.setting) ORDER BY r.rolname NULLS FIRST, c.place), '[]')
        FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole, unnest(s.setconfig) WITH ORDINALITY AS c (setting, place)
        WHERE s.setdatabase = d.oid) AS settings
     FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace
     WHERE d.datname = coalesce($1, current_database())`,
    [database],
  );
  if (!row)
    throw stalled(
      'InternalError',
      `${session.subject.where} does not find ${database ?? 'itself'} in pg_database. Read the server's log.`,
    );
  return {
    owner: row.owner,
    encoding: row.encoding,
    collate: row.collate,
    ctype: row.ctype,
    localeProvider: row.provider === 'i' || row.provider === 'b' ? row.provider : 'c',
    icuLocale: row.locale,
    icuRules: row.icu_rules,
    tablespace: row.tablespace,
    connectionLimit: row.connection_limit,
    comment: row.comment,
    statements: [
      ...grantStatements(row),
      ...row.settings.map(({ role, setting }) => settingStatement(role, setting)),
      ...(row.template ? [`ALTER DATABASE ${placeholder} IS_TEMPLATE true`] : []),
    ],
  };
}

function grantStatements({ grants, owner }: Row): readonly string[] {
  // NULL means the default, which a new database has too.
  if (grants === null) return [];
  return [
    `REVOKE ALL ON DATABASE ${placeholder} FROM PUBLIC, ${quoteName(owner)}`,
    ...grants.map(
      ({ grantee, privilege, grantable }) =>
        `GRANT ${privilege} ON DATABASE ${placeholder} TO ${grantee === null ? 'PUBLIC' : quoteName(grantee)}${grantable && grantee !== owner ? ' WITH GRANT OPTION' : ''}`,
    ),
  ];
}

function settingStatement(role: string | null, setting: string): string {
  const at = setting.indexOf('=');
  const name = setting.slice(0, at);
  const value = setting.slice(at + 1);
  const list = quotedLists.has(name.toLowerCase())
    ? splitQuotedList(value).map(quoteText).join(', ')
    : quoteText(value);
  const whose =
    role === null ? `ALTER DATABASE ${placeholder}` : `ALTER ROLE ${quoteName(role)} IN DATABASE ${placeholder}`;
  // A name of an extension's setting has dots between its parts.
  return `${whose} SET ${name.split('.').map(quoteName).join('.')} TO ${list === '' ? "''" : list}`;
}

/** `"$user", public` → its elements without their quotes. */
export function splitQuotedList(value: string): readonly string[] {
  return [...value.matchAll(/\s*(?:"((?:[^"]|"")*)"|([^,"\s]+))\s*(?:,|$)/g)].map(
    ([, quoted, plain]) => quoted?.replaceAll('""', '"') ?? plain ?? '',
  );
}

/** Each statement that names a role, up to the role, and the role as it is quoted. */
const naming = new RegExp(
  `^(GRANT \\w+ ON DATABASE ${placeholder} TO |REVOKE ALL ON DATABASE ${placeholder} FROM PUBLIC, |ALTER ROLE )("(?:[^"]|"")+")`,
);

/** The roles that `CREATE DATABASE` and the statements after it would name. */
export function namedRoles({ owner, statements }: DatabaseProperties): readonly string[] {
  const quoted = statements.flatMap((statement) => naming.exec(statement)?.[2] ?? []);
  return [...new Set([owner, ...quoted.map((name) => name.slice(1, -1).replaceAll('""', '"'))])];
}

/** Without what names roles that are `gone`. Where the owner is one, `owner` is it instead, with the rights that it had. */
export function withoutRoles(
  properties: DatabaseProperties,
  gone: ReadonlySet<string>,
  owner: string,
): DatabaseProperties {
  const quoted = new Set([...gone].map(quoteName));
  const isOwners = (start: string, role: string): boolean =>
    role === quoteName(properties.owner) && start !== 'ALTER ROLE ';
  return {
    ...properties,
    owner: gone.has(properties.owner) ? owner : properties.owner,
    statements: properties.statements.flatMap((statement) => {
      const [, start = '', role = ''] = naming.exec(statement) ?? [];
      if (!quoted.has(role)) return [statement];
      return isOwners(start, role) ? [start + quoteName(owner) + statement.slice(start.length + role.length)] : [];
    }),
  };
}

/** `CREATE DATABASE` and what has to follow it at once, statement by statement (it can't be in a transaction). */
export function creationStatements(
  database: { readonly name: string; readonly oid: number },
  properties: DatabaseProperties,
  major: number,
): readonly CreationStatement[] {
  const name = quoteName(database.name);
  const locale = localeClauses(properties, major);
  const create =
    `CREATE DATABASE ${name} OID = ${database.oid} TEMPLATE = template0 OWNER = ${quoteName(properties.owner)} ` +
    `ENCODING = ${quoteText(properties.encoding)} LC_COLLATE = ${quoteText(properties.collate)} LC_CTYPE = ${quoteText(properties.ctype)}${locale}` +
    `${properties.tablespace === 'pg_default' ? '' : ` TABLESPACE = ${quoteName(properties.tablespace)}`} CONNECTION LIMIT = ${properties.connectionLimit}`;
  return [{ sql: create, setting: null }, ...settingUpStatements(database.name, properties)];
}

/** What follows the creation: rights, settings and the comment. */
export function settingUpStatements(
  database: string,
  { statements, comment }: Pick<DatabaseProperties, 'statements' | 'comment'>,
): readonly CreationStatement[] {
  const name = quoteName(database);
  return [
    ...statements.map((statement) => ({
      sql: statement.replaceAll(placeholder, () => name),
      setting: / SET /.test(statement) ? shortName(statement) : null,
    })),
    ...(comment === null ? [] : [{ sql: `COMMENT ON DATABASE ${name} IS ${quoteText(comment)}`, setting: null }]),
  ];
}

export interface CreationStatement {
  readonly sql: string;
  /** What it sets, without the value: `ALTER DATABASE SET "work_mem"`; null: it is no setting. */
  readonly setting: string | null;
}

function localeClauses({ localeProvider, icuLocale, icuRules }: DatabaseProperties, major: number): string {
  switch (localeProvider) {
    case 'c':
      return ' LOCALE_PROVIDER = libc';
    case 'i':
      return ` LOCALE_PROVIDER = icu ICU_LOCALE = ${quoteText(icuLocale ?? 'und')}${icuRules === null || major < 16 ? '' : ` ICU_RULES = ${quoteText(icuRules)}`}`;
    case 'b':
      return ` LOCALE_PROVIDER = builtin BUILTIN_LOCALE = ${quoteText(icuLocale ?? 'C')}`;
  }
}
