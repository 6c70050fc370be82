import type { VersionTable } from '../../rollback/model.ts';
import { qualified, quoteName } from './identifiers.ts';
import type { Session, Statements } from './session.ts';

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

/** Makes the table say exactly that; made as alembic itself would where it is missing, for `owner`. */
export async function stamp(
  session: Session,
  table: TableName,
  revisions: readonly string[],
  owner: string,
): Promise<void> {
  const name = qualified(table.schema, table.name);
  await session.transaction('', async (transaction) => {
    if ((await readVersionTable(transaction, table)).kind === 'missing') {
      const [schema] = await transaction.rows<{ present: boolean }>(
        'Looking for the schema',
        'SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1) AS present',
        [table.schema],
      );
      if (schema?.present !== true)
        await transaction.script(
          'Creating the schema',
          `CREATE SCHEMA ${quoteName(table.schema)} AUTHORIZATION ${quoteName(owner)}`,
        );
      await transaction.script(
        'Creating the version table',
        `CREATE TABLE ${name} (version_num varchar(32) NOT NULL, CONSTRAINT ${quoteName(`${table.name}_pkc`)} PRIMARY KEY (version_num));
         ALTER TABLE ${name} OWNER TO ${quoteName(owner)}`,
      );
    }
    await transaction.script('Stamping', `DELETE FROM ${name}`);
    await transaction.rows('Stamping', `INSERT INTO ${name} (version_num) SELECT unnest($1::text[])`, [revisions]);
  });
}
