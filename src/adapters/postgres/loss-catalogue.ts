import type { Statements } from './session.ts';
import type { TableName } from './version-table.ts';

export interface Column {
  /** `attnum`: a copy has the same, whatever the column is called by then. */
  readonly number: number;
  readonly name: string;
  /** The oid, as text. */
  readonly type: string;
  readonly typeModifier: number;
  readonly generated: boolean;
}

/** A table that may hold rows, or is made of partitions. */
export interface Relation {
  readonly oid: string;
  readonly schema: string;
  readonly name: string;
  /** `f`: a foreign table that is a partition; its rows are elsewhere. */
  readonly kind: 'r' | 'p' | 'f';
  /** The topmost partitioned table above it; itself where there is none. */
  readonly root: string;
  /** Whether its rows carry the place and transaction that a heap gives them. */
  readonly heap: boolean;
  readonly columns: readonly Column[];
  /** Numbers of the columns of each unique index that identifies every row, the best first. */
  readonly keys: readonly (readonly number[])[];
}

type ColumnRow = readonly [number, string, string, number, boolean];
type Row = Omit<Relation, 'columns' | 'keys'> & {
  readonly columns: readonly ColumnRow[] | null;
  readonly keys: readonly (readonly number[])[] | null;
};

/** Tables whose rows somebody put there: no views, nothing temporary, of the system's or of an extension's. */
const query = `
  WITH rel AS MATERIALIZED (
    SELECT c.*, n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE (c.relkind IN ('r', 'p') OR (c.relkind = 'f' AND c.relispartition)) AND c.relpersistence <> 't'
      AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_toast'
      AND NOT (n.nspname = $1 AND c.relname = $2)
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'))
  SELECT oid::text, nspname AS schema, relname AS name, relkind AS kind, relam = 2 AS heap,
    CASE WHEN relispartition THEN pg_partition_root(oid)::oid ELSE oid END::text AS root,
    (SELECT json_agg(json_build_array(attnum, attname, atttypid::text, atttypmod, attgenerated <> '') ORDER BY attnum)
     FROM pg_attribute WHERE attrelid = rel.oid AND attnum > 0 AND NOT attisdropped) AS columns,
    (SELECT json_agg((i.indkey::int2[])[0:i.indnkeyatts - 1] ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid::regclass::text)
     FROM pg_index i
     WHERE i.indrelid = rel.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
       AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = rel.oid AND NOT a.attnotnull
                         AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]))) AS keys
  FROM rel ORDER BY nspname, relname`;

export async function readRelations(session: Statements, versionTable: TableName): Promise<readonly Relation[]> {
  const rows = await session.rows<Row & Record<string, unknown>>('Reading the tables', query, [
    versionTable.schema,
    versionTable.name,
  ]);
  return rows.map(({ columns, keys, ...rest }) => ({
    ...rest,
    keys: keys ?? [],
    columns: (columns ?? []).map(([number, name, type, typeModifier, generated]) => ({
      number,
      name,
      type,
      typeModifier,
      generated,
    })),
  }));
}

/**
 * What types of the database's own render by, as one text: labels of enums, and attributes of the rows that are types of
 * columns. A change of these changes values whose rows nobody wrote to.
 */
export async function readTypeFacts(session: Statements): Promise<string> {
  const [row] = await session.rows<{ facts: string | null }>(
    'Reading the types',
    `WITH used AS MATERIALIZED (
       SELECT DISTINCT atttypid AS type FROM pg_attribute WHERE attrelid >= 16384 AND attnum > 0 AND atttypid >= 16384
       UNION SELECT typbasetype FROM pg_type WHERE oid >= 16384
       UNION SELECT typelem FROM pg_type WHERE oid >= 16384
         AND oid IN (SELECT atttypid FROM pg_attribute WHERE attrelid >= 16384 AND attnum > 0 UNION SELECT typbasetype FROM pg_type)
       UNION SELECT rngsubtype FROM pg_range WHERE rngtypid >= 16384),
     fact AS (
       SELECT format('%s %s %s', enumtypid, oid, enumlabel) AS line FROM pg_enum
       UNION ALL
       SELECT format('%s %s %s %s %s', a.attrelid, a.attnum, a.atttypid, a.atttypmod, a.attisdropped)
       FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
       WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND c.reltype IN (SELECT type FROM used))
     SELECT format('%s %s', count(*), sum(hashtextextended(line COLLATE "C", 0))) AS facts FROM fact`,
  );
  return row?.facts ?? '';
}
