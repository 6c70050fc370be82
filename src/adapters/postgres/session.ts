import { Client } from 'pg';
import type { QueryArrayConfig, QueryResult, QueryResultRow } from 'pg';
import { stalled } from '../../rollback/errors.ts';
import { databaseFailure, poolerRefused } from './connect-errors.ts';
import type { Subject } from './connect-errors.ts';
import { describeEndpoint } from './database-url.ts';
import type { Endpoint } from './database-url.ts';
import { tlsFor } from './tls.ts';

/** The oldest major whose `CREATE DATABASE … OID` lets a database be journalled before it exists. */
export const oldestMajor = 15;

export interface SessionOptions {
  readonly applicationName: string;
  readonly lockTimeoutSeconds: number;
  /** `pinned`: names resolve in pg_catalog alone. `application`: as the application's own sessions would. */
  readonly searchPath: 'pinned' | 'application';
  /** Whether `default_transaction_read_only` of the role or database is overruled: never while reading the live one. */
  readonly writable: boolean;
}

/** Whatever SQL can be run on. */
export interface Statements {
  readonly subject: Subject;
  /** `doing` begins the message of an error: what was attempted. */
  rows<Row extends QueryResultRow>(doing: string, sql: string, values?: readonly unknown[]): Promise<Row[]>;
  /** Several statements in one round trip; the rows of the last. Without BEGIN they are one transaction. */
  script<Row extends QueryResultRow>(doing: string, sql: string): Promise<Row[]>;
}

/** One connection to one database: settings pinned, no pooler in between, errors in the API's terms. */
export interface Session extends Statements, AsyncDisposable {
  readonly pid: number;
  /** `server_version_num` divided by 10000, and e.g. `16.4`. */
  readonly server: { readonly major: number; readonly version: string };
  /** False once the connection is gone. */
  readonly alive: boolean;
  /** One statement of the user's, alone, in a read-only transaction: the first column of the first row as text. */
  firstValue(doing: string, sql: string): Promise<string | null>;
  /** Runs `work` in a transaction; what else is asked of the session meanwhile waits for its end. */
  transaction<T>(mode: string, work: (transaction: Statements) => Promise<T>): Promise<T>;
}

/** What expressions in the catalogue and values are rendered with, so that they never depend on role or database. */
const rendering: Readonly<Record<string, string>> = {
  DateStyle: 'ISO',
  IntervalStyle: 'postgres',
  TimeZone: 'UTC',
  extra_float_digits: '1',
  bytea_output: 'hex',
  quote_all_identifiers: 'off',
  standard_conforming_strings: 'on',
};

/** Backends of this process: the ones that ending a dead operation's sessions must leave alone. */
export type OwnBackends = Set<number>;

export interface Connector {
  connect(endpoint: Endpoint, options: SessionOptions): Promise<Session>;
  readonly ownBackends: ReadonlySet<number>;
}

export function createConnector(): Connector {
  const ownBackends: OwnBackends = new Set();
  /** `host:port` of servers that have no TLS, so that it is asked for once. */
  const inTheClear = new Set<string>();

  async function connectClient(endpoint: Endpoint, options: SessionOptions): Promise<Client> {
    const tls = await tlsFor(endpoint);
    const place = `${endpoint.host}:${endpoint.port}`;
    const attempt = async (secured: boolean): Promise<Client> => {
      const client = new Client({
        host: endpoint.address?.host ?? endpoint.host,
        port: endpoint.address?.port ?? endpoint.port,
        user: endpoint.user,
        // A function is never printed, and keeps PGPASSWORD and ~/.pgpass of whoever started us out of it.
        password: () => endpoint.password ?? '',
        database: endpoint.database,
        ssl: secured && tls.options ? tls.options : false,
        enableChannelBinding: endpoint.parameters['channel_binding'] === 'require',
        application_name: options.applicationName,
        keepAlive: true,
        keepAliveInitialDelayMillis: 10_000,
        connectionTimeoutMillis: Number(endpoint.parameters['connect_timeout'] ?? 10) * 1000,
        options: startupOptions(endpoint, options),
      });
      // A connection that dies while nothing is asked of it must not end the process: the next use of it fails.
      client.on('error', () => undefined);
      try {
        await client.connect();
      } catch (error) {
        await client.end().catch(() => undefined);
        throw error;
      }
      return client;
    };
    if (tls.required || tls.options === null) return attempt(tls.required);
    if (inTheClear.has(place)) return attempt(false);
    try {
      return await attempt(true);
    } catch (error) {
      if (!(error instanceof Error && error.message.includes('does not support SSL'))) throw error;
      inTheClear.add(place);
      return attempt(false);
    }
  }

  return {
    ownBackends,
    async connect(endpoint, options) {
      const subject: Subject = { where: describeEndpoint(endpoint), role: endpoint.user, database: endpoint.database };
      let client: Client;
      try {
        client = await connectClient(endpoint, options);
      } catch (error) {
        throw databaseFailure(error, subject, 'Connecting');
      }
      try {
        return await startSession(client, endpoint, subject, ownBackends);
      } catch (error) {
        await client.end().catch(() => undefined);
        throw error;
      }
    },
  };
}

async function startSession(
  client: Client,
  endpoint: Endpoint,
  subject: Subject,
  ownBackends: OwnBackends,
): Promise<Session> {
  let alive = true;
  client.on('end', () => (alive = false));
  client.on('error', () => (alive = false));

  const run = async (doing: string, sql: string, values?: readonly unknown[]): Promise<QueryResult | QueryResult[]> => {
    try {
      return values ? await client.query(sql, [...values]) : await client.query(sql);
    } catch (error) {
      throw databaseFailure(error, subject, doing);
    }
  };
  const rows = async <Row extends QueryResultRow>(
    doing: string,
    sql: string,
    values?: readonly unknown[],
  ): Promise<Row[]> => {
    const result = await run(doing, sql, values);
    return (Array.isArray(result) ? (result.at(-1)?.rows ?? []) : result.rows) as Row[];
  };

  // transaction_timeout came with 17, so it can't be among the startup options.
  const [first] = await rows<{ pid: number; version: string; version_num: string; database: string }>(
    'Starting a session',
    `SELECT pg_backend_pid() AS pid, current_setting('server_version') AS version, current_setting('server_version_num') AS version_num,
            current_database() AS database,
            CASE WHEN current_setting('transaction_timeout', true) <> '0' THEN set_config('transaction_timeout', '0', false) END`,
  );
  if (!first) throw stalled('InternalError', `${subject.where} answered nothing. Read the server's log.`);
  const claimed = (client as Client & { processID: number | null }).processID;
  if (claimed !== first.pid)
    throw poolerRefused(subject.where, 'its session belongs to another backend than the one that was promised');
  if (first.database !== endpoint.database) {
    throw poolerRefused(subject.where, `it leads to the database "${first.database}"`);
  }
  const major = Math.floor(Number(first.version_num) / 10_000);
  if (major < oldestMajor) {
    throw stalled(
      'ServerNotSupported',
      `${subject.where} is PostgreSQL ${first.version}; ${oldestMajor} is the oldest that is supported. Upgrade the server (pg_upgrade).`,
    );
  }
  ownBackends.add(first.pid);
  client.on('end', () => ownBackends.delete(first.pid));

  let last: Promise<unknown> = Promise.resolve();
  /** One after the other: a statement must never slip into somebody else's transaction. */
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const turn = last.then(work, work);
    last = turn.catch(() => undefined);
    return turn;
  };

  return {
    pid: first.pid,
    server: { major, version: first.version.split(' ')[0] ?? first.version },
    subject,
    get alive() {
      return alive;
    },
    rows: (doing, sql, values) => inTurn(() => rows(doing, sql, values)),
    script: (doing, sql) => inTurn(() => rows(doing, sql)),
    transaction: (mode, work) =>
      inTurn(async () => {
        await rows('Beginning a transaction', `BEGIN ${mode}`);
        try {
          const result = await work({ subject, rows, script: rows });
          await rows('Committing', 'COMMIT');
          return result;
        } catch (error) {
          // Where this fails the session is gone, and the server rolls back by itself.
          await rows('Rolling back', 'ROLLBACK').catch(() => undefined);
          throw error;
        }
      }),
    firstValue: (doing, sql) =>
      inTurn(async () => {
        await rows('Beginning a transaction', 'BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY');
        try {
          // The extended protocol takes one statement only, so that none can end the transaction and go on.
          const statement: QueryArrayConfig & { readonly queryMode: 'extended' } = {
            text: sql,
            queryMode: 'extended',
            rowMode: 'array',
            types: { getTypeParser: () => (value: string) => value },
          };
          const result = await client.query<(string | null)[]>(statement);
          return result.rows[0]?.[0] ?? null;
        } catch (error) {
          throw databaseFailure(error, subject, doing);
        } finally {
          await rows('Rolling back', 'ROLLBACK').catch(() => undefined);
        }
      }),
    async [Symbol.asyncDispose]() {
      ownBackends.delete(first.pid);
      await client.end().catch(() => undefined);
    },
  };
}

/** libpq's `options`: the URL's first, since of two settings of one name the later holds. */
function startupOptions(endpoint: Endpoint, options: SessionOptions): string {
  const settings: Record<string, string> = {
    ...rendering,
    row_security: 'off',
    statement_timeout: '0',
    lock_timeout: `${Math.round(options.lockTimeoutSeconds * 1000)}`,
    idle_in_transaction_session_timeout: '0',
    idle_session_timeout: '0',
    tcp_keepalives_idle: '30',
    tcp_keepalives_interval: '10',
    tcp_keepalives_count: '3',
    ...(options.searchPath === 'pinned' ? { search_path: 'pg_catalog' } : {}),
    ...(options.writable ? { default_transaction_read_only: 'off' } : {}),
  };
  const own = Object.entries(settings).map(([name, value]) => `-c ${name}=${value}`);
  return [endpoint.parameters['options'], ...own].filter((part) => part !== undefined).join(' ');
}
