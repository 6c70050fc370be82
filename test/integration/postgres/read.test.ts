import { describe, expect, test } from '@jest/globals';

import { createDatabase, majors, query } from '../../support/postgres.ts';
import { failureOf, open, versionTable } from './open.ts';

const reasonsOf = (state: { readonly blockers: readonly { readonly reason: string; readonly blocks: string }[] }) =>
  state.blockers.map(({ reason, blocks }) => `${reason} ${blocks}`);

describe.each(majors)('PostgreSQL %i: reading', (major) => {
  test('tells identity, server, revisions, role and size, and finds nothing in the way', async () => {
    await using database = await createDatabase(major, {
      sql: `${versionTable('b2')} INSERT INTO alembic_version VALUES ('a1'); CREATE TABLE t (i int)`,
    });
    await using live = await open(database);
    const state = await live.read();
    expect(state).toMatchObject({
      identity: { name: database.name, systemIdentifier: expect.stringMatching(/^\d{19}$/) },
      server: { major },
      versionTable: { kind: 'present', revisions: ['a1', 'b2'] },
      versionTables: ['public.alembic_version'],
      empty: false,
      role: { name: database.owner, createDatabase: true, superuser: false },
      blockers: [],
    });
    expect(state.sizeBytes).toBeGreaterThan(1_000_000);
  });

  test('costs one connection', async () => {
    await using database = await createDatabase(major, { sql: versionTable('a1') });
    await using live = await open(database);
    await live.read();
    const sessions = await query(
      database.server.adminUrl,
      'SELECT datname, application_name FROM pg_stat_activity WHERE usename = $1',
      [database.owner],
    );
    expect(sessions).toEqual([{ datname: database.name, application_name: 'migration-target/abc123' }]);
  });

  test('tells a missing version table from an empty one, and an empty database from one with tables', async () => {
    await using database = await createDatabase(major);
    await using live = await open(database);
    expect(await live.read()).toMatchObject({ versionTable: { kind: 'missing' }, empty: true });
    await query(database.url, `${versionTable('a1')} DELETE FROM alembic_version`);
    expect(await live.read()).toMatchObject({ versionTable: { kind: 'present', revisions: [] }, empty: true });
    await query(database.url, 'CREATE SEQUENCE s');
    expect((await live.read()).empty).toBe(false);
  });

  test.each([
    ['a view', `CREATE VIEW alembic_version AS SELECT 'a1'::varchar AS version_num`],
    ['a table without its column', 'CREATE TABLE alembic_version (version int)'],
    ['a column of numbers', 'CREATE TABLE alembic_version (version_num int)'],
  ])('refuses to take %s for the version table', async (_, sql) => {
    await using database = await createDatabase(major, { sql });
    await using live = await open(database);
    const state = await live.read();
    expect(state.versionTable).toEqual({ kind: 'missing' });
    expect(reasonsOf(state)).toEqual(['VersionTableMissing change']);
  });

  test('finds the version table in its schema, and other version tables', async () => {
    await using database = await createDatabase(major, {
      sql: `CREATE SCHEMA "my schema"; CREATE TABLE "my schema"."Versions" (version_num varchar(32)); INSERT INTO "my schema"."Versions" VALUES ('a1'); ${versionTable('b1')}`,
    });
    await using live = await open(database, { versionTable: { schema: 'my schema', name: 'Versions' } });
    expect(await live.read()).toMatchObject({
      versionTable: { kind: 'present', revisions: ['a1'] },
      versionTables: ['my schema.Versions', 'public.alembic_version'],
    });
  });

  test('is not led astray by a search_path, nor by functions of the name of its own', async () => {
    await using database = await createDatabase(major, {
      sql: `${versionTable('a1')} CREATE SCHEMA evil; CREATE FUNCTION evil.count(text) RETURNS int LANGUAGE sql AS 'SELECT 1/0';
            CREATE TABLE evil.alembic_version (version_num text); CREATE VIEW evil.pg_class AS SELECT 1 AS x`,
    });
    await query(
      database.adminUrl,
      `ALTER DATABASE "${database.name}" SET search_path = evil, pg_catalog, public; ALTER ROLE "${database.owner}" SET search_path = evil, pg_catalog`,
    );
    await using live = await open(database);
    expect((await live.read()).versionTable).toEqual({ kind: 'present', revisions: ['a1'] });
  });

  test('reports row-level security that hides rows from the role, and not from one that bypasses it', async () => {
    await using database = await createDatabase(major, {
      sql: `${versionTable('a1')} CREATE TABLE secrets (i int); ALTER TABLE secrets ENABLE ROW LEVEL SECURITY`,
    });
    await using live = await open(database);
    // The owner of a table is not subject to its policies, unless they are forced.
    expect(reasonsOf(await live.read())).toEqual([]);
    await query(database.url, 'ALTER TABLE secrets FORCE ROW LEVEL SECURITY');
    const state = await live.read();
    expect(reasonsOf(state)).toEqual(['RowsHidden change']);
    expect(state.blockers[0]?.message).toMatch(/public\.secrets.*adminUrlFrom.*BYPASSRLS/s);
    expect((await failureOf(live.rowCounts())).reason).toBe('RowsHidden');

    await using asAdmin = await open(database, { adminUrl: database.adminUrl });
    expect(reasonsOf(await asAdmin.read())).toEqual([]);
  });

  test('reports what the role may not read, may not create, and does not own', async () => {
    await using database = await createDatabase(major, { createdb: false, sql: versionTable('a1') });
    await query(database.adminUrl, `CREATE TABLE private (i int); ALTER DATABASE "${database.name}" OWNER TO postgres`);
    await using live = await open(database);
    const state = await live.read();
    expect(reasonsOf(state)).toEqual([
      'PermissionDenied change',
      'PermissionDenied restore',
      'PermissionDenied restore',
    ]);
    expect(state.role.createDatabase).toBe(false);
    expect(state.blockers[0]?.message).toContain('public.private');
    expect(state.blockers[1]?.message).toContain(`ALTER DATABASE "${database.name}" OWNER TO "${database.owner}"`);
    expect(state.blockers[2]?.message).toContain(`ALTER ROLE "${database.owner}" CREATEDB`);
  });

  test('says who may not read the version table', async () => {
    await using database = await createDatabase(major);
    await query(database.adminUrl, versionTable('a1'));
    await using live = await open(database);
    expect(await failureOf(live.read())).toMatchObject({
      reason: 'PermissionDenied',
      message: expect.stringContaining('GRANT SELECT'),
    });
  });

  test('reports prepared transactions, replication slots and subscriptions', async () => {
    await using database = await createDatabase(major, { sql: `${versionTable('a1')} CREATE TABLE t (i int)` });
    await query(
      database.adminUrl,
      `CREATE SUBSCRIPTION "sub_${database.owner}" CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p WITH (connect = false, slot_name = NONE)`,
    );
    await query(database.adminUrl, `SELECT pg_create_logical_replication_slot('slot_${database.owner}', 'pgoutput')`);
    await query(database.url, `BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'gid_${database.owner}'`);
    await using live = await open(database);
    const state = await live.read();
    expect(reasonsOf(state)).toEqual(['SwapBlocked restore', 'SwapBlocked restore', 'SwapBlocked restore']);
    const messages = state.blockers.map(({ message }) => message).join('\n');
    for (const kind of ['gid', 'slot', 'sub']) expect(messages).toContain(`${kind}_${database.owner}`);
    await query(database.url, `ROLLBACK PREPARED 'gid_${database.owner}'`);
    await query(database.adminUrl, `DROP SUBSCRIPTION "sub_${database.owner}"`);
  });

  test('reports a database that is set to read only', async () => {
    await using database = await createDatabase(major, { sql: versionTable('a1') });
    await query(database.adminUrl, `ALTER DATABASE "${database.name}" SET default_transaction_read_only = on`);
    await using live = await open(database);
    expect(reasonsOf(await live.read())).toEqual(['DatabaseReadOnly change']);
  });
});

describe.each(majors)('PostgreSQL %i: opening', (major) => {
  test('is refused with the reason that the server gives', async () => {
    await using database = await createDatabase(major);
    const wrong = (change: Record<string, string>) => {
      const url = new URL(database.url);
      Object.assign(url, change);
      return failureOf(open(database, { url: url.href }));
    };
    expect(await wrong({ password: 'wr0ng' })).toMatchObject({ reason: 'AuthenticationFailed', kind: 'stalled' });
    expect((await wrong({ password: 'wr0ng' })).message).not.toContain('wr0ng');
    expect(await wrong({ password: '' })).toMatchObject({ reason: 'AuthenticationFailed' });
    expect(await wrong({ pathname: '/nowhere' })).toMatchObject({ reason: 'DatabaseNotFound', kind: 'stalled' });
    expect(await wrong({ pathname: '/postgres' })).toMatchObject({ reason: 'DatabaseNameRefused' });
    expect(await wrong({ port: '1' })).toMatchObject({ reason: 'DatabaseUnreachable', kind: 'retry' });
    expect(await wrong({ hostname: 'nowhere.invalid' })).toMatchObject({
      reason: 'DatabaseUnreachable',
      kind: 'retry',
    });
    expect(await wrong({ search: '?sslmode=require' })).toMatchObject({
      reason: 'DatabaseUnreachable',
      kind: 'stalled',
    });
  });

  test('takes SQLAlchemy URLs, and parameters that only say how to connect', async () => {
    await using database = await createDatabase(major, { sql: versionTable('a1') });
    const url = database.url.replace(/^\w+:/, 'postgresql+asyncpg:');
    await using live = await open(database, {
      url: `${url}?target_session_attrs=read-write&options=-c%20work_mem%3D5MB&application_name=other`,
    });
    expect(await live.query('SHOW work_mem')).toBe('5MB');
    expect(await live.query('SHOW application_name')).toBe('migration-target/abc123');
  });

  test('is refused where both URLs do not lead to one server', async () => {
    await using database = await createDatabase(major);
    const others = majors.filter((other) => other !== major);
    for (const other of others.slice(0, 1)) {
      await using elsewhere = await createDatabase(other, { name: database.name });
      expect(await failureOf(open(database, { adminUrl: elsewhere.adminUrl }))).toMatchObject({
        reason: 'DatabaseUrlInvalid',
        message: expect.stringContaining('another server'),
      });
    }
  });
});

describe.each(majors)("PostgreSQL %i: a user's query", (major) => {
  test('runs alone, reads only, and resolves names as the application does', async () => {
    await using database = await createDatabase(major, {
      sql: 'CREATE SCHEMA app; CREATE TABLE app.users AS SELECT 7 AS id',
    });
    await query(database.url, `ALTER ROLE "${database.owner}" SET search_path = app`);
    await using live = await open(database);
    expect(await live.query('SELECT id FROM users')).toBe('7');
    expect(await live.query('SELECT count(*) > 0 FROM users')).toBe('t');
    expect(await live.query('SELECT NULL')).toBeNull();
    expect(await live.query('SELECT 1 WHERE false')).toBeNull();
    expect(await failureOf(live.query('DELETE FROM users'))).toMatchObject({ reason: 'DatabaseReadOnly' });
    expect(await failureOf(live.query('COMMIT; DELETE FROM users'))).toMatchObject({ reason: 'VerificationFailed' });
    expect(await failureOf(live.query('SELECT * FROM nowhere'))).toMatchObject({ reason: 'VerificationFailed' });
    expect(await live.query('SELECT count(*) FROM users')).toBe('1');
  });
});
