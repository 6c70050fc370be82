import type { DatabaseProperties } from '../../rollback/model.ts';
import type { DatabaseSettings, ScratchServerSettings } from '../../rollback/ports.ts';
import { parseDatabaseUrl, refuseReservedName } from './database-url.ts';
import type { Endpoint } from './database-url.ts';
import { applicationName, applicationNameElsewhere } from './identifiers.ts';
import type { ServerPlace } from './place.ts';
import type { Connector, Session } from './session.ts';
import { toolAccess } from './tool-runs.ts';
import type { ToolAccess } from './tool-runs.ts';
import type { Tools } from './tools.ts';

/** What all that is done to one live database shares: where it is, as whom, and the sessions kept open. */
export interface Context extends AsyncDisposable {
  readonly settings: DatabaseSettings;
  readonly place: ServerPlace;
  readonly live: string;
  /** How an empty scratch database is set up; null: as the live one is. */
  readonly like: DatabaseProperties | null;
  /** The application's role on the live database. */
  readonly application: Endpoint;
  /** Whoever does our work on the live database: the administrator where one is declared, else the application's role. */
  readonly worker: Endpoint;
  readonly ownBackends: ReadonlySet<number>;
  /** Aborted when this is disposed of: ends the tools that still run. */
  readonly signal: AbortSignal;
  /** The shared session on the live database; a new one where the last is gone. */
  onLive(): Promise<Session>;
  /** The shared session on the maintenance database. */
  onMaintenance(): Promise<Session>;
  /** Ends the shared session on the live database, e.g. before it is closed. */
  leaveLive(): Promise<void>;
  /** A session of the caller's own on any database; the caller ends it. */
  connect(database: string, as?: Endpoint): Promise<Session>;
  /** A session that resolves names as the application's do, without our search_path; the caller ends it. */
  connectAsApplication(database: string): Promise<Session>;
  tools(major: number): Promise<Tools>;
  /** For a tool to reach a database as the worker. */
  toolAccess(tools: Tools, database: string): Promise<ToolAccess>;
}

/** Throws DatabaseUrlInvalid, DatabaseNameRefused. Connects to nothing. */
export function createContext(settings: DatabaseSettings, connector: Connector, place: ServerPlace): Context {
  const application = parseDatabaseUrl(settings.url, 'spec.database.urlFrom');
  const live = application.database;
  refuseReservedName(live, settings.maintenanceDatabase);
  // The administrator's URL says where and as whom; which database is the application's URL's to say.
  const worker =
    settings.adminUrl === null
      ? application
      : { ...parseDatabaseUrl(settings.adminUrl, 'spec.database.adminUrlFrom'), database: live };
  const abort = new AbortController();

  const nameOn = (database: string): string =>
    database === live ? applicationName(settings.operationId) : applicationNameElsewhere(settings.operationId, live);
  const connect = async (database: string, as: Endpoint = worker): Promise<Session> =>
    connector.connect(await place.fromHere({ ...as, database }), {
      applicationName: nameOn(database),
      lockTimeoutSeconds: settings.lockTimeoutSeconds,
      searchPath: 'pinned',
      writable: database !== live,
    });
  const onLive = keepOpen(() => connect(live));
  const onMaintenance = keepOpen(() => connect(settings.maintenanceDatabase));

  return {
    settings,
    place,
    live,
    like: null,
    application,
    worker,
    ownBackends: connector.ownBackends,
    signal: abort.signal,
    onLive: onLive.get,
    onMaintenance: onMaintenance.get,
    leaveLive: onLive.close,
    connect,
    connectAsApplication: async (database) =>
      connector.connect(await place.fromHere({ ...application, database }), {
        applicationName: nameOn(database),
        lockTimeoutSeconds: settings.lockTimeoutSeconds,
        searchPath: 'application',
        writable: false,
      }),
    tools: (major) => place.tools.find(major),
    toolAccess: async (tools, database) =>
      toolAccess(await place.fromTools({ ...worker, database }), nameOn(database), tools),
    async [Symbol.asyncDispose]() {
      abort.abort();
      await Promise.all([onLive.close(), onMaintenance.close()]);
    },
  };
}

/**
 * A server that only copies of a live database are on, which is elsewhere: its name is what theirs are made of, and nothing
 * ever connects to a database of that name here. Throws DatabaseUrlInvalid.
 */
export function createScratchContext(
  { like, ...settings }: ScratchServerSettings,
  connector: Connector,
  place: ServerPlace,
): Context {
  const field = 'spec.policy.rehearsalServer.urlFrom';
  const { database: maintenanceDatabase } = parseDatabaseUrl(settings.url, field);
  const url = new URL(settings.url);
  url.pathname = `/${encodeURIComponent(like.name)}`;
  const context = createContext({ ...settings, url: url.href, adminUrl: null, maintenanceDatabase }, connector, place);
  return { ...context, like: like.properties, onLive: () => context.onMaintenance() };
}

/** One session, opened when first asked for, and again when it was lost. */
function keepOpen(open: () => Promise<Session>): {
  readonly get: () => Promise<Session>;
  readonly close: () => Promise<void>;
} {
  let current: { readonly opening: Promise<Session>; session: Session | null } | null = null;
  return {
    get() {
      if (current === null || current.session?.alive === false) {
        const opened: NonNullable<typeof current> = { opening: open(), session: null };
        current = opened;
        opened.opening.then(
          (session) => (opened.session = session),
          () => {
            // Not kept: the next one who asks tries again.
            if (current === opened) current = null;
          },
        );
      }
      return current.opening;
    },
    async close() {
      const closing = current;
      current = null;
      const session = await closing?.opening.catch(() => null);
      await session?.[Symbol.asyncDispose]();
    },
  };
}
