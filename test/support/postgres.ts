import { randomBytes } from 'node:crypto';

import pg from 'pg';

import { startPostgres } from '../../scripts/lib/embedded-postgres.ts';
import type { Major, PostgresServer } from '../../scripts/lib/embedded-postgres.ts';
import { inTurn, majors } from './majors.ts';
import { fromTestBed } from './testbed.ts';

export { inTurn, majors };
export type { Major, PostgresServer };

/** A server of the run, shared by all its tests. */
export interface TestServer {
  readonly major: Major;
  /** Has pg_dump, pg_restore, psql of that major. */
  readonly binDir: string;
  readonly dataDir: string;
  readonly logFile: string;
  readonly host: '127.0.0.1';
  readonly port: number;
  /** The superuser on the database `postgres`. */
  readonly adminUrl: string;
}

/** A database of one test's own, and its owner: an ordinary role. */
export interface TestDatabase extends AsyncDisposable {
  readonly server: TestServer;
  readonly name: string;
  readonly owner: string;
  readonly password: string;
  /** As the owner. */
  readonly url: string;
  /** The same database, as the superuser. */
  readonly adminUrl: string;
  /** The database `postgres`, as the owner. */
  readonly maintenanceUrl: string;
  /** Drops it, every other database of its owner's, and the owner. */
  drop(): Promise<void>;
}

export interface DatabaseOptions {
  /** Exactly this name; left out: a unique one. */
  readonly name?: string;
  /** Of the owner. */
  readonly password?: string;
  /** May the owner create databases? Default: yes. */
  readonly createdb?: boolean;
  /** Run as the owner. */
  readonly sql?: string;
  /** `admin`: the schema `public` belongs to the superuser, and the owner may only create in it. */
  readonly publicOwner?: 'admin' | 'owner';
}

/** The server of a major, started when first asked for. */
export async function testServer(major: Major): Promise<TestServer> {
  const { binDir, dataDir, logFile, host, port, superuserUrl } = await fromTestBed('postgres', major);
  return { major, binDir, dataDir, logFile, host, port, adminUrl: superuserUrl };
}

/** Makes a database and its owner on the server of a major. */
export async function createDatabase(major: Major, options: DatabaseOptions = {}): Promise<TestDatabase> {
  const server = await testServer(major);
  const id = randomBytes(5).toString('hex');
  const owner = `owner_${id}`;
  const name = options.name ?? `db_${id}`;
  const password = options.password ?? `secret-${id}`;
  await connected(server.adminUrl, async (admin) => {
    await admin.query(
      `CREATE ROLE ${owner} LOGIN PASSWORD ${pg.escapeLiteral(password)} ${options.createdb === false ? '' : 'CREATEDB'}`,
    );
    // Without the write-ahead log, for which nobody waits here: half of the work.
    await admin.query(
      `CREATE DATABASE ${pg.escapeIdentifier(name)} OWNER ${owner} TEMPLATE template0 STRATEGY file_copy`,
    );
  });
  const adminUrl = databaseUrl(server.adminUrl, { database: name });
  if (options.publicOwner === 'admin')
    await query(adminUrl, `ALTER SCHEMA public OWNER TO postgres; GRANT ALL ON SCHEMA public TO ${owner}`);
  const url = databaseUrl(adminUrl, { user: owner, password });
  if (options.sql !== undefined) await query(url, options.sql);
  const drop = () => dropDatabases(server, owner, name);
  return {
    server,
    name,
    owner,
    password,
    url,
    adminUrl,
    maintenanceUrl: databaseUrl(url, { database: 'postgres' }),
    drop,
    [Symbol.asyncDispose]: drop,
  };
}

async function dropDatabases(server: TestServer, owner: string, name: string): Promise<void> {
  await connected(server.adminUrl, async (admin) => {
    const databases = await admin.query<{ datname: string; hindered: boolean }>(
      `SELECT datname,
         EXISTS (SELECT FROM pg_prepared_xacts WHERE database = datname)
           OR EXISTS (SELECT FROM pg_replication_slots WHERE database = datname) AS hindered
       FROM pg_database WHERE datname = $1 OR datdba = (SELECT oid FROM pg_roles WHERE rolname = $2)`,
      [name, owner],
    );
    for (const { datname, hindered } of databases.rows) {
      const quoted = pg.escapeIdentifier(datname);
      await admin.query(`ALTER DATABASE ${quoted} ALLOW_CONNECTIONS true IS_TEMPLATE false`);
      if (hindered) await endPreparedAndSlots(databaseUrl(server.adminUrl, { database: datname }));
      await admin.query(`DROP DATABASE ${quoted} WITH (FORCE)`);
    }
    const roles = await admin.query('SELECT FROM pg_roles WHERE rolname = $1', [owner]);
    if (roles.rows.length > 0) await admin.query(`DROP OWNED BY ${owner}; DROP ROLE ${owner}`);
  });
}

/** Neither ends by `FORCE`, and a prepared transaction only from within its database. */
async function endPreparedAndSlots(inside: string): Promise<void> {
  await connected(inside, async (admin) => {
    const prepared = await admin.query<{ gid: string }>(
      'SELECT gid FROM pg_prepared_xacts WHERE database = current_database()',
    );
    for (const { gid } of prepared.rows) await admin.query(`ROLLBACK PREPARED ${pg.escapeLiteral(gid)}`);
    await admin.query(
      'SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()',
    );
  });
}

/** A server of the test's own, with `settings` as in postgresql.conf. The test stops it. */
export async function startOwnServer(
  major: Major,
  settings: Readonly<Record<string, string | number>> = {},
): Promise<PostgresServer> {
  const { binDir } = await testServer(major);
  return startPostgres({ major, binDir, settings: { fsync: 'off', ...settings } });
}

/** A read replica of a server, streaming; to be stopped by the test, before the server. */
export async function startReplica(primary: PostgresServer): Promise<PostgresServer> {
  return startPostgres({
    major: primary.major,
    binDir: primary.binDir,
    settings: { fsync: 'off' },
    replicaOf: primary,
  });
}

/** Runs one statement (or several, without parameters) on a connection of its own. Rows as objects, by `pg`'s types. */
export async function query<Row = Record<string, unknown>>(
  url: string,
  sql: string,
  params?: readonly unknown[],
): Promise<Row[]> {
  return connected(url, async (client) => {
    const result = await client.query(sql, params ? [...params] : undefined);
    // Of several statements `pg` gives an array of results, which its types don't say.
    const results: readonly pg.QueryResult[] = Array.isArray(result) ? result : [result];
    return (results.at(-1)?.rows ?? []) as Row[];
  });
}

/** A server forks a process for each connection: what belongs together goes over one. */
async function connected<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client(clientConfig(url));
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** `pg` itself leaves `%40`, `%2F` and their kin in a URL's database as they are. */
function clientConfig(url: string): pg.ClientConfig {
  const { hostname, port, username, password, pathname, searchParams } = new URL(url);
  return {
    host: searchParams.get('host') ?? hostname,
    port: Number(port),
    user: decodeURIComponent(username),
    password: decodeURIComponent(password),
    database: decodeURIComponent(pathname.slice(1)),
    application_name: 'test',
  };
}

/** The same URL with another database, user or password. */
export function databaseUrl(
  url: string,
  change: { readonly database?: string; readonly user?: string; readonly password?: string },
): string {
  const changed = new URL(url);
  if (change.database !== undefined) changed.pathname = `/${encodeURIComponent(change.database)}`;
  if (change.user !== undefined) changed.username = encodeURIComponent(change.user);
  if (change.password !== undefined) changed.password = encodeURIComponent(change.password);
  return changed.href;
}

/**
 * What a database contains: a line for each user table, materialized view and large object, with its rows' number and a sum of their
 * hashes, whatever their order. Equal before and after means that no row changed; sequences, which no roll-back undoes, are left out.
 * The role must see all rows (`adminUrl`).
 */
export async function contentChecksum(url: string): Promise<string> {
  const client = new pg.Client(clientConfig(url));
  await client.connect();
  try {
    await client.query(
      "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET search_path = pg_catalog; SET row_security = off; SET timezone = 'UTC'",
    );
    const hash = (text: string) => `sum(('x' || substr(md5(${text}), 1, 16))::bit(64)::bigint::numeric)`;
    const tables = await client.query<{ name: string }>(`
      SELECT format('%I.%I', nspname, relname) AS name FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
      WHERE relkind IN ('r', 'm') AND nspname !~ '^pg_' AND nspname <> 'information_schema' ORDER BY 1`);
    const lines: string[] = [];
    for (const { name } of tables.rows) {
      const { rows } = await client.query<{ line: string }>(
        `SELECT count(*) || ' rows ' || coalesce(${hash('t::text')}, 0) AS line FROM ONLY ${name} t`,
      );
      lines.push(`${name}: ${rows[0]?.line}`);
    }
    const objects = await client.query<{ line: string }>(`
      SELECT format('large object %s: %s', oid, md5(lo_get(oid))) AS line FROM pg_largeobject_metadata ORDER BY oid`);
    lines.push(...objects.rows.map(({ line }) => line));
    return lines.join('\n');
  } finally {
    await client.end();
  }
}
