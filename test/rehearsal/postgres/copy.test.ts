import { join } from 'node:path';

import { describe, expect, test } from '@jest/globals';
import pg from 'pg';

import { run } from '../../../src/adapters/process/run.ts';
import type { OwnDatabase } from '../../../src/rollback/model.ts';
import {
  contentChecksum,
  createDatabase,
  databaseUrl,
  majors,
  query,
  type TestDatabase,
} from '../../support/postgres.ts';
import { failureOf, here, open, silent, temporaryFolder } from '../../integration/postgres/open.ts';
import { copy, restoreScratch } from './rehearse.ts';

const setUp = `
  CREATE SCHEMA "My ""s"; CREATE TABLE "My ""s".t (i int PRIMARY KEY, gone int, v text); ALTER TABLE "My ""s".t DROP gone;
  INSERT INTO "My ""s".t SELECT i, repeat('v', i) FROM generate_series(1, 100) i;
  CREATE UNLOGGED TABLE u AS SELECT 1 AS i; SELECT lo_from_bytea(0, 'large');`;

const urlOf = (database: TestDatabase, { name }: OwnDatabase): string =>
  databaseUrl(database.adminUrl, { database: name });

describe.each(majors)('PostgreSQL %i: a copy of a scratch database', (major) => {
  test('holds the same rows, with the same oids, column numbers and owner, under the oid that was journalled', async () => {
    await using database = await createDatabase(major, { sql: setUp });
    await using live = await open(database);
    const from = await restoreScratch(live, database);
    const to = await copy(live, from, database);
    const facts = `SELECT d.oid::text, pg_get_userbyid(d.datdba) AS owner, pg_encoding_to_char(encoding) AS encoding, datcollate,
      ARRAY(SELECT format('%s %s %s', c.oid, a.attnum, a.attname) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid WHERE c.relname = 't' ORDER BY attnum) AS columns
      FROM pg_database d WHERE d.datname = current_database()`;
    const [original] = await query(urlOf(database, from), facts);
    expect(await query(urlOf(database, to), facts)).toEqual([{ ...original, oid: `${to.oid}` }]);
    expect(await contentChecksum(urlOf(database, to))).toBe(await contentChecksum(urlOf(database, from)));
    expect(await contentChecksum(urlOf(database, to))).toBe(await contentChecksum(database.adminUrl));
  });

  test('lets no ordinary role in, and has the settings of the original', async () => {
    await using database = await createDatabase(major, { sql: setUp });
    await using other = await createDatabase(major);
    await query(database.adminUrl, `ALTER DATABASE ${database.name} SET search_path = "My ""s", public`);
    await using live = await open(database);
    const to = await copy(live, await restoreScratch(live, database), database);
    await expect(query(databaseUrl(other.url, { database: to.name }), 'SELECT 1')).rejects.toThrow(/permission denied/);
    expect(await query(databaseUrl(database.url, { database: to.name }), 'SELECT count(*)::int AS n FROM t')).toEqual([
      { n: 100 },
    ]);
    expect(
      await query(
        urlOf(database, to),
        `SELECT shobj_description(oid, 'pg_database') AS comment FROM pg_database WHERE datname = current_database()`,
      ),
    ).toEqual([{ comment: 'migration-target: scratch, dropped after use' }]);
  });

  test('is made even while somebody is connected to the original, and again where it was cut off', async () => {
    await using database = await createDatabase(major, { sql: setUp });
    await using live = await open(database);
    const from = await restoreScratch(live, database);
    const connected = new pg.Client({ connectionString: databaseUrl(database.url, { database: from.name }) });
    const ended = new Promise((resolve) => connected.on('error', resolve));
    await connected.connect();
    const to = await copy(live, from, database);
    await ended;
    await query(databaseUrl(database.maintenanceUrl, { database: to.name }), 'DROP TABLE u');
    await query(database.maintenanceUrl, `ALTER DATABASE ${pg.escapeIdentifier(to.name)} ALLOW_CONNECTIONS false`);
    await live.copyDatabase(from, to);
    expect(await contentChecksum(urlOf(database, to))).toBe(await contentChecksum(urlOf(database, from)));
  });

  test('is refused of a database that somebody else made under that name', async () => {
    await using database = await createDatabase(major);
    await using live = await open(database);
    const from = await live.newDatabase('scratch', 'before');
    await live.createDatabase(from, 'scratch');
    expect(await failureOf(copy(live, { ...from, oid: from.oid - 1 }, database))).toMatchObject({
      reason: 'RecoveryFailed',
    });
  });
});

describe.each(majors)('PostgreSQL %i: a scratch database', (major) => {
  const outward = `SELECT ARRAY(SELECT usename::text FROM pg_user_mappings) AS mappings,
    ARRAY(SELECT subname::text FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE datname = current_database()) AS subscriptions,
    ARRAY(SELECT srvname::text FROM pg_foreign_server) AS servers`;

  /** Until it is disposed of: a database can't be dropped while it subscribes. */
  async function leadOut(database: TestDatabase): Promise<AsyncDisposable> {
    await query(
      database.adminUrl,
      `CREATE TABLE t AS SELECT 1 AS i; CREATE FOREIGN DATA WRAPPER w; CREATE SERVER "s""r" FOREIGN DATA WRAPPER w;
       CREATE USER MAPPING FOR PUBLIC SERVER "s""r" OPTIONS (password 'x'); CREATE USER MAPPING FOR ${database.owner} SERVER "s""r";
       CREATE SUBSCRIPTION "Sub_${database.name}" CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p WITH (connect = false, slot_name = 'sub_${database.name}')`,
    );
    return {
      async [Symbol.asyncDispose]() {
        await query(
          database.adminUrl,
          `ALTER SUBSCRIPTION "Sub_${database.name}" SET (slot_name = NONE); DROP SUBSCRIPTION "Sub_${database.name}"`,
        );
      },
    };
  }
  test('has no user mappings and no subscriptions of the backup, whose trial compares equal all the same', async () => {
    await using database = await createDatabase(major);
    await using _ = await leadOut(database);
    await using folder = await temporaryFolder();
    await using live = await open(database, { adminUrl: database.adminUrl });
    const scratch = await restoreScratch(live, database);
    expect(await query(urlOf(database, scratch), outward)).toEqual([
      { mappings: [], subscriptions: [], servers: ['s"r'] },
    ]);
    const compare = await live.newDatabase('scratch', 'compare');
    const canonical = await live.canonicalSchema(compare, live.createDatabase(compare, 'scratch'));
    expect((await live.contents(scratch)).schema).toEqual(canonical);
    expect(await query(urlOf(database, compare), outward)).toMatchObject([{ mappings: [], subscriptions: [] }]);
    // What becomes the live database has them.
    const restored = await live.newDatabase('restored', 'kept');
    await live.createDatabase(restored, 'scratch');
    await live.dump({ kind: 'path', path: join(folder.path, 'dump') }, silent);
    await live.restoreInto(
      restored,
      { place: { kind: 'path', path: join(folder.path, 'dump') }, format: 'directory' },
      silent,
    );
    expect(await query(urlOf(database, restored), outward)).toMatchObject([
      { mappings: expect.arrayContaining(['public', database.owner]), subscriptions: [] },
    ]);
    for (const own of [scratch, compare, restored]) await live.dropDatabase(own);
  });

  test('has none of a plain .sql file either', async () => {
    await using database = await createDatabase(major);
    await using _ = await leadOut(database);
    await using folder = await temporaryFolder();
    await using live = await open(database, { adminUrl: database.adminUrl });
    const path = join(folder.path, 'backup.sql');
    const { pgDump } = await live.tools();
    const outcome = await run(here(pgDump, [`--dbname=${database.adminUrl}`, `--file=${path}`]));
    expect(outcome).toMatchObject({ code: 0 });
    const scratch = await live.newDatabase('scratch', 'plain');
    await live.createDatabase(scratch, 'scratch');
    await live.restoreInto(scratch, { place: { kind: 'path', path }, format: 'plain' }, silent);
    expect(await query(urlOf(database, scratch), outward)).toEqual([
      { mappings: [], subscriptions: [], servers: ['s"r'] },
    ]);
    expect(await live.dropDatabase(scratch)).toBe(true);
  });
});
