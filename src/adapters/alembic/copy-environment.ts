import type { CopyTarget } from '../../rollback/ports.ts';
import { urlForDriver } from './database-url.ts';

/** libpq's variables, by the parameter that each stands for. */
const variables: Readonly<Record<string, string>> = {
  sslmode: 'PGSSLMODE',
  sslrootcert: 'PGSSLROOTCERT',
  sslcert: 'PGSSLCERT',
  sslkey: 'PGSSLKEY',
  sslcrl: 'PGSSLCRL',
  channel_binding: 'PGCHANNELBINDING',
};

/** What would say where the live server is. */
const whereabouts = new Set([
  'PGHOST',
  'PGHOSTADDR',
  'PGPORT',
  'PGUSER',
  'PGPASSWORD',
  'PGPASSFILE',
  'PGSERVICE',
  ...Object.values(variables),
]);

/** The libpq URL of the copy: `live`, the declared one, with the copy in the place of its database or its server. */
export function urlOfCopy(live: string, copy: CopyTarget): string {
  const parts = /^([^:/?#]+:\/\/)([^/?#]*)(?:\/[^?#]*)?(\?.*)?$/s.exec(copy.url ?? live);
  if (parts === null) return live; // It is refused where it is read.
  const [, scheme = '', server = '', query = ''] = parts;
  return `${scheme}${server}/${encodeURIComponent(copy.database)}${withoutDatabase(query)}`;
}

/** The URL's own path is not the only place to name a database. */
function withoutDatabase(query: string): string {
  const kept = query
    .slice(1)
    .split('&')
    .filter((parameter) => parameter !== '' && !/^(?:dbname|database)=/.test(parameter));
  return kept.length === 0 ? '' : `?${kept.join('&')}`;
}

/**
 * The declared variables as the copy's Python gets them: a URL of the live database is one of the copy, and libpq's own
 * variables lead there too. No driver and no `psql` that a migration starts needs to know.
 */
export function copyEnvironment(
  declared: Readonly<Record<string, string>>,
  databaseUrl: string,
  copy: CopyTarget,
): Record<string, string> {
  const led: Record<string, string> = {};
  for (const [name, value] of Object.entries(declared)) {
    if (copy.url !== null && whereabouts.has(name)) continue;
    led[name] = name === 'PGDATABASE' && value === copy.insteadOf ? copy.database : ledUrl(value, copy);
  }
  return { PGDATABASE: copy.database, ...(copy.url === null ? {} : serverVariables(databaseUrl, copy)), ...led };
}

/** `value` is left as it is where it's no URL of the live database. */
function ledUrl(value: string, copy: CopyTarget): string {
  const scheme = /^(postgres(?:ql)?(?:\+\w+)?):\/\/[^/?#\s]*\/([^?#\s]*)(?:\?\S*)?$/.exec(value);
  if (scheme === null || decoded(scheme[2] ?? '') !== copy.insteadOf) return value;
  return copy.url === null
    ? urlOfCopy(value, copy)
    : urlForDriver(urlOfCopy(value, copy), (scheme[1] ?? '').replace(/^postgres(?!ql)/, 'postgresql')).url;
}

function serverVariables(databaseUrl: string, copy: CopyTarget): Record<string, string> {
  const url = new URL(urlOfCopy(databaseUrl, copy).replace(/^[^:]+:/, 'postgresql:'));
  const found: Record<string, string> = {
    PGHOST: decoded(url.searchParams.get('host') ?? url.hostname),
    PGPORT: url.searchParams.get('port') ?? (url.port === '' ? '5432' : url.port),
    PGUSER: decoded(url.username),
    PGPASSWORD: decoded(url.password),
  };
  for (const [parameter, variable] of Object.entries(variables)) {
    const value = url.searchParams.get(parameter);
    if (value !== null) found[variable] = value;
  }
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== ''));
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // Not percent-encoded: it stands there as it is.
  }
}
