import { stalled, type Failure } from '../../rollback/errors.ts';
import type { Databases, DatabaseSettings, ScratchServerSettings } from '../../rollback/ports.ts';
import { openCheckServer } from './check-server.ts';
import { createContext, createScratchContext } from './context.ts';
import type { Context } from './context.ts';
import { createLiveDatabase, isClosedBySwap } from './live-database.ts';
import { onThisMachine, type ServerPlace } from './place.ts';
import { createConnector } from './session.ts';
import { createToolFinder } from './tools.ts';

export interface DatabasesOptions {
  /** Directories to look for pg_dump, pg_restore and psql in, before all others. */
  readonly toolDirectories?: readonly string[];
  /** false: in `toolDirectories` alone. */
  readonly standardDirectories?: boolean;
  /** The place of a server whose tools run in a container that is declared; null: they run beside the controller. */
  readonly placeOf?: (place: NonNullable<DatabaseSettings['place']>) => Promise<ServerPlace | null>;
}

/** PostgreSQL, as the procedure needs it. */
export function createDatabases(options: DatabasesOptions = {}): Databases {
  const connector = createConnector();
  const beside = onThisMachine(createToolFinder(options.toolDirectories, options.standardDirectories));
  const placeOf = async ({ place }: Pick<DatabaseSettings, 'place'>): Promise<ServerPlace> =>
    (place === null ? null : await options.placeOf?.(place)) ?? beside;
  return {
    async open(settings) {
      const context = createContext(settings, connector, await placeOf(settings));
      try {
        await connectOnce(context);
      } catch (error) {
        await context[Symbol.asyncDispose]();
        throw error;
      }
      return createLiveDatabase(context);
    },
    openCheckServer: (settings) => openCheckServer(settings, connector, beside),
    async openScratchServer(settings) {
      const context = createScratchContext(settings, connector, await placeOf(settings));
      try {
        const { server } = await context.onMaintenance();
        if (server.major !== settings.like.major) throw otherMajor(settings, server.version);
        return createLiveDatabase(context);
      } catch (error) {
        await context[Symbol.asyncDispose]();
        throw error;
      }
    },
  };
}

/** A database that a swap left closed is opened all the same: it is there, and it has to be repaired. */
async function connectOnce(context: Context): Promise<void> {
  try {
    const [worker] = await Promise.all([
      context.onLive(),
      context.worker === context.application ? null : refuseAnotherServer(context),
    ]);
    void worker;
  } catch (error) {
    if (!isClosedBySwap(error)) throw error;
    await context.onMaintenance();
  }
}

const identity = `SELECT (SELECT system_identifier::text FROM pg_control_system()) || '/' || oid::text AS id FROM pg_database WHERE datname = current_database()`;

/** Both URLs must lead to the very same database, or what is backed up is not what is changed. */
async function refuseAnotherServer(context: Context): Promise<void> {
  await using application = await context.connect(context.live, context.application);
  const worker = await context.onLive();
  const [mine, theirs] = await Promise.all([
    application.rows<{ id: string }>('Identifying the database', identity),
    worker.rows<{ id: string }>('Identifying the database', identity),
  ]);
  if (mine[0]?.id !== theirs[0]?.id) {
    throw stalled(
      'DatabaseUrlInvalid',
      `spec.database.adminUrlFrom (${worker.subject.where}) leads to another server than spec.database.urlFrom (${application.subject.where}). Put the same host and port into both.`,
    );
  }
}

const otherMajor = ({ like }: ScratchServerSettings, version: string): Failure =>
  stalled(
    'ServerNotSupported',
    `The server of spec.policy.rehearsalServer is PostgreSQL ${version}, and "${like.name}" is on ${like.major}: a rehearsal there would tell little. Put the URL of a server of the same major version there, or leave it out.`,
  );
