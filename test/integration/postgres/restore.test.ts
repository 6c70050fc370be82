import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, test } from '@jest/globals';

import { run } from '../../../src/adapters/process/run.ts';
import { createDatabase, databaseUrl, majors, query } from '../../support/postgres.ts';
import { canonicalSchema, failureOf, here, open, restoreCopy, silent, temporaryFolder, versionTable } from './open.ts';

describe.each(majors)('PostgreSQL %i: a restore', (major) => {
  test('brings back tables, large objects, sequences, owners and rights, and analyzes', async () => {
    await using database = await createDatabase(major, {
      sql: `${versionTable('a1')} CREATE TABLE t (id serial, v text); INSERT INTO t (v) SELECT 'x' FROM generate_series(1, 500); GRANT SELECT ON t TO PUBLIC; SELECT lo_from_bytea(0, 'large')`,
    });
    await using folder = await temporaryFolder();
    await using live = await open(database);
    const into = await restoreCopy(live, folder.path);
    const restored = databaseUrl(database.url, { database: into.name });
    expect((await live.contents(into)).rowCounts).toEqual({
      'pg_catalog.pg_largeobject_metadata': 1,
      'public.alembic_version': 1,
      'public.t': 500,
    });
    expect(
      await query(
        restored,
        "SELECT nextval('t_id_seq')::int AS n, (SELECT convert_from(lo_get(oid), 'UTF8') FROM pg_largeobject_metadata) AS lo",
      ),
    ).toEqual([{ n: 501, lo: 'large' }]);
    await live.analyze(into);
    expect(await query(restored, "SELECT reltuples::int AS n FROM pg_class WHERE relname = 't'")).toEqual([{ n: 500 }]);
  });

  test('tells how many tables are dumped, or restored, of how many', async () => {
    await using database = await createDatabase(major, {
      sql: 'CREATE TABLE a AS SELECT 1 AS i; CREATE TABLE b AS SELECT 1 AS i',
    });
    await using folder = await temporaryFolder();
    await using live = await open(database);
    const told: unknown[] = [];
    const dump = await live.dump({ kind: 'path', path: join(folder.path, 'dump') }, (...progress) =>
      told.push(progress),
    );
    expect(told).toEqual([
      [1, 2, 'tables dumped'],
      [2, 2, 'tables dumped'],
    ]);
    const into = await live.newDatabase('restored', 'told');
    await live.createDatabase(into, dump.properties);
    told.length = 0;
    await live.restoreInto(
      into,
      { place: { kind: 'path', path: join(folder.path, 'dump') }, format: 'directory' },
      (...progress) => told.push(progress),
    );
    expect(told).toEqual([
      [1, 2, 'tables restored'],
      [2, 2, 'tables restored'],
    ]);
  });

  test('refuses what is no dump, and one that lacks a file', async () => {
    await using database = await createDatabase(major, { sql: 'CREATE TABLE a AS SELECT 1 AS i' });
    await using folder = await temporaryFolder();
    await using live = await open(database);
    const path = join(folder.path, 'dump');
    const { properties } = await live.dump({ kind: 'path', path }, silent);
    expect(await failureOf(live.dump({ kind: 'path', path }, silent))).toMatchObject({ reason: 'BackupFailed' });
    const into = await live.newDatabase('restored', 'none');
    await live.createDatabase(into, properties);
    expect(
      await failureOf(
        live.restoreInto(
          into,
          { place: { kind: 'path', path: join(folder.path, 'nowhere') }, format: 'directory' },
          silent,
        ),
      ),
    ).toMatchObject({ reason: 'BackupInvalid' });
    expect(
      await failureOf(
        live.restoreInto(into, { place: { kind: 'path', path: folder.path }, format: 'directory' }, silent),
      ),
    ).toMatchObject({
      reason: 'BackupInvalid',
    });
    for (const name of await readdir(path)) if (name !== 'toc.dat') await rm(join(path, name));
    expect(
      await failureOf(live.restoreInto(into, { place: { kind: 'path', path }, format: 'directory' }, silent)),
    ).toMatchObject({
      reason: 'BackupInvalid',
      kind: 'stalled',
    });
  });

  test.each([
    ['owned', (role: string) => `ALTER TABLE t OWNER TO ${role}`],
    ['was granted', (role: string) => `GRANT SELECT ON t TO ${role}`],
    ['a policy names', (role: string) => `CREATE POLICY p ON t TO ${role} USING (true)`],
  ])('says which role to make again where it was dropped since and %s something', async (_, use) => {
    await using database = await createDatabase(major, { sql: 'CREATE TABLE t AS SELECT 1 AS i' });
    const role = `"Gone ${database.owner}"`;
    await query(database.adminUrl, `CREATE ROLE ${role}; ${use(role)}`);
    await using folder = await temporaryFolder();
    await using live = await open(database, { adminUrl: database.adminUrl });
    const path = join(folder.path, 'dump');
    const { properties } = await live.dump({ kind: 'path', path }, silent);
    await query(
      database.adminUrl,
      `REASSIGN OWNED BY ${role} TO ${database.owner}; DROP OWNED BY ${role}; DROP ROLE ${role}`,
    );
    const into = await live.newDatabase('restored', 'gone');
    const restore = async (): Promise<void> => {
      await live.createDatabase(into, properties);
      await live.restoreInto(into, { place: { kind: 'path', path }, format: 'directory' }, silent);
    };
    expect(await failureOf(restore())).toMatchObject({
      reason: 'RestoreFailed',
      kind: 'stalled',
      message: expect.stringMatching(
        new RegExp(
          `The live database was not touched\\. .*: CREATE ROLE ${role}; then: migration-target reconcile NAME$`,
        ),
      ),
    });
    await query(database.adminUrl, `CREATE ROLE ${role}`);
    await restore();
    expect((await live.contents(into)).rowCounts).toEqual({ 'public.t': 1 });
    await live.dropDatabase(into);
    await query(database.adminUrl, `DROP ROLE ${role}`);
  });

  test('stamps where the dump carried no version table, as alembic would', async () => {
    await using database = await createDatabase(major, { sql: 'CREATE TABLE t ()' });
    await using live = await open(database, { versionTable: { schema: 'my schema', name: 'v"t' } });
    const scratch = await live.newDatabase('scratch', 'stamp');
    await live.createDatabase(scratch, 'scratch');
    await live.stamp(scratch, ['b2', 'a1']);
    expect((await live.contents(scratch)).versionTable).toEqual({ kind: 'present', revisions: ['a1', 'b2'] });
    await live.stamp(scratch, []);
    expect((await live.contents(scratch)).versionTable).toEqual({ kind: 'present', revisions: [] });
    const inside = databaseUrl(database.url, { database: scratch.name });
    await query(inside, `INSERT INTO "my schema"."v""t" VALUES ('c3')`);
    expect(
      await query(
        inside,
        `SELECT conname FROM pg_constraint WHERE contype = 'p' AND connamespace = '"my schema"'::regnamespace`,
      ),
    ).toEqual([{ conname: 'v"t_pkc' }]);
  });
});

describe.each(majors)('PostgreSQL %i: a plain .sql file', (major) => {
  test('as pg_dump writes it is restored', async () => {
    await using database = await createDatabase(major, {
      sql: `${versionTable('a1')} CREATE TABLE t (v text); INSERT INTO t VALUES (E'\\\\! id\\nline'), (NULL), ('it''s')`,
    });
    await using folder = await temporaryFolder();
    await using live = await open(database);
    const path = join(folder.path, 'backup.sql');
    const { pgDump } = await live.tools();
    const outcome = await run(here(pgDump, [`--dbname=${database.url}`, `--file=${path}`]));
    expect(outcome).toMatchObject({ code: 0 });
    const into = await live.newDatabase('restored', 'plain');
    await live.createDatabase(into, 'scratch');
    await live.restoreInto(into, { place: { kind: 'path', path }, format: 'plain' }, silent);
    const contents = await live.contents(into);
    expect(contents.rowCounts).toEqual({ 'public.alembic_version': 1, 'public.t': 3 });
    expect(contents.schema.lines).toEqual((await canonicalSchema(live, 'plain')).lines);
    expect(
      await query(databaseUrl(database.url, { database: into.name }), 'SELECT v FROM t ORDER BY v NULLS LAST LIMIT 1'),
    ).toEqual([{ v: '\\! id\nline' }]);
  });

  test.each([
    ['\\! touch SHELL', 'line 2'],
    ["\\copy t from program 'touch SHELL'", 'line 2'],
    ["COPY t FROM PROGRAM 'touch SHELL';", 'line 2'],
    ['CREATE DATABASE other;', 'line 2'],
    ['\\connect postgres', 'line 2'],
  ])('with %s is refused by line, with no effect at all', async (line, where) => {
    await using database = await createDatabase(major);
    await using folder = await temporaryFolder();
    await using live = await open(database, { adminUrl: database.adminUrl });
    const path = join(folder.path, 'evil.sql');
    await writeFile(path, `CREATE TABLE t (i text);\n${line.replace('SHELL', join(folder.path, 'pwned'))}\n`);
    const into = await live.newDatabase('restored', 'evil');
    await live.createDatabase(into, 'scratch');
    const failure = await failureOf(live.restoreInto(into, { place: { kind: 'path', path }, format: 'plain' }, silent));
    expect(failure).toMatchObject({ reason: 'BackupInvalid', kind: 'stalled' });
    expect(failure.message).toContain(where);
    expect(await readdir(folder.path)).toEqual(['evil.sql']);
    expect((await live.contents(into)).rowCounts).toEqual({});
    await live.dropDatabase(into);
  });

  test('that fails half-way leaves nothing half restored', async () => {
    await using database = await createDatabase(major);
    await using folder = await temporaryFolder();
    await using live = await open(database);
    const path = join(folder.path, 'broken.sql');
    await writeFile(path, 'CREATE TABLE t (i int);\nINSERT INTO nowhere VALUES (1);\n');
    const into = await live.newDatabase('restored', 'broken');
    await live.createDatabase(into, 'scratch');
    expect(
      await failureOf(live.restoreInto(into, { place: { kind: 'path', path }, format: 'plain' }, silent)),
    ).toMatchObject({
      reason: 'RestoreFailed',
      message: expect.stringContaining('nowhere'),
    });
    expect((await live.contents(into)).rowCounts).toEqual({});
  });
});
