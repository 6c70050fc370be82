import { stalled } from '../../rollback/errors.ts';
import type { DatabaseProperties } from '../../rollback/model.ts';
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

/** What a dump of the database does not carry of it, from the session's own database. */
export async function readProperties(session: Statements, major: number): Promise<DatabaseProperties> {
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
     WHERE d.datname = current_database()`,
  );
  if (!row)
    throw stalled(
      'InternalError',
      `${session.subject.where} does not find itself in pg_database. Read the server's log.`,
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

/** `CREATE DATABASE` and what has to follow it at once, statement by statement (it can't be in a transaction). */
export function creationStatements(
  database: { readonly name: string; readonly oid: number },
  properties: DatabaseProperties,
  major: number,
): readonly string[] {
  const name = quoteName(database.name);
  const locale = localeClauses(properties, major);
  return [
    `CREATE DATABASE ${name} OID = ${database.oid} TEMPLATE = template0 OWNER = ${quoteName(properties.owner)} ` +
      `ENCODING = ${quoteText(properties.encoding)} LC_COLLATE = ${quoteText(properties.collate)} LC_CTYPE = ${quoteText(properties.ctype)}${locale}` +
      `${properties.tablespace === 'pg_default' ? '' : ` TABLESPACE = ${quoteName(properties.tablespace)}`} CONNECTION LIMIT = ${properties.connectionLimit}`,
    ...properties.statements.map((statement) => statement.replaceAll(placeholder, () => name)),
    ...(properties.comment === null ? [] : [`COMMENT ON DATABASE ${name} IS ${quoteText(properties.comment)}`]),
  ];
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
