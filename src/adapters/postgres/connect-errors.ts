import { Failure, retry, stalled } from '../../rollback/errors.ts';

/** What a statement or connection was for, as messages say it. No password in it. */
export interface Subject {
  /** `user@host:port/database`. */
  readonly where: string;
  readonly role: string;
  readonly database: string;
}

const reachHint = (where: string): string =>
  `See whether the server runs and lets this host in (psql as ${where}); it is tried again by itself.`;

const tlsErrors =
  /self.signed certificate|unable to (get|verify)|certificate|ERR_TLS|SSL connection|wrong version number/i;

/** The five-character SQLSTATE or the errno's name. */
function codeOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : '';
}

/** True for a session that is gone: what it did last may or may not have happened. */
export function isConnectionLost(error: unknown): boolean {
  if (error instanceof Failure) return error.reason === 'DatabaseUnreachable';
  if (!(error instanceof Error)) return false;
  const code = codeOf(error);
  return (
    /^(08|57P0[1-5])/.test(code) ||
    [
      'ECONNREFUSED',
      'ECONNRESET',
      'ECONNABORTED',
      'EPIPE',
      'ETIMEDOUT',
      'EHOSTUNREACH',
      'ENETUNREACH',
      'ENOTFOUND',
      'EAI_AGAIN',
      'ENOENT',
      'EACCES',
    ].includes(code) ||
    /Connection terminated|timeout expired|not queryable|Client was closed/.test(error.message)
  );
}

/** `database "x" is not currently accepting connections`: closed by a swap that has not ended. */
export const isClosed = (error: unknown): boolean =>
  error instanceof Error && codeOf(error) === '55000' && /not currently accepting connections/.test(error.message);

/** `terminating connection due to administrator command`: pg_terminate_backend, or the server is shut down. */
export const isEndedByCommand = (error: unknown): boolean => error instanceof Error && codeOf(error) === '57P01';

/** Every error of PostgreSQL, the network or TLS in the API's terms: the one place that knows SQLSTATEs. */
export function databaseFailure(error: unknown, subject: Subject, doing: string): Failure {
  if (error instanceof Failure) return error;
  if (!(error instanceof Error))
    return stalled('InternalError', `${doing} on ${subject.where}: ${String(error)}. Read the controller's log.`);
  const code = codeOf(error);
  const { where, role, database } = subject;
  const detail = 'detail' in error && typeof error.detail === 'string' ? ` (${error.detail})` : '';
  const said = `${error.message || code}${detail}`;
  const what = `${doing} on ${where}: ${said}.`;

  if (code === '08P01' && /unsupported startup parameter|no such database/.test(said))
    return poolerRefused(where, said, error);
  if (code === '28P01' || code === '28000' || /password must be a (non-empty )?string|SASL|SCRAM/.test(error.message)) {
    return stalled(
      'AuthenticationFailed',
      `${what} Correct user and password in the Secret that the URL comes from, or pg_hba.conf, then: migration-target reconcile NAME`,
      error,
    );
  }
  if (code === '3D000') {
    return stalled(
      'DatabaseNotFound',
      `${what} Correct the path of the URL, or create it: createdb ${JSON.stringify(database)}`,
      error,
    );
  }
  if (isClosed(error)) {
    return retry(
      'DatabaseUnreachable',
      `${what} A swap is under way or was interrupted, and the next start repairs it; by hand: ALTER DATABASE … ALLOW_CONNECTIONS true`,
      error,
    );
  }
  if (code.startsWith('53')) {
    return retry(
      'DatabaseUnreachable',
      `${what} The server has no connection, memory or disk space left; it is tried again by itself.`,
      error,
    );
  }
  if (isConnectionLost(error)) return retry('DatabaseUnreachable', `${what} ${reachHint(where)}`, error);
  if (code === '25006') {
    return stalled(
      'DatabaseReadOnly',
      `${what} Point the URL at the primary, or end default_transaction_read_only, then: migration-target reconcile NAME`,
      error,
    );
  }
  if (code === '42501' && /row-level security/.test(said)) {
    return stalled(
      'RowsHidden',
      `${what} Give spec.database.adminUrlFrom a role that sees every row: ALTER ROLE … BYPASSRLS`,
      error,
    );
  }
  if (code === '42501' && /create database/.test(said)) {
    return stalled(
      'PermissionDenied',
      `${what} Let it: ALTER ROLE ${JSON.stringify(role)} CREATEDB; or give spec.database.adminUrlFrom the URL of a role that may.`,
      error,
    );
  }
  if (code === '42501') {
    return stalled(
      'PermissionDenied',
      `${what} Grant the right to role ${JSON.stringify(role)}, or give spec.database.adminUrlFrom the URL of a role that has it.`,
      error,
    );
  }
  if (code === '55P03' || code === '40P01' || code === '40001' || code === '57014') {
    return retry(
      'LockTimedOut',
      `${what} Another session was in the way (SELECT * FROM pg_stat_activity WHERE datname = current_database()); it is tried again by itself.`,
      error,
    );
  }
  if (code === '42P04') {
    return stalled(
      'RecoveryFailed',
      `${what} Somebody else made it: rename or drop it, then: migration-target reconcile NAME`,
      error,
    );
  }
  if (code === '55006') {
    return stalled(
      'SwapBlocked',
      `${what} End what uses it (pg_stat_activity, pg_prepared_xacts, pg_replication_slots), then: migration-target reconcile NAME`,
      error,
    );
  }
  if (tlsErrors.test(`${code} ${error.message}`)) {
    return stalled(
      'DatabaseUnreachable',
      `${what} TLS failed: correct sslmode and sslrootcert in the URL, then: migration-target reconcile NAME`,
      error,
    );
  }
  return stalled(
    'InternalError',
    `${what}${code ? ` (SQLSTATE ${code})` : ''} Read the controller's log, then: migration-target reconcile NAME`,
    error,
  );
}

/** A pooler hands out the server's sessions by transaction: no lock, snapshot or session of ours would be our own. */
export const poolerRefused = (where: string, because: string, cause?: unknown): Failure =>
  stalled(
    'PoolerRefused',
    `${where} is a connection pooler, not PostgreSQL itself (${because}). Put the server's own host and port (often 5432) into the URL; the application may go on using the pooler.`,
    cause,
  );
