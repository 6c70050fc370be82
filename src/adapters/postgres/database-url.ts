import { stalled } from '../../rollback/errors.ts';
import { maxNameBytes } from './identifiers.ts';

/** Where and as whom to connect, taken apart so that nothing in it is ever parsed a second time. */
export interface Endpoint {
  /** A host name, an address, or the absolute directory of a Unix socket. */
  readonly host: string;
  readonly port: number;
  /** Where the host is reached, where that is not what its name says: an IP address. Certificates are held to the name. */
  readonly address?: { readonly host: string; readonly port: number };
  readonly user: string;
  readonly password: string | null;
  readonly database: string;
  /** libpq's connection parameters that say how to connect (TLS, keepalives, options), never where to. */
  readonly parameters: Readonly<Record<string, string>>;
}

/** `user@host:port/name`, for messages: no password. */
export const describeEndpoint = (endpoint: Endpoint): string =>
  `${endpoint.user}@${endpoint.host}:${endpoint.port}/${endpoint.database}`;

/** Passed on to our own connections and to the PostgreSQL tools. */
const passedOn = new Set([
  'sslmode',
  'sslrootcert',
  'sslcert',
  'sslkey',
  'sslpassword',
  'sslcrl',
  'sslsni',
  'sslnegotiation',
  'ssl_min_protocol_version',
  'ssl_max_protocol_version',
  'channel_binding',
  'connect_timeout',
  'keepalives',
  'keepalives_idle',
  'keepalives_interval',
  'keepalives_count',
  'tcp_user_timeout',
  'gssencmode',
  'krbsrvname',
  'options',
]);

/** Would lead elsewhere than the host, port, user and path of the URL say. */
const redirecting = new Set([
  'host',
  'hostaddr',
  'port',
  'dbname',
  'database',
  'db',
  'user',
  'username',
  'password',
  'passfile',
  'service',
  'servicefile',
  'replication',
]);

const encodeHint =
  'Write it as postgresql://user:password@host:port/database, with every @ : / ? # % in user and password percent-encoded (e.g. @ as %40)';

/** What was thrown is not told: it may hold the URL, with its password. */
const invalid = (problem: string, field: string) =>
  stalled('DatabaseUrlInvalid', `The URL in ${field} ${problem}. ${encodeHint}.`);

/**
 * Reads `postgres://`, `postgresql://` and SQLAlchemy's `postgresql+driver://` URLs.
 * `field` names the declaration's field in messages. Throws DatabaseUrlInvalid; the password is in no message.
 */
export function parseDatabaseUrl(text: string, field: string): Endpoint {
  const scheme = /^(postgres|postgresql)(\+[a-z0-9_]+)?:\/\//i.exec(text);
  if (!scheme) throw invalid('does not start with postgresql://', field);
  // A URL object leaves them out without a word, and the rest is another password.
  if (/[\t\r\n]/.test(text)) throw invalid('holds a line break or a tab', field);
  // WHATWG URLs have no user without a host; with a Unix socket there is none, so one stands in for it.
  const rest = text.slice(scheme[0].length).replace(/^([^/?#]*@)(?=[/?])/, '$1socket.invalid');
  let url: URL;
  try {
    url = new URL(`postgresql://${rest}`);
  } catch {
    throw invalid('cannot be read', field);
  }
  if (url.hash !== '' || text.includes('#')) throw invalid('holds a # that is not percent-encoded', field);
  if (url.pathname.includes('@')) throw invalid('holds a / or an @ that is not percent-encoded', field);

  const decode = (part: string, what: string): string => {
    let decoded: string;
    try {
      decoded = decodeURIComponent(part);
    } catch {
      throw invalid(`holds a % in its ${what} that starts no percent-encoding`, field);
    }
    if (/[\u0000-\u001f\u007f]/.test(decoded))
      throw invalid(`holds a control character in its ${what} (a line break?)`, field);
    return decoded;
  };

  const database = decode(url.pathname.slice(1), 'database name');
  if (database === '') throw invalid('names no database', field);
  const user = decode(url.username, 'user');
  if (user === '') throw invalid('names no user', field);
  const host = url.hostname === 'socket.invalid' ? '' : decode(url.hostname, 'host').replace(/^\[(.*)\]$/, '$1');
  if (host.includes(',')) throw invalid('names several hosts: name the primary only', field);

  const parameters: Record<string, string> = {};
  let socket: string | null = null;
  for (const [key, value] of url.searchParams) {
    if (key === 'host' && host === '' && value.startsWith('/')) socket = value;
    else if (redirecting.has(key.toLowerCase()))
      throw invalid(`sets ${key} as a parameter: host, port, user, password and database belong before the "?"`, field);
    else if (key === 'ssl' && /^(disable|allow|prefer|require|verify-ca|verify-full)$/.test(value))
      parameters['sslmode'] ??= value;
    else if (passedOn.has(key)) parameters[key] = decode(encodeURIComponent(value), `parameter ${key}`);
  }
  const where = socket ?? host;
  if (where === '') throw invalid('names no host', field);
  return {
    host: where,
    port: url.port === '' ? 5432 : Number(url.port),
    user,
    password: url.password === '' ? null : decode(url.password, 'password'),
    database,
    parameters,
  };
}

/** Throws DatabaseNameRefused for a name that no target may have: the server's own databases, and names that PostgreSQL would cut. */
export function refuseReservedName(name: string, maintenanceDatabase: string): void {
  if (['postgres', 'template0', 'template1', maintenanceDatabase].includes(name)) {
    throw stalled(
      'DatabaseNameRefused',
      `The database "${name}" belongs to the server, not to an application: put the application's database into the path of the URL in spec.database.urlFrom.`,
    );
  }
  if (Buffer.byteLength(name) > maxNameBytes) {
    throw stalled(
      'DatabaseNameRefused',
      `The database name "${name}" has ${Buffer.byteLength(name)} bytes, and PostgreSQL would cut it to ${maxNameBytes}: put the exact name (see psql -l) into the URL in spec.database.urlFrom.`,
    );
  }
}
