import { randomInt } from 'node:crypto';
import { Failure } from '../../rollback/errors.ts';
import type { DatabaseProperties, OwnDatabase } from '../../rollback/model.ts';
import type { LeftOut } from '../../rollback/ports.ts';
import { derivedName, quoteName } from './identifiers.ts';
import type { Purpose } from './identifiers.ts';
import { creationStatements, namedRoles, withoutRoles } from './properties.ts';
import type { CreationStatement } from './properties.ts';
import type { Statements } from './session.ts';

export interface DatabaseRow {
  readonly name: string;
  readonly oid: number;
  readonly open: boolean;
  readonly template: boolean;
}

/** The databases that have one of these names or oids. */
export async function findDatabases(
  maintenance: Statements,
  wanted: readonly OwnDatabase[],
): Promise<readonly DatabaseRow[]> {
  return maintenance.rows<DatabaseRow & Record<string, unknown>>(
    'Looking for databases',
    'SELECT datname AS name, oid::bigint::int8::float8 AS oid, datallowconn AS open, datistemplate AS template FROM pg_database WHERE datname = ANY($1) OR oid = ANY($2::oid[]) ORDER BY 1',
    [wanted.map(({ name }) => name), wanted.map(({ oid }) => oid)],
  );
}

/** Far above where the server's own counter is, in all likelihood for good; 32 bits, unsigned. */
export const oidRange = { from: 3_000_000_000, to: 4_294_000_000 } as const;

/** A name and an oid, neither of them in use, to be journalled before the database exists. */
export async function reserveDatabase(
  maintenance: Statements,
  live: string,
  purpose: Purpose,
  id: string,
): Promise<OwnDatabase> {
  for (let tried = 1; ; tried += 1) {
    const candidate = {
      name: derivedName(live, purpose, tried === 1 ? id : `${id}${tried}`),
      oid: oidRange.from + randomInt(oidRange.to - oidRange.from),
    };
    if ((await findDatabases(maintenance, [candidate])).length === 0) return candidate;
  }
}

/**
 * Where a creation was cut off before, what it left is dropped first: it has that very oid. A setting that only a superuser
 * may make is no reason to have no database.
 */
export async function createDatabase(
  maintenance: Statements,
  database: OwnDatabase,
  properties: DatabaseProperties,
  major: number,
): Promise<LeftOut> {
  await dropDatabase(maintenance, database);
  const roles = await goneRoles(maintenance, namedRoles(properties));
  const possible = withoutRoles(properties, new Set(roles), maintenance.subject.role);
  return { roles, settings: await runCreation(maintenance, creationStatements(database, possible, major)) };
}

/** Runs them one by one; says which settings the worker may not make. */
export async function runCreation(
  maintenance: Statements,
  statements: readonly CreationStatement[],
): Promise<readonly string[]> {
  const refused: string[] = [];
  for (const { sql, setting } of statements) {
    try {
      await maintenance.script('Creating a database', sql);
    } catch (error) {
      if (setting === null || !(error instanceof Failure) || error.reason !== 'PermissionDenied') throw error;
      refused.push(setting);
    }
  }
  return refused;
}

async function goneRoles(maintenance: Statements, roles: readonly string[]): Promise<readonly string[]> {
  const rows = await maintenance.rows<{ name: string }>(
    'Looking for roles',
    'SELECT name FROM unnest($1::text[]) AS name WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) ORDER BY 1',
    [roles],
  );
  return rows.map(({ name }) => name);
}

/**
 * What a scratch database has of the live one: encoding, locale, tablespace and its settings (a search_path set there
 * would otherwise be missing), but for one that nothing could be restored with; nobody but its owner and superusers may
 * connect.
 */
export function scratchProperties(live: DatabaseProperties, owner: string): DatabaseProperties {
  return {
    ...live,
    owner,
    connectionLimit: -1,
    comment: 'migration-target: scratch, dropped after use',
    statements: [
      'REVOKE ALL ON DATABASE %DATABASE% FROM PUBLIC',
      ...live.statements.filter(
        (statement) =>
          statement.startsWith('ALTER DATABASE %DATABASE% SET ') &&
          !statement.includes('"default_transaction_read_only"'),
      ),
    ],
  };
}

/**
 * Drops the database of that name if it is the one with that oid. DROP DATABASE goes by name, and can be in no
 * transaction, so the oid is looked at right before; who holds the lock is the only one who renames.
 */
export async function dropDatabase(maintenance: Statements, database: OwnDatabase): Promise<boolean> {
  const found = await findDatabases(maintenance, [database]);
  const it = found.find(({ name, oid }) => name === database.name && oid === database.oid);
  if (it === undefined) return false;
  if (it.template)
    await maintenance.script(
      'Making a database no template',
      `ALTER DATABASE ${quoteName(database.name)} IS_TEMPLATE false`,
    );
  await dropByForce(maintenance, database);
  return true;
}

/**
 * FORCE wants to end autovacuum in the database as well, which only a superuser may. Without it the server ends that by
 * itself, and what is left is to end the sessions of people.
 */
async function dropByForce(maintenance: Statements, { name }: OwnDatabase): Promise<void> {
  const drop = `DROP DATABASE ${quoteName(name)}`;
  try {
    await maintenance.script('Dropping a database', `${drop} WITH (FORCE)`);
  } catch (error) {
    if (!(error instanceof Failure) || error.reason !== 'PermissionDenied') throw error;
    await maintenance.rows(
      'Ending the sessions on a database',
      `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend'`,
      [name],
    );
    await maintenance.script('Dropping a database', drop);
  }
}
