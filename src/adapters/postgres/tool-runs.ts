import { readFile } from 'node:fs/promises';
import type { Reason } from '../../api/reasons.ts';
import { retry, stalled } from '../../rollback/errors.ts';
import type { Failure } from '../../rollback/errors.ts';
import type { Command, Outcome } from '../process/run.ts';
import { describeEndpoint } from './database-url.ts';
import type { Endpoint } from './database-url.ts';
import { quoteName } from './identifiers.ts';
import type { Tools } from './tools.ts';

/** How a PostgreSQL tool is told where to connect. */
export interface ToolAccess {
  /** For `--dbname`: holds the name, percent-encoded, so that no name can be taken for connection parameters. */
  readonly dbname: string;
  readonly env: Readonly<Record<string, string>>;
  readonly files: Readonly<Record<string, string>>;
}

/**
 * Host, user and TLS parameters in a service file, the password in a passfile, both private to the tool. Neither
 * arguments nor environment, which others may see, hold a secret.
 */
export async function toolAccess(
  endpoint: Endpoint,
  applicationName: string,
  { seeFiles }: Pick<Tools, 'seeFiles'>,
): Promise<ToolAccess> {
  // libpq before 17 knows no sslnegotiation; `postgres` is what it does anyway.
  const { sslnegotiation, ...said } = endpoint.parameters;
  const { parameters, files } = seeFiles ? { parameters: said, files: {} } : await readCertificates(said);
  const negotiation = sslnegotiation === 'direct' ? { sslnegotiation } : {};
  const escaped = (endpoint.password ?? '').replace(/[\\:]/g, '\\$&');
  const settings = {
    ...parameters,
    ...negotiation,
    host: endpoint.host,
    ...(endpoint.address === undefined ? {} : { hostaddr: endpoint.address.host }),
    port: `${endpoint.address?.port ?? endpoint.port}`,
    user: endpoint.user,
  };
  const lines = Object.entries(settings).map(([key, value]) => `${key}=${value}\n`);
  return {
    dbname: `postgresql:///${encodeURIComponent(endpoint.database)}?service=target`,
    env: { LC_ALL: 'C', PGAPPNAME: applicationName },
    files: { ...files, PGPASSFILE: `*:*:*:*:${escaped}\n`, PGSERVICEFILE: `[target]\n${lines.join('')}` },
  };
}

const certificateVariables: Readonly<Record<string, string>> = {
  sslrootcert: 'PGSSLROOTCERT',
  sslcert: 'PGSSLCERT',
  sslkey: 'PGSSLKEY',
  sslcrl: 'PGSSLCRL',
};

/** Tools that don't see our files get what is in them. */
async function readCertificates(said: Endpoint['parameters']): Promise<{
  readonly parameters: Endpoint['parameters'];
  readonly files: Readonly<Record<string, string>>;
}> {
  const parameters: Record<string, string> = {};
  const files: Record<string, string> = {};
  for (const [name, value] of Object.entries(said)) {
    const variable = certificateVariables[name];
    if (variable === undefined || value === 'system') parameters[name] = value;
    else files[variable] = await readFile(value, 'utf8');
  }
  return { parameters, files };
}

/** The lines that tell what went wrong: `--verbose` writes a line an object. */
function complaint(outcome: Outcome): string {
  const lines = outcome.stderr.split('\n').filter((line) => line !== '');
  const first = lines.findIndex((line) => /error:|ERROR:|FATAL:/.test(line));
  const told = (first === -1 ? lines.slice(-5) : lines.slice(first, first + 12)).join('; ');
  return told.slice(0, 2000) || `it ${outcome.how}`;
}

/** What a tool said, in the API's terms; `reason` where it is none of the known passing or permission problems. */
export function toolFailure(tool: string, endpoint: Endpoint, outcome: Outcome, reason: Reason, next: string): Failure {
  if (outcome.lost !== null) return outcome.lost;
  const said = complaint(outcome);
  const what = `${tool} on ${describeEndpoint(endpoint)}: ${said}.`;
  if (
    /No such file|could not (open|read) (from )?(input|directory|large object TOC)|unexpected end of file|could not uncompress|input file|magic string/i.test(
      said,
    )
  ) {
    return stalled('BackupInvalid', `${what} Take another backup: migration-target backups`);
  }
  if (
    /No space left on device|Read-only file system|Disk quota|could not (write|create|open) .*(file|directory)/i.test(
      said,
    )
  ) {
    return retry(
      'StorageUnavailable',
      `${what} Make room or mend the rights of the folder; it is tried again by itself.`,
    );
  }
  if (/lock timeout|statement timeout|could not obtain lock/.test(said)) {
    return retry('LockTimedOut', `${what} Another session held a table; it is tried again by itself.`);
  }
  if (
    /server closed the connection|terminating connection|could not connect|connection to server|the database system is|connection not open|no connection to the server/.test(
      said,
    )
  ) {
    return retry('DatabaseUnreachable', `${what} It is tried again by itself.`);
  }
  if (/row-level security/.test(said)) {
    return stalled(
      'RowsHidden',
      `${what} Give spec.database.adminUrlFrom a role that sees every row: ALTER ROLE … BYPASSRLS`,
    );
  }
  const gone = /role "(.+?)" does not exist/.exec(said)?.[1];
  if (gone !== undefined) {
    return stalled(
      reason,
      `${what} An owner, a grant or a policy in the dump names that role, which was dropped since. The live database was not touched. Make it again (it needs no rights and no login): CREATE ROLE ${quoteName(gone)}; then: migration-target reconcile NAME`,
    );
  }
  if (/permission denied|must be (owner|member|superuser|able to)/.test(said)) {
    return stalled(
      'PermissionDenied',
      `${what} Grant the right, or give spec.database.adminUrlFrom the URL of a role that has it.`,
    );
  }
  // pg_dump and pg_restore end by themselves when they are told to.
  if (outcome.signal !== null || /terminated by user/.test(said))
    return retry('OperationInterrupted', `${what} It is tried again by itself.`);
  return stalled(reason, `${what} ${next}`);
}

/** A command of a tool on a database. `-w`: never asks for a password. */
export const toolCommand = (
  { launcher }: Tools,
  program: string,
  access: ToolAccess,
  args: readonly string[],
  rest: Partial<Command> = {},
): Command => ({
  launcher,
  program,
  args: ['--no-password', `--dbname=${access.dbname}`, ...args],
  env: access.env,
  files: access.files,
  ...rest,
});
