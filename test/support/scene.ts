/** A database, a history, a folder of declarations, and the procedure wired to the real adapters: one for each test. */
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll } from '@jest/globals';

import { createAlembicRunner } from '../../src/adapters/alembic/index.ts';
import { createDirectoryHome } from '../../src/adapters/directory/index.ts';
import { createDockerHost } from '../../src/adapters/docker/index.ts';
import { probeHttp } from '../../src/adapters/http/probe.ts';
import { createDatabases } from '../../src/adapters/postgres/index.ts';
import { createBackupStores } from '../../src/adapters/storage/index.ts';
import type { Outcome } from '../../src/api/conditions.ts';
import type { MigrationTarget, TargetStatus } from '../../src/api/target.ts';
import type { Declaration, OperationEvent, Ports } from '../../src/rollback/ports.ts';
import { reconcile, type Reconciled } from '../../src/rollback/reconcile.ts';
import type { Asked } from '../../src/rollback/visit.ts';
import { python, type AlembicProject, type HistorySpec, writeHistory, writeTarget } from './alembic.ts';
import { createDatabase, type DatabaseOptions, query, testServer, type TestDatabase } from './postgres.ts';

export type Major = Parameters<typeof createDatabase>[0];

export interface Scene extends AsyncDisposable {
  readonly dir: string;
  readonly backups: string;
  readonly database: TestDatabase;
  readonly project: AlembicProject;
  readonly ports: Ports;
  /** What was observed, oldest first. */
  readonly observed: readonly OperationEvent[];
  /** Writes the declaration; `spec` is merged over the one before. */
  declare(spec: Readonly<Record<string, unknown>>): Promise<void>;
  /** As the controller does; `asked` as a person would. */
  reconcile(asked?: Asked): Promise<Reconciled>;
  /** Declares a revision (`base` or heads, comma-separated) and reconciles. */
  goTo(revision: string, spec?: Readonly<Record<string, unknown>>): Promise<Reconciled>;
  target(): Promise<MigrationTarget>;
  status(): Promise<TargetStatus>;
  /** What the version table holds, comma-joined. */
  version(): Promise<string>;
  query(sql: string): Promise<readonly Record<string, unknown>[]>;
  /** Names of the databases of this scene: the live one, and what was made of it. */
  databases(): Promise<string[]>;
  /** Keeps the scene as it is; what is returned brings it back to that, whatever happened since. */
  save(): Promise<() => Promise<void>>;
}

export interface SceneOptions {
  readonly history: HistorySpec;
  readonly name?: string;
  readonly database?: DatabaseOptions;
  readonly spec?: Readonly<Record<string, unknown>>;
  readonly ports?: (ports: Ports) => Ports;
}

/** `dataLoss: Allow`, so that a test says itself where that is not wanted. */
export async function createScene(major: Major, options: SceneOptions): Promise<Scene> {
  const dir = await mkdtemp(join(tmpdir(), 'mt-scene-'));
  const backups = join(dir, 'backups');
  const database = await createDatabase(major, options.database);
  const project = await writeHistory(join(dir, 'app'), options.history);
  const { binDir } = await testServer(major);
  const home = createDirectoryHome(dir);
  const observed: OperationEvent[] = [];
  const name = options.name ?? 'unicorn';
  const key = { namespace: 'default', name };
  const ports: Ports = {
    databases: createDatabases({ toolDirectories: [binDir] }),
    alembic: createAlembicRunner(),
    backups: createBackupStores(),
    home,
    workloads: () => createDockerHost().workloads,
    probe: probeHttp,
    clock: { now: () => new Date() },
    observe: (_key, _id, event) => void observed.push(event),
  };
  const wired = options.ports?.(ports) ?? ports;
  let saved: Saved | null = null;
  let spec: Readonly<Record<string, unknown>> = { policy: { dataLoss: 'Allow' }, ...options.spec };

  const read = async (): Promise<MigrationTarget> => {
    const declaration: Declaration | null = await home.get(key);
    if (declaration?.kind !== 'target') throw new Error(`no target: ${JSON.stringify(declaration)}`);
    return declaration.target;
  };
  const scene: Scene = {
    dir,
    backups,
    database,
    project,
    ports: wired,
    observed,
    declare: async (changes) => {
      spec = { ...spec, ...changes };
      await writeTarget(dir, { name, database, project, python: await python(), revision: 'base', backups, spec });
    },
    reconcile: async (asked = { kind: 'reconcile' }) =>
      reconcile(await read(), wired, asked, new AbortController().signal),
    goTo: async (revision, changes = {}) => {
      const heads = revision.split(',');
      const declared = heads.length > 1 ? { revision: null, revisions: heads } : { revision, revisions: null };
      await scene.declare({ ...declared, ...changes });
      return scene.reconcile();
    },
    target: read,
    status: async () => {
      const { status } = await read();
      if (status === null) throw new Error('the target has no status yet');
      return status;
    },
    version: async () => {
      const rows = await query<{ version_num: string }>(
        database.adminUrl,
        'SELECT version_num FROM alembic_version ORDER BY 1',
      );
      return rows.map(({ version_num }) => version_num).join(',');
    },
    query: (sql) => query(database.adminUrl, sql),
    databases: async () => {
      const rows = await query<{ datname: string }>(
        database.maintenanceUrl,
        'SELECT d.datname FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE r.rolname = $1 ORDER BY 1',
        [database.owner],
      );
      return rows.map(({ datname }) => datname);
    },
    save: async () => {
      saved = await save(database, dir);
      const specThen = spec;
      const { back } = saved;
      return async () => {
        await back(await scene.databases());
        spec = specThen;
        observed.length = 0;
      };
    },
    [Symbol.asyncDispose]: async () => {
      await saved?.drop();
      await database.drop();
      await rm(dir, { recursive: true, force: true });
    },
  };
  await scene.declare({});
  return scene;
}

interface Saved {
  /** Given the databases that are to go. */
  readonly back: (databases: readonly string[]) => Promise<void>;
  readonly drop: () => Promise<void>;
}

/** A database and a folder, as they are now. */
async function save({ name, owner, server }: TestDatabase, dir: string): Promise<Saved> {
  // Of the superuser, so that it is none of the scene's databases.
  const template = `${name}_saved`;
  const admin = (sql: string): Promise<unknown> => query(server.adminUrl, sql);
  const [row] = await query<{ oid: string }>(server.adminUrl, 'SELECT oid::text FROM pg_database WHERE datname = $1', [
    name,
  ]);
  await admin(`CREATE DATABASE "${template}" TEMPLATE "${name}"`);
  await cp(dir, `${dir}.saved`, { recursive: true });
  return {
    back: async (databases) => {
      for (const one of databases) await admin(`DROP DATABASE "${one}" WITH (FORCE)`);
      // With the same oid: to an approval it would be another database otherwise.
      await admin(`CREATE DATABASE "${name}" OID = ${row?.oid} TEMPLATE "${template}" OWNER "${owner}"`);
      await rm(dir, { recursive: true });
      await cp(`${dir}.saved`, dir, { recursive: true });
    },
    drop: async () => {
      await admin(`DROP DATABASE "${template}" WITH (FORCE)`);
      await rm(`${dir}.saved`, { recursive: true, force: true });
    },
  };
}

/**
 * Prepares a scene once for each major and history, and hands it out as it then was to each test that asks. To be called
 * once in a test file, outside of its tests.
 */
export function preparedOnce(
  prepare: (major: Major, history: HistorySpec) => Promise<Scene>,
): (major: Major, history?: HistorySpec) => Promise<Scene> {
  const prepared = new Map<string, { readonly scene: Scene; readonly back: () => Promise<void> }>();
  afterAll(async () => {
    for (const { scene } of prepared.values()) await scene[Symbol.asyncDispose]();
  });
  return async (major, history = threeSteps) => {
    const key = JSON.stringify([major, history]);
    const known = prepared.get(key);
    if (known) await known.back();
    const scene = known?.scene ?? (await prepare(major, history));
    if (!known) prepared.set(key, { scene, back: await scene.save() });
    // It lives on.
    return { ...scene, [Symbol.asyncDispose]: async () => undefined };
  };
}

/** An outcome as one line, so that a failing test shows its message too. */
export const said = (outcome: Outcome): string =>
  `${outcome.kind} ${'reason' in outcome ? outcome.reason : ''}: ${outcome.message}`;

/** Three revisions: a table, a column with data, an index. */
export const threeSteps: HistorySpec = {
  revisions: [
    {
      id: 'a1',
      up: `op.create_table('users', sa.Column('id', sa.Integer, primary_key=True), sa.Column('name', sa.Text, nullable=False))
op.execute("INSERT INTO users SELECT g, 'user ' || g FROM generate_series(1, 1000) g")`,
      downgrade: `op.drop_table('users')`,
    },
    {
      id: 'a2',
      up: `op.add_column('users', sa.Column('email', sa.Text))
op.execute("UPDATE users SET email = name || '@example.org'")`,
      downgrade: `op.drop_column('users', 'email')`,
    },
    { id: 'a3', up: `op.create_index('users_email', 'users', ['email'])`, downgrade: `op.drop_index('users_email')` },
  ],
};
