import { expect } from '@jest/globals';
import { createAlembicRunner } from '../../../src/adapters/alembic/index.ts';
import type { Step } from '../../../src/rollback/model.ts';
import type { AlembicSession, MigrationEvent, MigrationResult } from '../../../src/rollback/ports.ts';
import { writeHistory, type AlembicProject, type HistorySpec } from '../../support/alembic.ts';
import {
  contentChecksum,
  createDatabase,
  databaseUrl,
  query,
  type majors,
  type TestDatabase,
} from '../../support/postgres.ts';
import { folder, holdLock, settingsFor, type Held, type SettingsOver } from '../../integration/alembic/scene.ts';

type Major = (typeof majors)[number];

/** The copy, on the server of the live database. */
export interface Copy {
  readonly name: string;
  readonly oid: number;
  readonly url: string;
  readonly adminUrl: string;
}

export interface Rehearsal extends AsyncDisposable {
  readonly live: TestDatabase;
  readonly copy: Copy;
  readonly project: AlembicProject;
  readonly session: AlembicSession;
  readonly lock: Held;
  readonly events: MigrationEvent[];
  rehearse(
    from: readonly string[],
    steps: readonly Step[],
    onEvent?: (event: MigrationEvent) => void,
  ): Promise<MigrationResult>;
  /** Fails where the live database, or a role or setting of its server's, is not as it was. */
  expectLiveUnchanged(): Promise<void>;
}

/** The history may name the live database, and the copy, by their URLs. */
export type HistoryOf = (live: TestDatabase, copy: Copy) => HistorySpec;
type OverOf = SettingsOver | ((live: TestDatabase) => SettingsOver);

const seed = "CREATE TABLE kept (id int PRIMARY KEY, what text); INSERT INTO kept VALUES (1, 'as it was')";

/** A live database with a row in it, its copy, and a Python in rehearsal mode. */
export async function openRehearsal(major: Major, history: HistoryOf, over: OverOf = {}): Promise<Rehearsal> {
  const live = await createDatabase(major, { sql: seed });
  const copy = await copyOf(live);
  const project = await writeHistory(await folder(), history(live, copy));
  const settings = await settingsFor(project, live.url, {
    copy: { insteadOf: live.name, database: copy.name, url: null },
    ...(typeof over === 'function' ? over(live) : over),
  });
  const lock = await holdLock(live);
  const before = await stateOf(live);
  const session = await createAlembicRunner().start(settings);
  const events: MigrationEvent[] = [];
  return {
    live,
    copy,
    project,
    session,
    lock,
    events,
    rehearse: (from, steps, onEvent) =>
      session.migrate({ from, steps, database: { name: copy.name, oid: copy.oid }, lock: lock.token }, (event) => {
        events.push(event);
        onEvent?.(event);
      }),
    expectLiveUnchanged: async () => expect(await stateOf(live)).toEqual(before),
    [Symbol.asyncDispose]: async () => {
      await session[Symbol.asyncDispose]();
      await lock.release();
      await live.drop();
    },
  };
}

async function copyOf(live: TestDatabase): Promise<Copy> {
  const name = `${live.name}__scopy`;
  await query(live.server.adminUrl, `CREATE DATABASE ${name} TEMPLATE ${live.name} OWNER ${live.owner}`);
  const [row] = await query<{ oid: string }>(
    live.server.adminUrl,
    'SELECT oid::text FROM pg_database WHERE datname = $1',
    [name],
  );
  return {
    name,
    oid: Number(row?.oid),
    url: databaseUrl(live.url, { database: name }),
    adminUrl: databaseUrl(live.adminUrl, { database: name }),
  };
}

/** What is in the live database, and what a statement beyond it could have left on its server. */
async function stateOf(live: TestDatabase): Promise<unknown> {
  return [
    await contentChecksum(live.adminUrl),
    await query(
      live.adminUrl,
      `SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace) AS relations,
         (SELECT array_agg(s::text) FROM pg_db_role_setting s WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = $1)) AS settings,
         (SELECT array_agg(rolname::text) FROM pg_roles WHERE rolname LIKE $1 || '%') AS roles`,
      [live.name],
    ),
  ];
}

/** The tables of a database, without the version table. */
export async function tablesOf(url: string): Promise<readonly string[]> {
  const rows = await query<{ name: string }>(
    url,
    "SELECT relname AS name FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'alembic_version' ORDER BY 1",
  );
  return rows.map(({ name }) => name);
}

/** A URL as SQLAlchemy takes it, with that driver. */
export const withDriver = (url: string, driver: string): string => url.replace(/^postgresql:/, `postgresql+${driver}:`);

/** An env.py that makes its own connection: `connect` is an expression for an engine, given `URL`. */
export const envOf = (url: string, engine: string, before = ''): string => `
import os
from alembic import context
from sqlalchemy import create_engine, event, pool, text
URL = ${JSON.stringify(url)}
${before}
engine = ${engine}
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
`;

export const failedWith = (error: Readonly<Record<string, unknown>>): unknown => ({
  ok: false,
  error: expect.objectContaining(error),
});
