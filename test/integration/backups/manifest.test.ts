/** What a manifest says is true, and it is enough: the backup is restored with nothing but its folder. */
import { expect } from '@jest/globals';
import { createHash, randomBytes } from 'node:crypto';
import { readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { runOrThrow } from '../../../scripts/lib/run.ts';
import { describeInTurn } from '../../support/in-turn.ts';
import { contentChecksum, query } from '../../support/postgres.ts';
import { restoreByHand } from '../../support/restore-by-hand.ts';
import { createScene, said, threeSteps, type Scene } from '../../support/scene.ts';
import { canonicalSchema, open } from '../postgres/open.ts';
import { takeBackup } from './catalogue.ts';

const furnished = `
CREATE SCHEMA "Odd schema";
CREATE TABLE "Odd schema"."Tab""le" (id int);
INSERT INTO "Odd schema"."Tab""le" SELECT generate_series(1, 7);
CREATE TABLE events (at date NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO events SELECT '2025-12-30'::date + g FROM generate_series(0, 4) g;
CREATE TABLE nothing (id int);
SELECT lo_from_bytea(0, 'unicorn')`;

describeInTurn('a manifest', (major, testOnce) => {
  testOnce(
    'says of the database what it says of itself, of the files what they are, and of the time when it was',
    async () => {
      await using scene = await createScene(major, { history: threeSteps });
      const { database } = scene;
      await scene.goTo('a2');
      await query(database.url, furnished);
      await query(
        database.maintenanceUrl,
        `ALTER DATABASE ${database.name} CONNECTION LIMIT 42; COMMENT ON DATABASE ${database.name} IS 'it''s kept';
       REVOKE TEMPORARY ON DATABASE ${database.name} FROM PUBLIC; ALTER DATABASE ${database.name} SET search_path TO public, "Odd schema"`,
      );
      const startedAfter = Date.now();
      const { manifest, folder } = await takeBackup(scene);
      const finishedBefore = Date.now();

      const [facts] = await scene.query(`
      SELECT (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier, oid::int, pg_encoding_to_char(encoding) AS encoding,
        datcollate, datctype, split_part(current_setting('server_version'), ' ', 1) AS version FROM pg_database WHERE datname = current_database()`);
      const { stdout: pgDump } = await runOrThrow(join(database.server.binDir, 'pg_dump'), ['--version']);
      const status = await scene.status();
      expect(manifest).toMatchObject({
        version: 1,
        target: { namespace: 'default', name: 'unicorn' },
        operation: status.history[0]?.operationId,
        database: { systemIdentifier: facts?.['system_identifier'], name: database.name, oid: facts?.['oid'] },
        server: { version: facts?.['version'], major },
        tools: { pgDump: /^pg_dump \(PostgreSQL\) \S+/.exec(pgDump)?.[0] },
        format: 'directory',
        revisions: ['a2'],
        versionTable: { schema: 'public', name: 'alembic_version' },
        schema: { digest: await schemaDigest(scene), major },
        rowCounts: {
          'Odd schema.Tab"le': 7,
          'public.alembic_version': 1,
          'public.events_2025': 2,
          'public.events_2026': 3,
          'public.nothing': 0,
          'public.users': 1000,
          'pg_catalog.pg_largeobject_metadata': 1,
        },
        properties: {
          owner: database.owner,
          encoding: facts?.['encoding'],
          collate: facts?.['datcollate'],
          ctype: facts?.['datctype'],
          tablespace: 'pg_default',
          connectionLimit: 42,
          comment: "it's kept",
        },
        reason: 'Requested',
      });
      expect(Object.keys(manifest.rowCounts)).toHaveLength(7);
      expect(status.lastBackup).toMatchObject({
        id: manifest.id,
        sizeBytes: manifest.sizeBytes,
        finishedAt: manifest.finishedAt,
      });

      const [startedAt, finishedAt, verifiedAt, keptUntil] = [
        manifest.startedAt,
        manifest.finishedAt,
        manifest.verifiedAt ?? '',
        manifest.keptUntil,
      ].map((time) => Date.parse(time));
      expect([startedAfter, startedAt, finishedAt, verifiedAt, finishedBefore]).toEqual(
        [startedAfter, startedAt, finishedAt, verifiedAt, finishedBefore].toSorted((a = 0, b = 0) => a - b),
      );
      expect(keptUntil).toBe((finishedAt ?? 0) + 24 * 3_600_000);

      const found = await filesOf(folder);
      expect(manifest.files.toSorted(byPath)).toEqual(found);
      expect(manifest.sizeBytes).toBe(found.reduce((sum, { bytes }) => sum + bytes, 0));
      expect(JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8'))).toEqual(manifest);

      const before = await describeDatabase(scene);
      const elsewhere = `${folder}.moved`;
      await rename(folder, elsewhere);
      await rm(join(scene.dir, 'state'), { recursive: true });
      await query(database.url, 'DROP TABLE users, events, nothing; DELETE FROM alembic_version');
      const { stderr, stdout } = await restoreByHand(elsewhere, database, `${database.name}_aside`);
      expect({ stderr, failed: stdout.includes('FAILED') }).toEqual({ stderr: '', failed: false });
      expect(await describeDatabase(scene)).toEqual(before);
      expect(said((await scene.reconcile()).outcome)).toMatch(/^ready InSync: /);
    },
  );
});

const byPath = (a: { readonly path: string }, b: { readonly path: string }): number => (a.path < b.path ? -1 : 1);

/** Every file of a backup's folder but its manifest, as a manifest lists them. */
async function filesOf(folder: string) {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = entries
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name).slice(folder.length + 1));
  const files = paths
    .filter((path) => path !== 'manifest.json')
    .map(async (path) => {
      const content = await readFile(join(folder, path));
      return { path, bytes: content.length, sha256: createHash('sha256').update(content).digest('hex') };
    });
  return (await Promise.all(files)).sort(byPath);
}

/** As the schema is after one restore. */
async function schemaDigest({ database }: Scene): Promise<string> {
  await using live = await open(database, { operationId: randomBytes(5).toString('hex') });
  const { digest } = await canonicalSchema(live);
  return digest;
}

async function describeDatabase({ database }: Scene): Promise<unknown> {
  const [properties] = await query(
    database.adminUrl,
    `SELECT pg_get_userbyid(datdba) AS owner, datconnlimit, datacl::text, shobj_description(oid, 'pg_database') AS comment,
       (SELECT array_agg(setconfig::text) FROM pg_db_role_setting WHERE setdatabase = d.oid) AS settings
     FROM pg_database d WHERE datname = current_database()`,
  );
  return { rows: await contentChecksum(database.adminUrl), properties };
}
