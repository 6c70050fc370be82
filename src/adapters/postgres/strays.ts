import type { OwnDatabase } from '../../rollback/model.ts';
import type { Strays } from '../../rollback/ports.ts';
import { wait } from '../../rollback/wait.ts';
import type { Context } from './context.ts';
import { applicationNameOfRehearsal } from './identifiers.ts';
import type { Session } from './session.ts';

const pollMs = 50;

/** A session as it was seen last. */
interface Stray extends Record<string, unknown> {
  /** The same for as long as the session is. */
  readonly id: string;
  readonly description: string;
}

/**
 * Looks on for sessions of a rehearsal that are anywhere but in its copy: what no redirect can lead there, e.g. a
 * program's own connection. They are told of, and left alone.
 */
export async function watchStrays(
  context: Context,
  copy: OwnDatabase,
  operationId = context.settings.operationId,
): Promise<Strays> {
  const { live, settings } = context;
  const session = await context.connect(settings.maintenanceDatabase);
  const seen = new Map<string, string>();
  const stop = new AbortController();
  const name = applicationNameOfRehearsal(operationId, live);
  let failure: Error | null = null;

  const look = async (): Promise<void> => {
    for (const { id, description } of await listStrays(session, name, copy)) seen.set(id, description);
  };
  const watching = (async () => {
    while (!stop.signal.aborted && failure === null) {
      await look().catch((error: unknown) => {
        failure = error instanceof Error ? error : new Error(String(error));
      });
      await wait(pollMs, stop.signal);
    }
  })();

  return {
    async found() {
      // Who could not look can't say that there were none.
      if (failure !== null) throw failure;
      await look();
      return [...seen.values()];
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await watching;
      await session[Symbol.asyncDispose]();
    },
  };
}

/**
 * By oid as well: a copy on another server is no database of this one, whatever its name. Since PostgreSQL 18 a session
 * is listed, by its name, before it has a user and a database: where it goes is not known yet.
 */
function listStrays(session: Session, name: string, copy: OwnDatabase): Promise<Stray[]> {
  return session.rows<Stray>(
    'Looking for sessions beyond the copy',
    `SELECT format('%s %s', pid, backend_start) AS id,
       format('user %s, pid %s, database %s: %s', coalesce(usename, '?'), pid, coalesce(datname, '(none)'),
         left(regexp_replace(query, '\\s+', ' ', 'g'), 100)) AS description
     FROM pg_stat_activity
     WHERE application_name = $1 AND (datname = $2 AND datid = $3::bigint::oid) IS NOT TRUE AND pid <> pg_backend_pid()
       AND usesysid IS NOT NULL
     ORDER BY backend_start`,
    [name, copy.name, copy.oid],
  );
}
