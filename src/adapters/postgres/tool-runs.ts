import type { Reason } from '../../api/reasons.ts';
import { retry, stalled } from '../../rollback/errors.ts';
import type { Failure } from '../../rollback/errors.ts';
import type { Command, Outcome } from '../process/run.ts';
import { describeEndpoint } from './database-url.ts';
import type { Endpoint } from './database-url.ts';
import { quoteName } from './identifiers.ts';
import { createPrivateFiles } from './private-files.ts';

/** How a PostgreSQL tool is told where to connect, until this is disposed of. */
export interface ToolAccess extends AsyncDisposable {
  /** For `--dbname`: holds the name, percent-encoded, so that no name can be taken for connection parameters. */
  readonly dbname: string;
  readonly env: Readonly<Record<string, string>>;
  readonly inherit: readonly number[];
}

/**
 * Host, user and TLS parameters in a service file, the password in a passfile, both private (private-files.ts). Neither
 * arguments nor environment, which other users of the machine may see, hold a secret.
 */
export async function toolAccess(endpoint: Endpoint, applicationName: string): Promise<ToolAccess> {
  // libpq before 17 knows no sslnegotiation; `postgres` is what it does anyway.
  const { sslnegotiation, ...parameters } = endpoint.parameters;
  const negotiation = sslnegotiation === 'direct' ? { sslnegotiation } : {};
  const escaped = (endpoint.password ?? '').replace(/[\\:]/g, '\\$&');
  const files = createPrivateFiles();
  try {
    const settings = {
      ...parameters,
      ...negotiation,
      host: endpoint.host,
      port: `${endpoint.port}`,
      user: endpoint.user,
      passfile: await files.add(`*:*:*:*:${escaped}\n`),
    };
    const lines = Object.entries(settings).map(([key, value]) => `${key}=${value}\n`);
    const serviceFile = await files.add(`[target]\n${lines.join('')}`);
    return {
      dbname: `postgresql:///${encodeURIComponent(endpoint.database)}?service=target`,
      env: {
        PATH: process.env['PATH'] ?? '',
        HOME: process.env['HOME'] ?? '/',
        LC_ALL: 'C',
        PGSERVICEFILE: serviceFile,
        PGAPPNAME: applicationName,
      },
      inherit: files.descriptors,
      [Symbol.asyncDispose]: () => files[Symbol.asyncDispose](),
    };
  } catch (error) {
    await files[Symbol.asyncDispose]();
    throw error;
  }
}

/** The lines that tell what went wrong: `--verbose` writes a line an object. */
function complaint(outcome: Outcome): string {
  const lines = outcome.stderr.split('\n').filter((line) => line !== '');
  const first = lines.findIndex((line) => /error:|ERROR:|FATAL:/.test(line));
  const told = (first === -1 ? lines.slice(-5) : lines.slice(first, first + 12)).join('; ');
  return told.slice(0, 2000) || (outcome.signal ? `ended by ${outcome.signal}` : `exit status ${outcome.code}`);
}

/** What a tool said, in the API's terms; `reason` where it is none of the known passing or permission problems. */
export function toolFailure(tool: string, endpoint: Endpoint, outcome: Outcome, reason: Reason, next: string): Failure {
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
  if (outcome.signal !== null) return retry('OperationInterrupted', `${what} It is tried again by itself.`);
  return stalled(reason, `${what} ${next}`);
}

/** A command of a tool on a database. `-w`: never asks for a password. */
export const toolCommand = (
  program: string,
  access: ToolAccess,
  args: readonly string[],
  rest: Partial<Command> = {},
): Command => ({
  program,
  args: ['--no-password', `--dbname=${access.dbname}`, ...args],
  env: access.env,
  inherit: access.inherit,
  ...rest,
});
