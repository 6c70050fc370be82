import { expect } from '@jest/globals';
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describeInTurn } from '../../support/in-turn.ts';
import { contentChecksum, createDatabase, query, type TestDatabase } from '../../support/postgres.ts';
import { restoreByHand } from '../../support/restore-by-hand.ts';
import { dumpFolder, manifestOf, openDirectory } from '../../unit/storage/samples.ts';

const run = promisify(execFile);

/** What nothing but the folder has to bring back: grants, settings, limits. */
async function propertiesOf(database: TestDatabase): Promise<unknown> {
  return query(
    database.adminUrl,
    `SELECT datconnlimit, datcollate, pg_encoding_to_char(encoding) AS encoding, pg_get_userbyid(datdba) AS owner,
       shobj_description(oid, 'pg_database') AS comment, (SELECT setconfig FROM pg_db_role_setting WHERE setdatabase = d.oid AND setrole = 0) AS settings,
       has_database_privilege('public', oid, 'CONNECT') AS public_connects
     FROM pg_database d WHERE datname = current_database()`,
  );
}

describeInTurn('by hand', (major, testOnce) => {
  testOnce.each(['directory', 'plain'] as const)(
    'the documented commands restore a %s backup with nothing but its folder',
    async (format) => {
      const root = await mkdtemp(join(tmpdir(), 'migration-target-by-hand-'));
      await using database = await createDatabase(major, {
        sql: `CREATE TABLE "Users" (id serial PRIMARY KEY, email text NOT NULL);
            INSERT INTO "Users" (email) SELECT 'user' || n FROM generate_series(1, 1000) n;
            CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
            INSERT INTO alembic_version VALUES ('b2'), ('a1')`,
      });
      try {
        const { server, name, owner } = database;
        const properties = {
          ...manifestOf({ id: '' }).properties,
          owner,
          connectionLimit: 42,
          comment: "it's kept\\",
          statements: [
            `REVOKE ALL ON DATABASE %DATABASE% FROM PUBLIC`,
            `ALTER DATABASE %DATABASE% SET "search_path" TO 'public', 'pg_catalog'`,
          ],
        };
        const [locale] = await query(
          database.adminUrl,
          'SELECT datcollate AS collate, datctype AS ctype FROM pg_database WHERE datname = current_database()',
        );
        await query(
          database.adminUrl,
          `ALTER DATABASE "${name}" CONNECTION LIMIT 42; COMMENT ON DATABASE "${name}" IS 'it''s kept\\';
         REVOKE ALL ON DATABASE "${name}" FROM PUBLIC; ALTER DATABASE "${name}" SET search_path TO public, pg_catalog`,
        );

        const store = await openDirectory(root);
        const id = store.newId(new Date());
        const draft = await store.begin(id, 'op1');
        const pgDump = join(server.binDir, 'pg_dump');
        if (format === 'directory') await run(pgDump, ['-Fd', '-f', dumpFolder(draft), database.adminUrl]);
        else {
          await run('mkdir', [dumpFolder(draft)]);
          await run(pgDump, ['-f', join(dumpFolder(draft), 'old.sql'), database.adminUrl]);
        }
        const {
          files: _files,
          sizeBytes: _sizeBytes,
          ...rest
        } = manifestOf({
          id,
          format,
          revisions: ['a1', 'b2'],
          rowCounts: { 'public.Users': 1000, 'public.alembic_version': 2 },
          properties: { ...properties, ...(locale as { collate: string; ctype: string }) },
        });
        await draft.commit(rest, null);

        const before = { rows: await contentChecksum(database.adminUrl), properties: await propertiesOf(database) };
        await query(database.adminUrl, 'DROP TABLE "Users"; DELETE FROM alembic_version');

        const aside = `${name.slice(0, 50)}_aside`;
        const { stdout, stderr } = await restoreByHand(join(root, id), database, aside);
        expect({ stderr, failed: stdout.includes('FAILED') }).toEqual({ stderr: '', failed: false });
        expect(await contentChecksum(database.adminUrl)).toEqual(before.rows);
        expect(await propertiesOf(database)).toEqual(before.properties);
        const closed = await query(database.adminUrl, 'SELECT datallowconn FROM pg_database WHERE datname = $1', [
          aside,
        ]);
        expect(closed).toEqual([{ datallowconn: false }]);
      } finally {
        await rm(root, { recursive: true, force: true });
      }
    },
  );
});
