/**
 * A server on which migrations are checked and nothing is live. All databases of one run hang on one of its own, the root,
 * whose name carries its own oid and whose comment names the others, each before it exists: so what a killed run left is
 * known for certain, and nothing goes by its name alone.
 */
import { randomInt } from 'node:crypto';
import { stalled } from '../../rollback/errors.ts';
import type { OwnDatabase } from '../../rollback/model.ts';
import type { CheckServer, CheckServerSettings, DatabaseSettings, Lock } from '../../rollback/ports.ts';
import { createContext } from './context.ts';
import { parseDatabaseUrl } from './database-url.ts';
import { applicationName, isScratchName, quoteName, quoteText } from './identifiers.ts';
import { createLiveDatabase } from './live-database.ts';
import { takeLock } from './lock.ts';
import { dropDatabase, oidRange } from './manage.ts';
import type { ServerPlace } from './place.ts';
import type { Connector, Session } from './session.ts';

const field = '--server';
const mark = 'migration-target check: ';
const rootName = /^mtcheck_(?<oid>[0-9]{10})_[a-z0-9]+$/;

/** Throws DatabaseUrlInvalid, AuthenticationFailed, DatabaseUnreachable, ServerNotSupported, PermissionDenied. */
export async function openCheckServer(
  settings: CheckServerSettings,
  connector: Connector,
  place: ServerPlace,
): Promise<CheckServer> {
  const endpoint = parseDatabaseUrl(settings.url, field);
  const connect = (): Promise<Session> =>
    connector.connect(endpoint, {
      applicationName: applicationName(settings.operationId),
      lockTimeoutSeconds: settings.lockTimeoutSeconds,
      searchPath: 'pinned',
      writable: true,
    });
  const maintenance = await connect();
  let lock: Lock | null = null;
  try {
    const cleared = await clearLeftovers(maintenance, connect);
    const oid = oidRange.from + randomInt(oidRange.to - oidRange.from);
    const root: OwnDatabase = { name: `mtcheck_${oid}_${settings.operationId}`, oid };
    // Before it exists, so that no other run takes it for a leftover.
    lock = await takeLock(await connect(), root.name);
    if (lock === null) throw stalled('DatabaseLocked', `Another run has the lock on ${root.name}. Run it again.`);
    await maintenance.script(
      'Creating a database',
      `CREATE DATABASE ${quoteName(root.name)} OID = ${root.oid} TEMPLATE = template0`,
    );
    return checkServer(settings, { root, maintenance, lock, cleared, connector, place, database: endpoint.database });
  } catch (error) {
    await lock?.[Symbol.asyncDispose]();
    await maintenance[Symbol.asyncDispose]();
    throw error;
  }
}

function checkServer(
  { url: serverUrl, ...settings }: CheckServerSettings,
  parts: {
    readonly root: OwnDatabase;
    readonly maintenance: Session;
    readonly lock: Lock;
    readonly cleared: readonly string[];
    readonly connector: Connector;
    readonly place: ServerPlace;
    readonly database: string;
  },
): CheckServer {
  const { root, maintenance, lock, cleared, connector, place } = parts;
  const url = new URL(serverUrl);
  url.pathname = `/${encodeURIComponent(root.name)}`;
  const open: DatabaseSettings = {
    ...settings,
    url: url.href,
    adminUrl: null,
    maintenanceDatabase: parts.database,
    place: null,
  };
  const database = createLiveDatabase(createContext(open, connector, place));
  return {
    url: url.href,
    root,
    server: maintenance.server,
    cleared,
    database,
    lock,
    async journal(scratch) {
      const text = `${mark}${JSON.stringify(scratch.map(({ name, oid }) => ({ name, oid })))}`;
      await maintenance.script('Journalling', `COMMENT ON DATABASE ${quoteName(root.name)} IS ${quoteText(text)}`);
    },
    async [Symbol.asyncDispose]() {
      await database[Symbol.asyncDispose]();
      await dropDatabase(maintenance, root);
      await lock[Symbol.asyncDispose]();
      await maintenance[Symbol.asyncDispose]();
    },
  };
}

interface Leftover extends Record<string, unknown> {
  readonly name: string;
  readonly oid: string;
  readonly comment: string | null;
}

/**
 * What runs left that were killed: whoever works still holds the lock. A root is one whose name says the very oid that it
 * has; the others are those that its comment names, with their oids.
 */
async function clearLeftovers(maintenance: Session, connect: () => Promise<Session>): Promise<readonly string[]> {
  const found = await maintenance.rows<Leftover>(
    'Looking for what killed runs left',
    `SELECT datname AS name, oid::text AS oid, shobj_description(oid, 'pg_database') AS comment FROM pg_database
     WHERE starts_with(datname, 'mtcheck_') AND pg_has_role(datdba, 'MEMBER') ORDER BY 1`,
  );
  const cleared: string[] = [];
  for (const { name, oid, comment } of found) {
    if (rootName.exec(name)?.groups?.['oid'] !== oid) continue;
    await using held = await takeLock(await connect(), name);
    if (held === null) continue;
    for (const scratch of journalled(name, comment)) {
      if (await dropDatabase(maintenance, scratch)) cleared.push(scratch.name);
    }
    if (await dropDatabase(maintenance, { name, oid: Number(oid) })) cleared.push(name);
  }
  return cleared;
}

/** Only names that are made of the root's; a comment that somebody else wrote names nothing. */
function journalled(root: string, comment: string | null): readonly OwnDatabase[] {
  if (comment?.startsWith(mark) !== true) return [];
  const isOurs = (one: unknown): one is OwnDatabase =>
    typeof one === 'object' &&
    one !== null &&
    'name' in one &&
    'oid' in one &&
    typeof one.name === 'string' &&
    typeof one.oid === 'number' &&
    isScratchName(one.name) &&
    one.name.startsWith(root.slice(0, 'mtcheck_'.length + 10));
  try {
    const named: unknown = JSON.parse(comment.slice(mark.length));
    return Array.isArray(named) ? named.filter(isOurs) : [];
  } catch {
    return [];
  }
}
