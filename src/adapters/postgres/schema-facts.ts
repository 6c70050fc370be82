import { createHash } from 'node:crypto';
import type { SchemaFacts } from '../../rollback/model.ts';
import { schemaFactsQuery } from './schema-facts.sql.ts';
import type { Statements } from './session.ts';
import type { TableName } from './version-table.ts';

/** The schema of the session's database, without the declared version table. */
export async function readSchemaFacts(
  session: Statements,
  major: number,
  versionTable: TableName,
): Promise<SchemaFacts> {
  const rows = await session.rows<{ line: string }>('Reading the schema', schemaFactsQuery(major), [
    versionTable.schema,
    versionTable.name,
  ]);
  // Sorted here: the server's order depends on its collation.
  const lines = rows
    .map(({ line }) => line.replaceAll('\\', '\\\\').replaceAll('\r', '\\r').replaceAll('\n', '\\n'))
    .sort();
  return { major, lines, digest: createHash('sha256').update(lines.join('\n')).digest('hex') };
}
