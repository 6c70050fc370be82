import { Client } from 'pg';

/** What the demo itself reads from a database, so that it need not believe what it shows. */
export interface Facts {
  /** The version table's, comma-joined. */
  readonly revision: string;
  /** By table. */
  readonly rows: Readonly<Record<string, number>>;
  /** Over all rows, whatever their order. */
  readonly content: string;
  /** Names and types of columns, names of constraints and indexes; without anything that a restore renders anew. */
  readonly schema: readonly string[];
}

const SCHEMA = `
  SELECT format('column %s.%s %s', table_name, column_name, data_type) AS fact
    FROM information_schema.columns WHERE table_schema = 'public'
  UNION ALL SELECT format('constraint %s %s', conrelid::regclass, conname) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace
  UNION ALL SELECT format('index %s', indexname) FROM pg_indexes WHERE schemaname = 'public'
  ORDER BY fact`;

/** Reads all of it over one connection. */
export async function readFacts(url: string): Promise<Facts> {
  const client = new Client({ connectionString: url });
  await client.connect();
  const texts = async (sql: string): Promise<string[]> => {
    const { rows } = await client.query<[string]>({ text: sql, rowMode: 'array' });
    return rows.map(([text]) => text);
  };
  try {
    const rows: Record<string, number> = {};
    const sums: string[] = [];
    for (const table of await texts(
      `SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version' ORDER BY 1`,
    )) {
      const name = client.escapeIdentifier(table);
      const [count = ''] = await texts(`SELECT count(*)::text FROM public.${name}`);
      const [sum = ''] = await texts(
        `SELECT coalesce(sum(hashtextextended(r::text, 0)), 0)::text FROM public.${name} AS r`,
      );
      rows[table] = Number(count);
      sums.push(`${table} ${sum}`);
    }
    return {
      revision: (await texts('SELECT version_num FROM public.alembic_version ORDER BY 1')).join(','),
      rows,
      content: sums.join('\n'),
      schema: await texts(SCHEMA),
    };
  } finally {
    await client.end();
  }
}

/** Names of all databases but the server's own. */
export async function databaseNames(url: string): Promise<string[]> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query<{ datname: string }>(
      `SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres' ORDER BY 1`,
    );
    return rows.map((row) => row.datname);
  } finally {
    await client.end();
  }
}
