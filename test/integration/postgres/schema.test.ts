import { describe, expect, test } from '@jest/globals';

import { createDatabase, majors, query } from '../../support/postgres.ts';
import { canonicalSchema, failureOf, open, restoreCopy, temporaryFolder, versionTable } from './open.ts';

const everything = `
  ${versionTable('a1')}
  CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE pair AS (a int, b text); CREATE TYPE span AS RANGE (subtype = int);
  CREATE DOMAIN email AS text NOT NULL CHECK (VALUE LIKE '%@%');
  CREATE TABLE users (id serial PRIMARY KEY, kind varchar(9) DEFAULT 'a' CHECK (kind IN ('a', 'b')), mail email, m mood DEFAULT 'ok', at timestamptz DEFAULT '2020-01-01 00:00+00',
    big bigint GENERATED ALWAYS AS IDENTITY, twice int GENERATED ALWAYS AS (1 * 2) STORED, c text COLLATE "C");
  CREATE INDEX partial ON users (lower(kind)) WHERE kind IN ('a', 'b') AND id > 1;
  CREATE UNIQUE INDEX ON users (mail) INCLUDE (id);
  CREATE VIEW v AS SELECT id, kind FROM users WHERE kind IN ('a', 'b');
  CREATE MATERIALIZED VIEW mv AS SELECT count(*) AS n FROM users;
  CREATE TABLE parted (i int, PRIMARY KEY (i)) PARTITION BY RANGE (i); CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (1) TO (10);
  CREATE TABLE child (user_id int REFERENCES users ON DELETE CASCADE, x int[]) INHERITS (users);
  CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; -- it's
  END $$;
  CREATE TRIGGER t BEFORE UPDATE ON users FOR EACH ROW WHEN (NEW.kind IN ('a', 'b')) EXECUTE FUNCTION touch();
  CREATE AGGREGATE total (int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
  ALTER TABLE users ENABLE ROW LEVEL SECURITY; CREATE POLICY mine ON users FOR SELECT USING (kind IN ('a', 'b'));
  CREATE SEQUENCE odd INCREMENT 2 CYCLE MAXVALUE 99; CREATE STATISTICS stats ON id, kind FROM users;
  CREATE SCHEMA app; CREATE TABLE app."Ärger ""x""" (i int); COMMENT ON COLUMN users.kind IS 'two
  lines'; COMMENT ON TABLE users IS 'a table'; GRANT SELECT (kind), UPDATE ON users TO PUBLIC; REVOKE EXECUTE ON FUNCTION touch() FROM PUBLIC;
  CREATE PUBLICATION pub FOR TABLE users; ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO PUBLIC;`;

describe.each(majors)('PostgreSQL %i: the schema', (major) => {
  test('of a database equals that of its restored backup, once both went through a dump', async () => {
    await using database = await createDatabase(major, { sql: everything });
    await using folder = await temporaryFolder();
    await using live = await open(database);
    const canonical = await canonicalSchema(live, 'schema');
    const into = await restoreCopy(live, folder.path);
    const restored = (await live.contents(into)).schema;
    expect(restored.lines).toEqual(canonical.lines);
    expect(restored.digest).toBe(canonical.digest);
    expect(canonical.lines.join('\n')).not.toContain('alembic_version');
    expect(canonical.lines).toEqual([...canonical.lines].sort());
    expect(canonical.lines.every((line) => !line.includes('\n'))).toBe(true);
  });

  test('does not depend on the order of columns, nor on the settings of role and database', async () => {
    await using one = await createDatabase(major, {
      sql: "CREATE TABLE t (a int, b text, c interval DEFAULT '1 day', d date DEFAULT '2020-02-01')",
    });
    await using two = await createDatabase(major, {
      sql: "CREATE TABLE t (c interval DEFAULT '1 day', x int, b text, a int, d date DEFAULT '2020-02-01'); ALTER TABLE t DROP COLUMN x",
    });
    await query(
      two.adminUrl,
      `ALTER DATABASE ${two.name} SET DateStyle = 'German'; ALTER ROLE ${two.owner} SET IntervalStyle = 'iso_8601'; ALTER ROLE ${two.owner} SET search_path = ''; ALTER ROLE ${two.owner} SET quote_all_identifiers = on`,
    );
    await using first = await open(one);
    await using second = await open(two);
    const anonymous = (lines: readonly string[], owner: string) => lines.map((line) => line.replaceAll(owner, 'OWNER'));
    expect(anonymous((await second.liveSchema()).lines, two.owner)).toEqual(
      anonymous((await first.liveSchema()).lines, one.owner),
    );
  });

  test('takes a default ACL and the same one written out for one', async () => {
    await using database = await createDatabase(major, {
      sql: 'CREATE TABLE t (); CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$',
    });
    await using live = await open(database);
    const before = await live.liveSchema();
    await query(database.url, `GRANT ALL ON t TO ${database.owner}; GRANT EXECUTE ON FUNCTION f() TO PUBLIC`);
    expect((await live.liveSchema()).lines).toEqual(before.lines);
  });

  test('is read again by itself where somebody dropped the scratch database meanwhile', async () => {
    await using database = await createDatabase(major);
    await using live = await open(database);
    const scratch = await live.newDatabase('scratch', 'gone');
    const dropped = live.createDatabase(scratch, 'scratch').then(() => live.dropDatabase(scratch));
    expect(await failureOf(live.canonicalSchema(scratch, dropped))).toMatchObject({
      kind: 'retry',
      message: expect.stringMatching(/is not there any more: somebody dropped it\. It is tried again by itself\.$/),
    });
  });

  test('differs after each kind of change, and not after a change of rows or of the version table', async () => {
    await using database = await createDatabase(major, { sql: everything });
    await using live = await open(database);
    const lines = async () => (await live.liveSchema()).lines;
    const before = await lines();
    await query(
      database.url,
      "INSERT INTO users (mail) VALUES ('a@b'); SELECT nextval('odd'); UPDATE alembic_version SET version_num = 'b2'; ALTER TABLE alembic_version ADD x int; COMMENT ON TABLE alembic_version IS 'x'",
    );
    expect(await lines()).toEqual(before);

    await query(database.url, 'TRUNCATE users CASCADE');
    const unchanged: string[] = [];
    let last = before;
    for (const change of changes) {
      await query(database.url, change);
      const now = await lines();
      if (now.join('\n') === last.join('\n')) unchanged.push(change);
      last = now;
    }
    expect(unchanged).toEqual([]);
  });
});

/** Each is to be seen after those before it. */
const changes = [
  'ALTER TABLE users ADD extra int',
  'ALTER TABLE users ALTER extra TYPE bigint',
  'ALTER TABLE users ALTER extra SET NOT NULL',
  'ALTER TABLE users ALTER extra SET DEFAULT 1',
  'ALTER TABLE users RENAME extra TO more',
  'ALTER TABLE users DROP more',
  'ALTER TABLE users ALTER c SET STORAGE EXTERNAL',
  'ALTER TABLE users ALTER big SET GENERATED BY DEFAULT',
  'ALTER TABLE users ADD CONSTRAINT later CHECK (id > 0) NOT VALID',
  'ALTER TABLE users VALIDATE CONSTRAINT later',
  'ALTER TABLE child DROP CONSTRAINT child_user_id_fkey',
  'DROP INDEX partial',
  'CREATE INDEX another ON users (kind DESC)',
  'ALTER TABLE users DISABLE TRIGGER t',
  'DROP TRIGGER t ON users',
  'CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$',
  'ALTER FUNCTION touch() SECURITY DEFINER',
  'GRANT EXECUTE ON FUNCTION touch() TO PUBLIC',
  'DROP AGGREGATE total (int)',
  'CREATE OR REPLACE VIEW v AS SELECT id, kind FROM users',
  'DROP MATERIALIZED VIEW mv',
  'CREATE RULE r AS ON DELETE TO users DO INSTEAD NOTHING',
  "ALTER TYPE mood ADD VALUE 'fine'",
  'ALTER TYPE pair ADD ATTRIBUTE c int',
  'DROP TYPE span',
  "ALTER DOMAIN email ADD CHECK (VALUE <> '')",
  'ALTER SEQUENCE odd INCREMENT 3',
  'ALTER POLICY mine ON users USING (true)',
  'ALTER TABLE users NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY',
  'REVOKE UPDATE ON users FROM PUBLIC',
  'REVOKE SELECT (kind) ON users FROM PUBLIC',
  'GRANT USAGE ON SCHEMA app TO PUBLIC',
  'ALTER DEFAULT PRIVILEGES IN SCHEMA app REVOKE SELECT ON TABLES FROM PUBLIC',
  "COMMENT ON COLUMN users.kind IS 'one line'",
  'ALTER TABLE parted DETACH PARTITION parted_1',
  'ALTER TABLE parted_1 SET (fillfactor = 70)',
  'ALTER TABLE parted_1 SET UNLOGGED',
  'ALTER TABLE parted_1 REPLICA IDENTITY FULL',
  'ALTER TABLE child NO INHERIT users',
  'DROP STATISTICS stats',
  'ALTER PUBLICATION pub DROP TABLE users',
  'ALTER TABLE app."Ärger ""x""" RENAME TO joy',
  'ALTER TABLE app.joy SET SCHEMA public',
  'DROP SCHEMA app CASCADE',
  'CREATE COLLATION mine FROM "C"',
];
