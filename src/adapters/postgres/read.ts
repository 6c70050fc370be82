import { stalled } from '../../rollback/errors.ts';
import type { Blocker, DatabaseState, VersionTable } from '../../rollback/model.ts';
import type { Session, Statements } from './session.ts';
import { readRevisions } from './version-table.ts';
import type { TableName } from './version-table.ts';

interface Row extends Record<string, unknown> {
  readonly system_identifier: string;
  readonly database: string;
  readonly oid: string;
  readonly size: string;
  readonly role: string;
  readonly createdb: boolean;
  readonly superuser: boolean;
  readonly owner: string;
  readonly owns: boolean;
  readonly in_recovery: boolean;
  readonly read_only: boolean;
  readonly declared: { readonly kind: string; readonly column: string | null; readonly readable: boolean } | null;
  readonly version_tables: readonly string[];
  readonly has_objects: boolean;
  readonly unreadable: readonly string[];
  readonly hidden: readonly string[];
  readonly prepared: readonly string[];
  readonly slots: readonly string[];
  readonly subscriptions: readonly string[];
}

const system = `nspname NOT IN ('pg_catalog', 'information_schema') AND nspname !~ '^pg_(toast|temp_)'`;

/** A member of an extension comes and goes with it. */
const ownObject = (catalogue: string, oid: string): string =>
  `NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = '${catalogue}'::regclass AND e.objid = ${oid} AND e.deptype = 'e')`;

/** Everything at once: $1 and $2 are the declared version table's schema and name. */
const stateQuery = `
  SELECT (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier,
    d.datname AS database, d.oid::text AS oid, pg_database_size(d.oid)::text AS size,
    current_user AS role, r.rolcreatedb AS createdb, r.rolsuper AS superuser,
    pg_get_userbyid(d.datdba) AS owner, pg_has_role(d.datdba, 'USAGE') AS owns,
    pg_is_in_recovery() AS in_recovery, current_setting('default_transaction_read_only')::bool AS read_only,
    (SELECT json_build_object('kind', c.relkind, 'column', format_type(a.atttypid, NULL),
              'readable', has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'))
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'version_num' AND NOT a.attisdropped
     WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind NOT IN ('i', 'I', 't', 'c')) AS declared,
    ARRAY(SELECT format('%s.%s', n.nspname, c.relname)
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE ${system} AND c.relkind IN ('r', 'p')
       AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                   HAVING count(*) = 1 AND bool_and(a.attname = 'version_num' AND a.atttypid IN ('varchar'::regtype, 'text'::regtype)))
     ORDER BY 1) AS version_tables,
    EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE ${system} AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND NOT (n.nspname = $1 AND c.relname = $2) AND ${ownObject('pg_class', 'c.oid')})
    OR EXISTS (SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE ${system} AND ${ownObject('pg_proc', 'p.oid')}) AS has_objects,
    ARRAY(SELECT format('%I.%I', n.nspname, c.relname)
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE ${system} AND c.relkind IN ('r', 'p', 'm', 'S')
       AND NOT (has_schema_privilege(n.oid, 'USAGE')
                AND CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT') ELSE has_table_privilege(c.oid, 'SELECT') END)
     ORDER BY 1 LIMIT 6) AS unreadable,
    ARRAY(SELECT format('%I.%I', n.nspname, c.relname)
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE ${system} AND c.relrowsecurity AND row_security_active(c.oid) ORDER BY 1 LIMIT 6) AS hidden,
    ARRAY(SELECT gid FROM pg_prepared_xacts p WHERE p.database = d.datname ORDER BY 1) AS prepared,
    ARRAY(SELECT slot_name::text FROM pg_replication_slots s WHERE s.database = d.datname ORDER BY 1) AS slots,
    ARRAY(SELECT subname::text FROM pg_subscription s WHERE s.subdbid = d.oid ORDER BY 1) AS subscriptions
  FROM pg_database d, pg_roles r
  WHERE d.datname = current_database() AND r.rolname = current_user`;

/** Reads all that an operation has to know, over one session and in one read-only snapshot. Writes nothing. */
export async function readState(session: Session, table: TableName): Promise<DatabaseState> {
  return session.transaction('ISOLATION LEVEL REPEATABLE READ, READ ONLY', async (snapshot) => {
    const [row] = await snapshot.rows<Row>('Reading the database', stateQuery, [table.schema, table.name]);
    if (!row)
      throw stalled(
        'InternalError',
        `${session.subject.where} does not find itself in pg_database. Read the server's log.`,
      );
    const declared = await readDeclared(snapshot, row, table);
    return {
      identity: { systemIdentifier: row.system_identifier, name: row.database, oid: Number(row.oid) },
      server: session.server,
      versionTable: declared,
      versionTables: [
        ...new Set([...row.version_tables, ...(declared.kind === 'present' ? [`${table.schema}.${table.name}`] : [])]),
      ].sort(),
      empty: !row.has_objects,
      role: { name: row.role, createDatabase: row.createdb || row.superuser, superuser: row.superuser },
      blockers: blockersOf(row, table),
      sizeBytes: Number(row.size),
    };
  });
}

const tableKinds = new Set(['r', 'p']);
const textTypes = new Set(['character varying', 'text', 'character']);

const isVersionTable = (declared: NonNullable<Row['declared']>): boolean =>
  tableKinds.has(declared.kind) && declared.column !== null && textTypes.has(declared.column);

async function readDeclared(snapshot: Statements, { declared, role }: Row, table: TableName): Promise<VersionTable> {
  if (declared === null || !isVersionTable(declared)) return { kind: 'missing' };
  if (!declared.readable) {
    throw stalled(
      'PermissionDenied',
      `Role "${role}" may not read the version table ${table.schema}.${table.name}: GRANT SELECT ON ${table.schema}.${table.name} TO "${role}"`,
    );
  }
  return { kind: 'present', revisions: await readRevisions(snapshot, table) };
}

/** At most five of them by name. */
const some = (names: readonly string[]): string => names.slice(0, 5).join(', ') + (names.length > 5 ? ' and more' : '');

function blockersOf(row: Row, table: TableName): readonly Blocker[] {
  const { declared } = row;
  const found: (Blocker | false)[] = [
    row.in_recovery && {
      reason: 'DatabaseReadOnly',
      blocks: 'change',
      message: `The server of "${row.database}" is a read replica (pg_is_in_recovery() is true). Put the primary's host into spec.database.urlFrom.`,
    },
    row.read_only && {
      reason: 'DatabaseReadOnly',
      blocks: 'change',
      message: `default_transaction_read_only is on for role "${row.role}" in "${row.database}". Where that is not meant: ALTER DATABASE "${row.database}" RESET default_transaction_read_only (or ALTER ROLE, or postgresql.conf).`,
    },
    declared !== null &&
      !isVersionTable(declared) && {
        reason: 'VersionTableMissing',
        blocks: 'change',
        message: `${table.schema}.${table.name} is not alembic's version table (it is no table, or has no text column version_num). Correct spec.database.versionTable and versionTableSchema.`,
      },
    row.hidden.length > 0 && {
      reason: 'RowsHidden',
      blocks: 'change',
      message: `Row-level security hides rows of ${some(row.hidden)} from role "${row.role}", so no backup would be whole. Give spec.database.adminUrlFrom the URL of a superuser, or of a role with: ALTER ROLE … BYPASSRLS`,
    },
    row.unreadable.length > 0 && {
      reason: 'PermissionDenied',
      blocks: 'change',
      message: `Role "${row.role}" may not read ${some(row.unreadable)}, so no backup would be whole. GRANT SELECT (and USAGE on the schema), or give spec.database.adminUrlFrom the URL of a role that may.`,
    },
    !row.owns && {
      reason: 'PermissionDenied',
      blocks: 'restore',
      message: `Role "${row.role}" is neither the owner of "${row.database}" ("${row.owner}") nor a member of it, so it may not rename it. Give spec.database.adminUrlFrom the URL of a superuser, or: ALTER DATABASE "${row.database}" OWNER TO "${row.role}"`,
    },
    !(row.createdb || row.superuser) && {
      reason: 'PermissionDenied',
      blocks: 'restore',
      message: `Role "${row.role}" may not create databases, and a restore goes into a new one: ALTER ROLE "${row.role}" CREATEDB; or give spec.database.adminUrlFrom the URL of a role that may.`,
    },
    row.prepared.length > 0 && {
      reason: 'SwapBlocked',
      blocks: 'restore',
      message: `Prepared transactions are open in "${row.database}": ${some(row.prepared)}. End each: COMMIT PREPARED '…' or ROLLBACK PREPARED '…'`,
    },
    row.slots.length > 0 && {
      reason: 'SwapBlocked',
      blocks: 'restore',
      message: `Logical replication slots read "${row.database}": ${some(row.slots)}. A restored database would not have them: drop each (SELECT pg_drop_replication_slot('…')) and set the replication up again afterwards.`,
    },
    row.subscriptions.length > 0 && {
      reason: 'SwapBlocked',
      blocks: 'restore',
      message: `"${row.database}" subscribes to ${some(row.subscriptions)}. A restored database would not go on where it was: DROP SUBSCRIPTION, and set it up again afterwards.`,
    },
  ];
  return found.filter((blocker) => blocker !== false);
}
