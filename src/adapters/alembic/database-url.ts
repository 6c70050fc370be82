import { stalled } from '../../rollback/errors.ts';

/** A URL as SQLAlchemy and one driver understand it, and the variables that say what the URL can't. */
export interface DriverUrl {
  readonly url: string;
  readonly env: Readonly<Record<string, string>>;
}

/** libpq's parameters that only tune a connection: a driver that does not know them goes without. */
const tuning = new Set([
  'application_name',
  'fallback_application_name',
  'connect_timeout',
  'keepalives',
  'keepalives_idle',
  'keepalives_interval',
  'keepalives_count',
  'tcp_user_timeout',
  'client_encoding',
  'gssencmode',
  'sslcompression',
  'sslsni',
]);

/** asyncpg reads these files from libpq's variables, and from nowhere else when it is called by SQLAlchemy. */
const asyncpgVariables: Readonly<Record<string, string>> = {
  sslrootcert: 'PGSSLROOTCERT',
  sslcert: 'PGSSLCERT',
  sslkey: 'PGSSLKEY',
  sslcrl: 'PGSSLCRL',
};

/** What asyncpg and SQLAlchemy's dialect for it take as they are. */
const asyncpgKnows = new Set([
  'host',
  'port',
  'user',
  'password',
  'database',
  'passfile',
  'target_session_attrs',
  'krbsrvname',
  'gsslib',
]);

/**
 * Translates a libpq URL for a driver, e.g. `postgresql+asyncpg`. libpq's drivers (psycopg, psycopg2) take every
 * parameter; asyncpg calls TLS `ssl`; pg8000 takes none.
 *
 * @throws Failure DatabaseUrlInvalid, where the driver can't be told what the URL says. Never names the password.
 */
export function urlForDriver(libpqUrl: string, scheme: string): DriverUrl {
  const parts = /^postgres(?:ql)?(?:\+\w+)?:\/\/([^?]*)(?:\?(.*))?$/s.exec(libpqUrl);
  if (parts === null)
    throw stalled(
      'DatabaseUrlInvalid',
      'The database URL does not start with postgresql://. Correct it in the Secret that spec.database.urlFrom names.',
    );
  const driver = scheme.split('+')[1];
  const { address, named } = nameAsSqlalchemyReads(parts[1] ?? '', driver);
  const parameters = [...(parts[2] ?? '').split('&').filter((parameter) => parameter !== ''), ...named];
  if (driver === 'asyncpg') return asyncpgUrl(scheme, address, parameters);
  if (driver === 'pg8000')
    return {
      url: joined(
        scheme,
        address,
        parameters.filter((parameter) => !pg8000Drops(parameter)),
      ),
      env: {},
    };
  return { url: joined(scheme, address, parameters), env: {} };
}

/**
 * SQLAlchemy decodes user, password and parameters, and takes the name of the database as it stands there (tried with
 * 2.0: `/a%20b` was no database): so it is written unencoded, or, where a `?` in it would end it, as a parameter.
 */
function nameAsSqlalchemyReads(
  encoded: string,
  driver: string | undefined,
): { readonly address: string; readonly named: readonly string[] } {
  const slash = encoded.indexOf('/');
  if (slash < 0) return { address: encoded, named: [] };
  const server = encoded.slice(0, slash + 1);
  const name = decoded(encoded.slice(slash + 1));
  if (!name.includes('?')) return { address: server + name, named: [] };
  const parameter = driver === 'asyncpg' || driver === 'pg8000' ? 'database' : 'dbname';
  return { address: server, named: [`${parameter}=${encodeURIComponent(name)}`] };
}

/** The password of a URL, as it stands there and decoded: neither may be shown anywhere. */
export function secretsOfUrl(url: string): readonly string[] {
  const userinfo = /^[^:/]+:\/\/([^/?#]*)@/.exec(url)?.[1] ?? '';
  const fromUser = userinfo.includes(':') ? userinfo.slice(userinfo.indexOf(':') + 1) : '';
  const fromQuery = /[?&]password=([^&]*)/.exec(url)?.[1] ?? '';
  return [fromUser, fromQuery].flatMap((found) => [found, decoded(found)]).filter((found) => found !== '');
}

function asyncpgUrl(scheme: string, address: string, parameters: readonly string[]): DriverUrl {
  const kept: string[] = [];
  const env: Record<string, string> = {};
  for (const parameter of parameters) {
    const [name, value] = split(parameter);
    const variable = asyncpgVariables[name];
    if (name === 'sslmode') kept.push(`ssl=${value}`);
    else if (variable !== undefined) env[variable] = decoded(value);
    else if (asyncpgKnows.has(name)) kept.push(parameter);
    else if (!isOptional(name, value)) refuse(scheme, name);
  }
  return { url: joined(scheme, address, kept), env };
}

function pg8000Drops(parameter: string): boolean {
  const [name, value] = split(parameter);
  if (name === 'host' || name === 'port' || name === 'database') return false;
  if (isOptional(name, value) || (name === 'sslmode' && ['disable', 'allow', 'prefer'].includes(value))) return true;
  return refuse('postgresql+pg8000', name);
}

/** `channel_binding=prefer` asks for nothing; `require` does. */
const isOptional = (name: string, value: string): boolean =>
  tuning.has(name) || (name === 'channel_binding' && value !== 'require');

function refuse(scheme: string, name: string): never {
  throw stalled(
    'DatabaseUrlInvalid',
    `The parameter ${name} of the database URL can't be handed to ${scheme}. Leave it out, or let env.py find its own URL: remove spec.alembic.databaseUrl.`,
  );
}

function split(parameter: string): readonly [string, string] {
  const at = parameter.indexOf('=');
  return at < 0 ? [parameter, ''] : [parameter.slice(0, at), parameter.slice(at + 1)];
}

const joined = (scheme: string, address: string, parameters: readonly string[]): string =>
  `${scheme}://${address}${parameters.length === 0 ? '' : `?${parameters.join('&')}`}`;

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // Not percent-encoded: it stands there as it is.
  }
}
