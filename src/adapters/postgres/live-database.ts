import { Failure, stalled } from '../../rollback/errors.ts';
import type { LiveDatabase } from '../../rollback/ports.ts';
import { isClosed, isEndedByCommand } from './connect-errors.ts';
import { createDatabase, dropDatabase, reserveDatabase, scratchProperties } from './manage.ts';
import type { Context } from './context.ts';
import { copyDatabase } from './copy.ts';
import { cutOff } from './cut-off.ts';
import { dump } from './dump.ts';
import { elsewhereMark } from './identifiers.ts';
import { takeLock } from './lock.ts';
import { findLoss } from './loss.ts';
import { readProperties } from './properties.ts';
import { readState } from './read.ts';
import { assertIdentity, connectToOwn, copySchema, restoreInto } from './restore.ts';
import { countRows, findWrites } from './row-counts.ts';
import { readSchemaFacts } from './schema-facts.ts';
import type { Session, Statements } from './session.ts';
import { freeServerBytes } from './free-space.ts';
import { endSessions, findOthers } from './sessions.ts';
import { watchStrays } from './strays.ts';
import { readSwapState, reopen, swap } from './swap.ts';
import { readVersionTable, stamp } from './version-table.ts';

const snapshotMode = 'ISOLATION LEVEL REPEATABLE READ, READ ONLY';
const endSessionsSeconds = 20;

export function createLiveDatabase(context: Context): LiveDatabase {
  const { settings, live } = context;
  const inSnapshot = async <T>(work: (snapshot: Statements, session: Session) => Promise<T>): Promise<T> => {
    const session = await context.onLive();
    return session.transaction(snapshotMode, (snapshot) => work(snapshot, session));
  };
  // Over a connection of its own: it takes a while, and nothing else should have to wait for it.
  const createOwn: LiveDatabase['createDatabase'] = async (database, properties) => {
    await using maintenance = await context.connect(settings.maintenanceDatabase);
    const { major } = maintenance.server;
    if (properties !== 'scratch') return await createDatabase(maintenance, database, properties, major);
    const like = context.like ?? (await readProperties(await context.onLive(), major));
    const scratch = scratchProperties(like, context.worker.user);
    return await createDatabase(maintenance, database, scratch, major);
  };
  const dropOwn: LiveDatabase['dropDatabase'] = async (database) => {
    if (database.name === live) throw stalled('InternalError', `"${live}" is the live database, and is never dropped.`);
    return dropDatabase(await context.onMaintenance(), database);
  };

  return {
    read: () => evenIfEnded(async () => readState(await context.onLive(), settings.versionTable)),
    lock: async () => takeLock(await context.connect(settings.maintenanceDatabase), live),
    endOperationSessions: () => endOperationSessions(context),
    watchStrays: (copy, as) => watchStrays(context, copy, as),
    tools: async () => context.tools((await context.onLive()).server.major),

    liveSchema: () =>
      inSnapshot((snapshot, { server }) => readSchemaFacts(snapshot, server.major, settings.versionTable)),
    async canonicalSchema(scratch, created, of) {
      const { major } = (await context.onLive()).server;
      // While pg_dump looks at what there is: later, all would wait for it.
      const connecting = created.then(() => connectToOwn(context, scratch));
      const connected = connecting.catch(() => null); // told below, though the tools may not have been found by then
      try {
        await copySchema(context, major, { from: of?.name ?? live, into: scratch, ready: connecting });
        const session = await connecting;
        await cutOff(session);
        return await readSchemaFacts(session, major, settings.versionTable);
      } finally {
        await (await connected)?.[Symbol.asyncDispose]();
      }
    },
    otherSessions: async () => findOthers(await context.onLive(), context.ownBackends),
    freeBytes: async () =>
      freeServerBytes(await context.onMaintenance(), context.place.isThisMachine ? context.worker.host : null),
    rowCounts: () => inSnapshot(countRows),
    properties: () => inSnapshot((snapshot, { server }) => readProperties(snapshot, server.major)),
    async query(sql, database) {
      await using session = await context.connectAsApplication(database?.name ?? live);
      if (database) await assertIdentity(session, database);
      return await session.firstValue('Running a query', sql).catch((error: unknown) => {
        // The statement itself is wrong, or the schema is not what it expects.
        if (error instanceof Failure && error.reason === 'InternalError')
          throw stalled('VerificationFailed', `${error.message} The query: ${sql}`, error);
        throw error;
      });
    },

    dump: (directory, progress, signal) => dump(context, directory, progress, signal),
    writesSince: (then) => inSnapshot((snapshot) => findWrites(snapshot, then)),

    newDatabase: async (purpose, id) => reserveDatabase(await context.onMaintenance(), live, purpose, id),
    createDatabase: createOwn,
    copyDatabase: (from, to) => copyDatabase(context, from, to),
    dropDatabase: dropOwn,
    restoreInto: (database, from, progress, signal) => restoreInto(context, database, from, progress, signal),
    async analyze(database) {
      await using session = await connectToOwn(context, database);
      await session.script('Analyzing', 'ANALYZE');
    },
    async contents(database) {
      await using session = await connectToOwn(context, database);
      return await session.transaction(snapshotMode, async (snapshot) => ({
        schema: await readSchemaFacts(snapshot, session.server.major, settings.versionTable),
        rowCounts: await countRows(snapshot),
        versionTable: await readVersionTable(snapshot, settings.versionTable),
      }));
    },
    findLoss: (before, after, options, progress, signal) => findLoss(context, before, after, options, progress, signal),
    async stamp(database, revisions) {
      await using session = await connectToOwn(context, database);
      await stamp(session, settings.versionTable, revisions, context.application.user);
    },

    swap: (origin, into, aside) => swap(context, origin, into, aside),
    swapState: async (origin, into, aside) => readSwapState(await context.onMaintenance(), origin, into, aside),
    reopen: async (origin) => reopen(await context.onMaintenance(), origin),
    [Symbol.asyncDispose]: () => context[Symbol.asyncDispose](),
  };
}

/**
 * Whoever takes the lock ends the sessions of every operation before, and a mere look (a plan, a status) has one of the
 * same mark: it looks once more.
 */
async function evenIfEnded<T>(look: () => Promise<T>): Promise<T> {
  try {
    return await look();
  } catch (error) {
    if (!(error instanceof Failure && isEndedByCommand(error.cause))) throw error;
    return look();
  }
}

/**
 * Ends what a dead operation left: its sessions on the live database, and those elsewhere that are marked as working for
 * it (identifiers.ts). Not those of this process, nor another target's on the same server.
 */
async function endOperationSessions(context: Context): Promise<number> {
  const { live, settings } = context;
  const maintenance = await context.onMaintenance();
  await using application =
    context.worker === context.application
      ? null
      : await context.connect(settings.maintenanceDatabase, context.application).catch(() => null);
  return await endSessions(
    application === null ? [maintenance] : [maintenance, application],
    {
      condition: `application_name LIKE 'migration-target/%' AND (datname = $1 OR right(application_name, length($2)) = $2) AND NOT pid = ANY($3::int[])`,
      values: [live, elsewhereMark(live), [...context.ownBackends]],
    },
    endSessionsSeconds,
    (who, cause) =>
      stalled(
        'PermissionDenied',
        `Sessions of a dead operation on "${live}" could not be ended: ${who.join(', ')}. End them: SELECT pg_terminate_backend(pid); then: migration-target reconcile NAME`,
        cause,
      ),
  );
}

/** Says whether opening failed only because a swap that was cut off has left the database closed. */
export const isClosedBySwap = (error: unknown): boolean => error instanceof Error && isClosed(error.cause);
