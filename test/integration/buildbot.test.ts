/**
 * A real history: Buildbot's, from the wheels that its users install. Its downgrades are as they are: that of 067 drops a
 * table that others refer to, that of 060 a column that was never there, those between work.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runOrThrow } from '../../scripts/lib/run.ts';
import { buildbotPython } from '../support/alembic.ts';
import { contentChecksum, databaseUrl, query, type TestDatabase } from '../support/postgres.ts';
import { createScene, said, type Scene } from '../support/scene.ts';
import { canonicalSchema, open } from './postgres/open.ts';

/** As Buildbot's own upgrade leaves a new database: made at once, and stamped. */
const create = `
import sys
from alembic import command
from alembic.config import Config
from buildbot.db.model import Model
from sqlalchemy import create_engine, make_url
url = make_url(sys.argv[1]).set(drivername="postgresql+psycopg")
Model.metadata.create_all(create_engine(url))
config = Config(sys.argv[2])
config.set_main_option("sqlalchemy.url", url.render_as_string(hide_password=False).replace("%", "%%"))
command.stamp(config, "066")
`;

const filled = `
INSERT INTO masters (id, name, name_hash, active, last_active) VALUES (1, 'master', 'm', 1, 1700000000);
INSERT INTO projects (id, name, name_hash, slug, description) SELECT g, 'project ' || g, 'p' || g, 'project' || g, 'of unicorns' FROM generate_series(1, 5) g;
INSERT INTO builders (id, name, name_hash, projectid, description) SELECT g, 'builder ' || g, 'b' || g, g % 5 + 1, 'builds' FROM generate_series(1, 20) g;
INSERT INTO workers (id, name, info, pause_reason) SELECT g, 'worker ' || g, '{}', 'lunch' FROM generate_series(1, 10) g;
INSERT INTO sourcestamps (id, ss_hash, created_at) SELECT g, md5(g::text), 1700000000 + g FROM generate_series(1, 2000) g;
INSERT INTO changes (changeid, author, comments, when_timestamp, sourcestampid)
  SELECT g, 'author ' || g % 17, 'change ' || g, 1700000000 + g, g FROM generate_series(1, 2000) g;
INSERT INTO buildsets (id, submitted_at) SELECT g, 1700000000 + g FROM generate_series(1, 3000) g;
INSERT INTO buildrequests (id, buildsetid, builderid, priority, submitted_at)
  SELECT g, g, g % 20 + 1, 0, 1700000000 + g FROM generate_series(1, 3000) g;
INSERT INTO builds (id, number, builderid, buildrequestid, workerid, masterid, started_at, locks_duration_s, state_string)
  SELECT g, g, g % 20 + 1, g, g % 10 + 1, 1, 1700000000 + g, g % 60, 'done' FROM generate_series(1, 3000) g;
UPDATE buildsets SET rebuilt_buildid = id WHERE id <= 100;
INSERT INTO steps (id, number, name, buildid, started_at, locks_acquired_at, state_string, urls_json)
  SELECT g, 1, 'compile', g, 1700000000 + g, 1700000001 + g, 'done', '[]' FROM generate_series(1, 3000) g;
`;

describe('Buildbot', () => {
  let scene: Scene;
  let atFirst: string;
  /** Of 4.2.1, installed anew. */
  let schemaAt066: readonly string[];

  beforeAll(async () => {
    const newer = await buildbotPython('4.3.0');
    scene = await createScene(16, {
      name: 'buildbot',
      history: { revisions: [] },
      spec: {
        policy: { dataLoss: 'Allow' },
        alembic: {
          python: newer,
          workingDir: await migrationsOf(newer),
          databaseUrl: { env: null, option: 'sqlalchemy.url', driver: 'postgresql+psycopg' },
        },
      },
    });
    await createSchema(scene.database.url);
    await query(scene.database.url, filled);
    atFirst = await contentChecksum(scene.database.adminUrl);
    schemaAt066 = await schemaOfNewInstallation(scene);
  });
  afterAll(async () => scene[Symbol.asyncDispose]());

  test('is upgraded from 066 to 067, and every row of it is there', async () => {
    const { outcome, status } = await scene.goTo('067');
    expect(said(outcome)).toMatch(/^ready Upgraded: /);
    expect(status.lastBackup).toMatchObject({ revisions: ['066'], verified: true });
    const { 'public.alembic_version': _, ...rows } = await rowCounts(scene);
    expect(rows).toMatchObject({
      'public.builds': 3000,
      'public.changes': 2000,
      'public.builders': 20,
      'public.codebases': 0,
    });
  });

  test('goes from 067 to 066 by the backup where its own downgrade fails: the schema is that of 4.2.1, with the rows of then, and it says what was lost', async () => {
    await query(
      scene.database.url,
      `INSERT INTO codebases VALUES (1, 1, 'unicorn', 'unicorn', 'u');
       INSERT INTO codebase_commits SELECT g, 1, 'author', null, 'commit', 1700000000, md5(g::text), null FROM generate_series(1, 50) g;
       INSERT INTO sourcestamps (id, ss_hash, created_at) VALUES (2001, 'late', 1800000000);
       INSERT INTO changes (changeid, author, comments, when_timestamp, sourcestampid) VALUES (2001, 'late', 'late', 1800000000, 2001);
       DELETE FROM steps WHERE id > 2990`,
    );
    const at067 = await contentChecksum(scene.database.adminUrl);
    const takenAt = (await scene.status()).lastBackup?.finishedAt;

    const { outcome, status } = await scene.goTo('066');
    expect(said(outcome)).toMatch(
      /^ready RestoredFromBackup: Database .* downgrade of 067: .*depends on table codebases/s,
    );
    expect(outcome.message).toContain('(SQLSTATE 2BP01). At versions/067_v4.3_add_codebase_data.py:');
    expect(outcome.message).toContain('Statement: DROP TABLE codebases.');
    expect(outcome.message).toContain(`of ${takenAt}`);
    expect(outcome.message).toContain('What was written since then is not in it');
    expect(outcome.message).toContain('public.changes 2001 → 2000');
    const report = await readFile(status.history[0]?.report ?? '', 'utf8');
    for (const rows of ['public.changes', 'public.codebase_commits', 'public.steps']) expect(report).toContain(rows);
    expect(await scene.version()).toBe('066');
    expect(await contentChecksum(scene.database.adminUrl)).toBe(atFirst);
    expect(await schemaOf(scene.database)).toEqual(schemaAt066);

    const [aside] = status.keptAside;
    expect(await contentChecksum(databaseUrl(scene.database.adminUrl, { database: aside?.name ?? '' }))).toBe(at067);
  });

  test('goes down to 061 by its own downgrades, one and several at a time, and up again in one go: no row is lost', async () => {
    const counts = await rowCounts(scene);
    for (const revision of ['065', '061']) {
      const { outcome } = await scene.goTo(revision);
      expect(said(outcome)).toMatch(/^ready Downgraded: /);
      expect(await scene.version()).toBe(revision);
      expect(await rowCounts(scene)).toEqual(counts);
    }
    const { outcome } = await scene.goTo('066');
    expect(said(outcome)).toMatch(/^ready Upgraded: /);
    expect(await scene.version()).toBe('066');
    expect(await rowCounts(scene)).toEqual(counts);
    expect(await schemaOf(scene.database)).toEqual(schemaAt066);
  });

  test('ends where it was, with every row, where its downgrade of 060 fails and no backup is at 059', async () => {
    expect(said((await scene.goTo('060')).outcome)).toMatch(/^ready Downgraded: /);
    const before = await contentChecksum(scene.database.adminUrl);
    const { outcome, again } = await scene.goTo('059');
    expect(said(outcome)).toMatch(
      /^stalled DowngradeFailed: downgrade of 060: .*column "project" of relation "builders" does not exist/s,
    );
    expect(outcome.message).toContain('(SQLSTATE 42703). At versions/060_v3.9_add_builder_projects.py:');
    expect(outcome.message).toContain('Statement: ALTER TABLE builders DROP COLUMN project');
    expect(outcome.message).toContain(
      'Database ' +
        scene.database.name +
        ' is at 060, as before. There was no other way: there is no verified backup at 059.',
    );
    expect(again).toBe(false);
    expect(await scene.version()).toBe('060');
    expect(await contentChecksum(scene.database.adminUrl)).toBe(before);
  });

  test('has its broken downgrades of 060 and 067 found out on a copy, and the database is never touched', async () => {
    const asking = { policy: { rehearsal: 'Always', dataLoss: 'RequireApproval' } };
    const live = (since: number): string[] =>
      scene.observed
        .slice(since)
        .flatMap((event) => (event.kind === 'migration' && event.copy !== true ? [event.event.kind] : []));
    const at060 = await contentChecksum(scene.database.adminUrl);
    let events = scene.observed.length;
    const to059 = await scene.goTo('059', asking);
    expect(said(to059.outcome)).toMatch(
      /^stalled RehearsalFailed: On a copy of \S+ the downgrade to 059 failed: downgrade of 060: .*column "project" of relation "builders" does not exist.*The database itself was not touched/s,
    );
    expect(live(events)).toEqual([]);
    expect(await contentChecksum(scene.database.adminUrl)).toBe(at060);

    expect(said((await scene.goTo('067', asking)).outcome)).toMatch(/^ready Upgraded: /);
    await query(
      scene.database.url,
      `INSERT INTO sourcestamps (id, ss_hash, created_at) VALUES (3001, 'later', 1800000000)`,
    );
    const at067 = await contentChecksum(scene.database.adminUrl);
    events = scene.observed.length;
    const { outcome, status } = await scene.goTo('066', asking);
    expect(said(outcome)).toMatch(
      /^awaitingApproval .*depends on table codebases.*restoring backup \S+ instead would lose data/s,
    );
    expect(status.plan?.loss?.tables).toContainEqual(
      expect.objectContaining({ table: 'public.sourcestamps', rowsGone: 1 }),
    );
    expect(live(events)).toEqual([]);
    expect(await contentChecksum(scene.database.adminUrl)).toBe(at067);
  });
});

/** Where the interpreter's Buildbot keeps its alembic.ini. */
async function migrationsOf(python: string): Promise<string> {
  const { stdout } = await runOrThrow(python, ['-c', 'import buildbot.db; print(buildbot.db.__path__[0])']);
  return join(stdout.trim(), 'migrations');
}

async function createSchema(url: string): Promise<void> {
  const older = await buildbotPython('4.2.1');
  await runOrThrow(older, ['-c', create, url, join(await migrationsOf(older), 'alembic.ini')]);
}

/** Through the project's own facts, and rendered after a restore, as two schemas must be to be compared. */
async function schemaOf(database: TestDatabase): Promise<readonly string[]> {
  await using live = await open(database, { operationId: randomBytes(5).toString('hex') });
  const { lines } = await canonicalSchema(live);
  return lines;
}

/** Of 4.2.1, for the same owner. */
async function schemaOfNewInstallation(scene: Scene): Promise<readonly string[]> {
  const { database } = scene;
  const name = `${database.name}_new`;
  await query(database.maintenanceUrl, `CREATE DATABASE ${name} TEMPLATE template0`);
  const [url, adminUrl] = [
    databaseUrl(database.url, { database: name }),
    databaseUrl(database.adminUrl, { database: name }),
  ];
  await createSchema(url);
  const lines = await schemaOf({ ...database, name, url, adminUrl });
  await query(database.maintenanceUrl, `DROP DATABASE ${name}`);
  return lines;
}

async function rowCounts(scene: Scene): Promise<Readonly<Record<string, number>>> {
  await using live = await open(scene.database, { operationId: randomBytes(5).toString('hex') });
  return await live.rowCounts();
}
