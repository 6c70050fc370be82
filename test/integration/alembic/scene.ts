import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { createAlembicRunner } from '../../../src/adapters/alembic/index.ts';
import { parseTarget } from '../../../src/api/target.ts';
import type { Step } from '../../../src/rollback/model.ts';
import type {
  AlembicSession,
  AlembicSettings,
  LockToken,
  MigrationEvent,
  MigrationResult,
} from '../../../src/rollback/ports.ts';
import { python, writeHistory, type AlembicProject, type HistorySpec } from '../../support/alembic.ts';
import { createDatabase, majors, query, type TestDatabase } from '../../support/postgres.ts';

/** One server is enough here: what alembic is told does not depend on its version. */
export const major = majors[0] ?? 16;

export const up = (...revisions: readonly string[]): readonly Step[] =>
  revisions.map((revision) => ({ direction: 'up', revision }));
export const down = (...revisions: readonly string[]): readonly Step[] =>
  revisions.map((revision) => ({ direction: 'down', revision }));

export interface Held {
  readonly token: LockToken;
  /** Gives the lock back, as the death of its holder would. */
  release(): Promise<void>;
}

/** The operation's lock, as the controller holds it: in the maintenance database, in a transaction left open. */
export async function holdLock(database: TestDatabase): Promise<Held> {
  const client = new pg.Client({ connectionString: database.maintenanceUrl });
  await client.connect();
  const objId = Math.floor(Math.random() * 2 ** 31);
  await client.query('BEGIN');
  await client.query('SELECT pg_advisory_xact_lock($1::bigint)', [(4242n * 2n ** 32n + BigInt(objId)).toString()]);
  const found = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
  let held = true;
  return {
    token: { classId: 4242, objId, pid: found.rows[0]?.pid ?? 0 },
    release: async () => {
      if (held) await client.end();
      held = false;
    },
  };
}

export interface Scene extends AsyncDisposable {
  readonly database: TestDatabase;
  readonly project: AlembicProject;
  readonly session: AlembicSession;
  readonly lock: Held;
  readonly events: MigrationEvent[];
  migrate(
    from: readonly string[],
    steps: readonly Step[],
    onEvent?: (event: MigrationEvent) => void,
  ): Promise<MigrationResult>;
  /** The version table, sorted; null where there is none. */
  heads(): Promise<readonly string[] | null>;
}

export type SettingsOver = Partial<Omit<AlembicSettings, 'spec'>> & {
  readonly spec?: Readonly<Record<string, unknown>>;
};

/**
 * Settings as the controller makes them of a declaration, so with all of its defaults. `MIGRATION_TARGET_TEST_PYTHON`
 * names another interpreter, to try other versions of alembic and SQLAlchemy with.
 */
export async function settingsFor(
  project: AlembicProject,
  databaseUrl: string,
  over: SettingsOver = {},
): Promise<AlembicSettings> {
  const parsed = parseTarget({
    apiVersion: 'migrationtarget.dev/v1alpha1',
    kind: 'MigrationTarget',
    metadata: { name: 'unicorn' },
    spec: {
      revision: 'base',
      database: { urlFrom: { env: 'UNUSED' }, ...project.database },
      alembic: {
        python: process.env['MIGRATION_TARGET_TEST_PYTHON'] ?? (await python()),
        ...project.alembic,
        ...over.spec,
      },
      runtime: { process: {} },
      backup: { storage: { directory: { path: '/unused' } } },
    },
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  const { alembic, database, runtime } = parsed.target.spec;
  return {
    runtime,
    versionTable: { schema: database.versionTableSchema, name: database.versionTable },
    databaseUrl,
    operationId: 'operation1',
    lockTimeoutSeconds: 5,
    signal: new AbortController().signal,
    env: {},
    copy: null,
    owner: null,
    ...over,
    spec: alembic,
  };
}

export async function folder(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'alembic-'));
}

/** A database, a project, a lock and a running session; all gone at the end of the scope. */
export async function openScene(history: HistorySpec, over: SettingsOver = {}): Promise<Scene> {
  const database = await createDatabase(major);
  const project = await writeHistory(await folder(), history);
  return openSceneOf(database, project, over);
}

export async function openSceneOf(
  database: TestDatabase,
  project: AlembicProject,
  over: SettingsOver = {},
): Promise<Scene> {
  const settings = await settingsFor(project, database.url, over);
  const session = await createAlembicRunner().start(settings);
  const lock = await holdLock(database);
  const [row] = await query<{ oid: string }>(
    database.url,
    'SELECT oid::text FROM pg_database WHERE datname = current_database()',
  );
  const events: MigrationEvent[] = [];
  const { schema, name } = settings.versionTable;
  return {
    database,
    project,
    session,
    lock,
    events,
    migrate: (from, steps, onEvent) =>
      session.migrate(
        { from, steps, database: { name: database.name, oid: Number(row?.oid) }, lock: lock.token },
        (event) => {
          events.push(event);
          onEvent?.(event);
        },
      ),
    heads: async () => {
      const [table] = await query<{ found: string | null }>(
        database.url,
        `SELECT to_regclass('${schema}.${name}')::text AS found`,
      );
      if (table?.found == null) return null;
      const rows = await query<{ id: string }>(
        database.url,
        `SELECT version_num AS id FROM ${schema}.${name} ORDER BY 1`,
      );
      return rows.map(({ id }) => id);
    },
    [Symbol.asyncDispose]: async () => {
      await session[Symbol.asyncDispose]();
      await lock.release();
      await database.drop();
    },
  };
}

export const outputOf = (events: readonly MigrationEvent[]): readonly string[] =>
  events.flatMap((event) => (event.kind === 'output' ? [event.line] : []));

/** Polls until it is so; fails after a bound. */
export async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + 30_000;
  while (!(await isSo())) {
    if (Date.now() > end) throw new Error(`never came true: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Waits until a session of this operation waits for a lock, or sleeps, on the database. */
export async function untilActive(database: TestDatabase, fragment: string): Promise<void> {
  await until(`a statement like ${fragment}`, async () => {
    const rows = await query(
      database.adminUrl,
      "SELECT 1 FROM pg_stat_activity WHERE datname = $1 AND state = 'active' AND query LIKE $2 AND pid <> pg_backend_pid()",
      [database.name, `%${fragment}%`],
    );
    return rows.length > 0;
  });
}
