import { describe, expect, test } from '@jest/globals';
import { runOrThrow } from '../../../scripts/lib/run.ts';
import { python } from '../../support/alembic.ts';

const driver = new URL('../../../src/adapters/alembic/driver', import.meta.url).pathname;

/** What each statement reaches, as the driver's own module says it; null: nothing beyond its database. */
async function reachOf(statements: readonly string[]): Promise<readonly (string | null)[]> {
  const program = `
import json, sys, types
package = types.ModuleType("migration_target_driver")
package.__path__ = [sys.argv[1]]
sys.modules["migration_target_driver"] = package
from migration_target_driver.reach import reach
found = [reach(statement) for statement in json.load(sys.stdin)]
json.dump([one and one.what for one in found], sys.stdout)
`;
  const { stdout } = await runOrThrow(await python(), ['-B', '-c', program, driver], {
    input: JSON.stringify(statements),
  });
  return JSON.parse(stdout) as (string | null)[];
}

const beyond: readonly (readonly [string, string])[] = [
  ...['DATABASE', 'ROLE', 'USER', 'GROUP', 'TABLESPACE'].flatMap((kind) =>
    ['CREATE', 'ALTER', 'DROP'].map((verb) => [`${verb} ${kind}`, `${verb} ${kind} x`] as const),
  ),
  ['CREATE ROLE', 'create role x login'],
  ['CREATE ROLE', '\n-- the readers\n/* of /* all */ reports */ CREATE /**/ ROLE x'],
  ['CREATE ROLE', 'SELECT 1; ; CREATE ROLE x'],
  ['CREATE ROLE', "INSERT INTO t VALUES (';'); CREATE ROLE x"],
  ['CREATE ROLE', 'SELECT $a$ ; $b$ ; $a$; CREATE ROLE x'],
  ['CREATE ROLE', "SELECT E'it\\'s ; '; CREATE ROLE x"],
  ['ALTER SYSTEM', 'ALTER SYSTEM SET work_mem = 1'],
  ['REASSIGN OWNED', 'REASSIGN OWNED BY a TO b'],
  ['DROP OWNED', 'DROP OWNED BY a'],
  ['GRANT … ON DATABASE', 'GRANT ALL PRIVILEGES ON DATABASE x TO y'],
  ['REVOKE … ON DATABASE', 'REVOKE CONNECT ON DATABASE x FROM PUBLIC'],
  ['GRANT … ON TABLESPACE', 'GRANT CREATE ON TABLESPACE x TO y'],
  ['GRANT … ON PARAMETER', 'GRANT SET ON PARAMETER work_mem TO y'],
  ['GRANT of a role', 'GRANT a, b TO c WITH ADMIN OPTION'],
  ['REVOKE of a role', 'REVOKE ADMIN OPTION FOR a FROM b'],
  ['COMMENT ON DATABASE', "COMMENT ON DATABASE x IS 'y'"],
  ['COMMENT ON ROLE', "COMMENT ON ROLE x IS 'y'"],
  ['COMMENT ON TABLESPACE', "COMMENT ON TABLESPACE x IS 'y'"],
  ['SECURITY LABEL ON ROLE', "SECURITY LABEL FOR selinux ON ROLE x IS 'y'"],
  ['SECURITY LABEL ON DATABASE', "SECURITY LABEL ON DATABASE x IS 'y'"],
  ['CREATE SUBSCRIPTION', "CREATE SUBSCRIPTION s CONNECTION 'dbname=x' PUBLICATION p"],
  ['ALTER SUBSCRIPTION', 'ALTER SUBSCRIPTION s ENABLE'],
  ['DROP SUBSCRIPTION', 'DROP SUBSCRIPTION s'],
  ['CREATE USER MAPPING', 'CREATE USER MAPPING FOR x SERVER y'],
  ['ALTER USER MAPPING', "ALTER USER MAPPING FOR x SERVER y OPTIONS (SET a 'b')"],
  ['IMPORT FOREIGN SCHEMA', 'IMPORT FOREIGN SCHEMA a FROM SERVER b INTO c'],
  ['CREATE FOREIGN TABLE with a program', "CREATE FOREIGN TABLE t (x text) SERVER files OPTIONS (program 'date')"],
  ['COPY … FROM PROGRAM', "COPY t FROM PROGRAM 'date'"],
  ['COPY … TO PROGRAM', "COPY (SELECT 1 FROM t) TO PROGRAM 'cat'"],
  ['COPY … FROM a file', "COPY t (a, b) FROM '/tmp/x' WITH (FORMAT csv)"],
  ['COPY … TO a file', "COPY t TO '/tmp/x'"],
  ['dblink()', "SELECT * FROM dblink('dbname=x', 'SELECT 1') AS t(x int)"],
  ['dblink_exec()', "SELECT public . dblink_exec ('a', 'b')"],
  ['dblink_connect()', `SELECT "dblink_connect"('a')`],
  ['dblink()', "CREATE VIEW v AS SELECT * FROM dblink('a', 'b') AS t(x int)"],
  ['pg_terminate_backend()', 'SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_stat_activity'],
  ['pg_cancel_backend()', 'SELECT pg_cancel_backend(1)'],
  ['pg_create_logical_replication_slot()', "SELECT pg_create_logical_replication_slot('a', 'b')"],
  ['pg_drop_replication_slot()', "SELECT pg_drop_replication_slot('a')"],
  ['pg_replication_origin_create()', "SELECT pg_replication_origin_create('a')"],
  ['lo_import()', "SELECT lo_import('/tmp/x')"],
  ['lo_export()', "SELECT lo_export(1, '/tmp/x')"],
  ['pg_switch_wal()', 'SELECT pg_switch_wal()'],
  ['pg_reload_conf()', 'SELECT pg_reload_conf()'],
  // In a body whatever is put together as well.
  ['CREATE ROLE', 'DO $$ BEGIN CREATE ROLE x; END $$'],
  ['CREATE ROLE', "DO $$ BEGIN EXECUTE 'CREATE ROLE x'; END $$"],
  ['CREATE ROLE', "DO LANGUAGE plpgsql 'BEGIN EXECUTE ''CREATE ROLE x''; END'"],
  ['CREATE ROLE', "DO $$ BEGIN EXECUTE format('CREATE ROLE %I', 'x'); END $$"],
  ['CREATE ROLE', "DO $$ BEGIN EXECUTE 'CREATE ' || 'ROLE ' || quote_ident('x'); END $$"],
  ['CREATE ROLE', "DO $$ DECLARE s text; BEGIN s := 'CREATE ROLE x'; EXECUTE s; END $$"],
  ['CREATE ROLE', 'DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM pg_roles) THEN CREATE ROLE x; END IF; END $$'],
  ['CREATE ROLE', 'DO $$ BEGIN EXECUTE $x$CREATE ROLE x$x$; END $$'],
  ['CREATE ROLE', 'DO LANGUAGE plpython3u $$ plpy.execute("CREATE ROLE x") $$'],
  ['ALTER DATABASE', "DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET work_mem = 1'; END $$"],
  ['pg_terminate_backend()', 'DO $$ BEGIN PERFORM pg_terminate_backend(1); END $$'],
  [
    'CREATE ROLE',
    "CREATE OR REPLACE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'CREATE ROLE x'; END $$",
  ],
  ['dblink()', "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$ SELECT dblink('a', 'b') $$"],
  ['CREATE USER', 'CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN CREATE USER x; END $$'],
];

const ordinary: readonly string[] = [
  '',
  '-- CREATE ROLE x',
  '/* CREATE ROLE x */ SELECT 1',
  "INSERT INTO t VALUES ('create role x')",
  "INSERT INTO t VALUES ('a; create role x; b')",
  "UPDATE t SET sql = 'DROP DATABASE x' WHERE role = 'user'",
  'INSERT INTO t VALUES ($$ DO $x$ CREATE ROLE x $x$ $$)',
  'SELECT "create role x", role, "user" FROM database',
  'ALTER TABLE t ADD COLUMN role text',
  'ALTER TABLE t DROP role',
  'ALTER TABLE t RENAME COLUMN role TO database',
  'ALTER TABLE t OWNER TO x',
  'ALTER TABLE t SET TABLESPACE x',
  'CREATE TABLE role (database text, tablespace text)',
  'CREATE TABLE "user" (id int)',
  'CREATE TABLE dblink (url text)',
  "INSERT INTO dblink (url) VALUES ('x')",
  'DROP TABLE "user"',
  'DROP USER MAPPING IF EXISTS FOR x SERVER y',
  'DROP FUNCTION IF EXISTS dblink(text), dblink_exec(text)',
  'REVOKE EXECUTE ON FUNCTION pg_reload_conf() FROM PUBLIC',
  'CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw',
  'CREATE FOREIGN TABLE t (program text) SERVER s',
  'CREATE EXTENSION IF NOT EXISTS dblink',
  'CREATE SCHEMA x AUTHORIZATION y',
  'CREATE INDEX i ON t (role)',
  'CREATE POLICY p ON t FOR ALL TO x USING (true)',
  "CREATE TYPE role AS ENUM ('user', 'admin')",
  "ALTER TYPE role ADD VALUE 'database'",
  'ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO x',
  'GRANT SELECT (a, b), UPDATE ON t TO x',
  'GRANT USAGE ON SCHEMA public TO x',
  'REVOKE ALL ON ALL TABLES IN SCHEMA public FROM x',
  "COMMENT ON COLUMN t.role IS 'create role'",
  "COMMENT ON TABLE t IS 'on database'",
  'COPY t FROM STDIN',
  'COPY t (a, b) FROM STDIN WITH CSV',
  "COPY (SELECT 'x' FROM t) TO STDOUT",
  'COPY BINARY t TO STDOUT',
  "NOTIFY channel, 'create role'",
  'SET ROLE x',
  'SET SESSION AUTHORIZATION x',
  'SELECT lo_create(0), pg_advisory_lock(1), pg_backend_pid()',
  "SELECT set_config('role', 'x', true)",
  'CREATE PUBLICATION p FOR ALL TABLES',
  "DO $$ BEGIN RAISE NOTICE 'create role x'; END $$",
  "DO $$ BEGIN ALTER TABLE t DROP role; UPDATE t SET sql = 'create role x'; END $$",
  "DO $$ BEGIN EXECUTE 'ALTER TABLE ' || 't' || ' ADD COLUMN role text'; END $$",
  "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.role := 'user'; RETURN NEW; END $$",
  "SELECT 'it''s' ; SELECT 2 -- it's",
];

describe('what a statement reaches', () => {
  test('more than its database', async () => {
    const found = await reachOf(beyond.map(([, statement]) => statement));
    expect(beyond.map(([, statement], index) => [found[index], statement])).toEqual(beyond);
  });

  test('nothing but its database', async () => {
    const found = await reachOf(ordinary);
    expect(ordinary.map((statement, index) => [found[index], statement])).toEqual(ordinary.map((one) => [null, one]));
  });

  test('at the end of a long script, too', async () => {
    const rows = Array.from({ length: 50_000 }, (_, n) => `(${n}, 'it''s number ${n}')`).join(',\n');
    expect(await reachOf([`INSERT INTO t VALUES ${rows};\nCREATE ROLE x`])).toEqual(['CREATE ROLE']);
  });
});
