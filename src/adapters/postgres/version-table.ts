import type { VersionTable } from '../../rollback/model.ts';
import { qualified, quoteName, quoteText } from './identifiers.ts';
import type { Statements } from './session.ts';

export interface TableName {
  readonly schema: string;
  readonly name: string;
}

/** The ids in a version table that is known to be there, sorted. */
export async function readRevisions(session: Statements, table: TableName): Promise<readonly string[]> {
  const rows = await session.rows<{ version_num: string }>(
    'Reading the version table',
    `SELECT version_num::text AS version_num FROM ${qualified(table.schema, table.name)} WHERE version_num IS NOT NULL ORDER BY 1`,
  );
  return rows.map((row) => row.version_num);
}

export async function readVersionTable(session: Statements, table: TableName): Promise<VersionTable> {
  const [found] = await session.rows<{ present: boolean }>(
    'Looking for the version table',
    `SELECT EXISTS (
       SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
       JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'version_num' AND NOT a.attisdropped
       WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')) AS present`,
    [table.schema, table.name],
  );
  return found?.present ? { kind: 'present', revisions: await readRevisions(session, table) } : { kind: 'missing' };
}

/** What alembic itself would have written: its column, its key's name. The table is made where it is missing. */
export function stampStatements(table: TableName, revisions: readonly string[], owner: string): string {
  const name = qualified(table.schema, table.name);
  const key = quoteName(`${table.name}_pkc`);
  return [
    'BEGIN',
    'SET LOCAL client_min_messages = warning',
    `CREATE SCHEMA IF NOT EXISTS ${quoteName(table.schema)} AUTHORIZATION ${quoteName(owner)}`,
    `CREATE TABLE IF NOT EXISTS ${name} (version_num varchar(32) NOT NULL, CONSTRAINT ${key} PRIMARY KEY (version_num))`,
    `ALTER TABLE ${name} OWNER TO ${quoteName(owner)}`,
    `DELETE FROM ${name}`,
    ...(revisions.length === 0 ? [] : [`INSERT INTO ${name} (version_num) VALUES ${revisions.map((id) => `(${quoteText(id)})`).join(', ')}`]),
    'COMMIT',
  ].join(';\n');
}
