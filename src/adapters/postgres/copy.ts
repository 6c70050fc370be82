import { Failure, stalled } from '../../rollback/errors.ts';
import type { OwnDatabase } from '../../rollback/model.ts';
import type { Context } from './context.ts';
import { quoteName } from './identifiers.ts';
import { dropDatabase, runCreation, scratchProperties } from './manage.ts';
import { readProperties, settingUpStatements, type CreationStatement } from './properties.ts';
import { assertOwn } from './restore.ts';
import type { Session } from './session.ts';
import { endSessions } from './sessions.ts';

/** Whoever connects to the original in the instant between is ended once more; so often in a row it is no accident. */
const mostTries = 5;
const endSessionsSeconds = 20;

/**
 * Makes a scratch database that holds what `from` holds, down to oids of tables, numbers of columns and places of rows.
 * It is closed until nobody but its owner and superusers may connect. Where a copy was cut off before, what it left is
 * dropped first.
 */
export async function copyDatabase(context: Context, from: OwnDatabase, to: OwnDatabase): Promise<void> {
  await using maintenance = await context.connect(context.settings.maintenanceDatabase);
  await dropDatabase(maintenance, to);
  await assertOwn(maintenance, from);
  const like = scratchProperties(
    await readProperties(maintenance, maintenance.server.major, from.name),
    context.worker.user,
  );
  await createFromTemplate(maintenance, from, to);
  const open = { sql: `ALTER DATABASE ${quoteName(to.name)} ALLOW_CONNECTIONS true`, setting: null };
  // What the worker may not set was refused for the original too.
  await runCreation(maintenance, [
    ...settingUpStatements(to.name, like),
    ...(await rightsOfApplication(maintenance, context, to)),
    open,
  ]);
}

/**
 * The application's role may do on the copy what it may on the live database, whose owner the copy gets where the worker
 * may give it away: since PostgreSQL 15 that decides who may create something in the schema public.
 */
async function rightsOfApplication(
  maintenance: Session,
  { application, worker, live }: Context,
  { name }: OwnDatabase,
): Promise<readonly CreationStatement[]> {
  if (application.user === worker.user) return [];
  const [row] = await maintenance.rows<{ owner: string; member: boolean; rights: readonly string[] }>(
    'Reading the rights of the application',
    `SELECT pg_get_userbyid(datdba) AS owner, pg_has_role(datdba, 'MEMBER') AS member,
       ARRAY(SELECT r FROM unnest(ARRAY['CONNECT', 'CREATE', 'TEMPORARY']) r WHERE has_database_privilege($2, oid, r)) AS rights
     FROM pg_database WHERE datname = $1`,
    [live, application.user],
  );
  if (!row) throw stalled('InternalError', `"${live}" is not in pg_database. Read the server's log.`);
  const statements = [
    ...(row.member ? [`ALTER DATABASE ${quoteName(name)} OWNER TO ${quoteName(row.owner)}`] : []),
    ...row.rights.map((right) => `GRANT ${right} ON DATABASE ${quoteName(name)} TO ${quoteName(application.user)}`),
  ];
  return statements.map((sql) => ({ sql, setting: null }));
}

/** Encoding, locale and tablespace are the template's, the owner is the worker; rights and settings don't come along. */
async function createFromTemplate(maintenance: Session, from: OwnDatabase, to: OwnDatabase): Promise<void> {
  const sql = `CREATE DATABASE ${quoteName(to.name)} OID = ${to.oid} TEMPLATE = ${quoteName(from.name)} ALLOW_CONNECTIONS = false`;
  for (let tried = 1; ; tried += 1) {
    await endAllSessions(maintenance, from);
    try {
      await maintenance.script('Copying a database', sql);
      return;
    } catch (error) {
      if (tried === mostTries || !isInUse(error)) throw error;
    }
  }
}

const isInUse = (error: unknown): boolean =>
  error instanceof Failure && error.cause instanceof Error && 'code' in error.cause && error.cause.code === '55006';

/** A template must have no sessions. The server ends what it runs there by itself, e.g. autovacuum. */
async function endAllSessions(maintenance: Session, { name }: OwnDatabase): Promise<void> {
  await endSessions(
    [maintenance],
    { condition: `datname = $1 AND backend_type = 'client backend'`, values: [name] },
    endSessionsSeconds,
    (who, cause) =>
      stalled(
        'PermissionDenied',
        `"${name}" can't be copied while somebody is connected to it: ${who.join(', ')}. End them: SELECT pg_terminate_backend(pid); then: migration-target reconcile NAME`,
        cause,
      ),
  );
}
