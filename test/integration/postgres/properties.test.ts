import { join } from 'node:path';

import { describe, expect, test } from '@jest/globals';
import pg from 'pg';

import { createDatabase, databaseUrl, majors, query } from '../../support/postgres.ts';
import { failureOf, open, restoreCopy, silent, temporaryFolder } from './open.ts';

const q = pg.escapeIdentifier;

describe.each(majors)('PostgreSQL %i: a database made again', (major) => {
  test('has the owner, encoding, locale, limit, comment, rights and settings of the one that was dumped', async () => {
    await using database = await createDatabase(major, { name: `made again "${major}"` });
    const { owner, name, server } = database;
    await query(
      server.adminUrl,
      `CREATE ROLE reader_${owner};
       ALTER DATABASE ${q(name)} CONNECTION LIMIT 7;
       COMMENT ON DATABASE ${q(name)} IS 'it''s ours';
       REVOKE ALL ON DATABASE ${q(name)} FROM PUBLIC;
       GRANT CONNECT ON DATABASE ${q(name)} TO reader_${owner} WITH GRANT OPTION;
       ALTER DATABASE ${q(name)} SET search_path = "$user", "a ""b, c", public;
       ALTER DATABASE ${q(name)} SET work_mem = '5MB';
       ALTER DATABASE ${q(name)} SET myapp.tenant = 'it''s';
       ALTER ROLE ${owner} IN DATABASE ${q(name)} SET statement_timeout = '9s'`,
    );
    try {
      const describeDatabase = async (which: string) =>
        query(
          server.adminUrl,
          `SELECT pg_get_userbyid(datdba) AS owner, encoding, datcollate, datctype, datlocprovider, datconnlimit, datallowconn, dattablespace,
             shobj_description(oid, 'pg_database') AS comment,
             (SELECT array_agg(a.grantee::regrole || ':' || a.privilege_type || a.is_grantable ORDER BY 1) FROM aclexplode(datacl) a) AS acl,
             (SELECT array_agg(setrole::regrole || ':' || setconfig::text ORDER BY setrole) FROM pg_db_role_setting WHERE setdatabase = d.oid) AS settings
           FROM pg_database d WHERE datname = $1`,
          [which],
        );
      await using folder = await temporaryFolder();
      await using live = await open(database, { adminUrl: database.adminUrl });
      const { properties } = await live.dump({ kind: 'path', path: join(folder.path, 'dump') }, silent);
      const into = await live.newDatabase('restored', 'again');
      // As from a manifest on disk.
      await live.createDatabase(into, JSON.parse(JSON.stringify(properties)) as typeof properties);
      const [made] = await describeDatabase(into.name);
      expect(made).toEqual((await describeDatabase(name))[0]);
      expect(made).toMatchObject({ owner, datconnlimit: 7, comment: "it's ours" });
      expect(
        await query(
          databaseUrl(database.url, { database: into.name }),
          `SELECT current_setting('search_path') AS path, current_setting('myapp.tenant') AS tenant`,
        ),
      ).toEqual([{ path: '"$user", "a ""b, c", public', tenant: "it's" }]);

      const scratch = await live.newDatabase('scratch', 'again');
      await live.createDatabase(scratch, 'scratch');
      expect((await describeDatabase(scratch.name))[0]).toMatchObject({
        datcollate: made?.['datcollate'],
        encoding: made?.['encoding'],
      });
      expect(
        await query(
          databaseUrl(database.adminUrl, { database: scratch.name }),
          `SELECT current_setting('work_mem') AS m`,
        ),
      ).toEqual([{ m: '5MB' }]);
      await expect(query(databaseUrl(database.url, { database: scratch.name }), 'SELECT 1')).rejects.toThrow(
        'permission denied for database',
      );
      await live.dropDatabase(into);
      await live.dropDatabase(scratch);
    } finally {
      await query(server.adminUrl, `REVOKE ALL ON DATABASE ${q(name)} FROM reader_${owner}; DROP ROLE reader_${owner}`);
    }
  });

  test.each([
    ['ICU', `LOCALE_PROVIDER icu ICU_LOCALE 'de-DE'`, 15],
    [
      'ICU, and one of the C library beside it',
      `LOCALE_PROVIDER icu ICU_LOCALE 'de-DE' LC_COLLATE 'C' LC_CTYPE 'C'`,
      15,
    ],
    ['one to sort by and another for characters', `LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'`, 15],
    ['ICU with rules of its own', `LOCALE_PROVIDER icu ICU_LOCALE 'de-DE' ICU_RULES '&V << w <<< W'`, 16],
    ['the built-in provider', `LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'`, 17],
    ['no locale, in LATIN1', `LC_COLLATE 'C' LC_CTYPE 'C' ENCODING 'LATIN1'`, 15],
  ])('has its locale: %s', async (_, clauses, from) => {
    if (major < from) return;
    await using database = await createDatabase(major);
    const { server, name, owner } = database;
    const [built] = await query<{ icu: boolean }>(
      server.adminUrl,
      "SELECT count(*) > 9 AS icu FROM pg_collation WHERE collprovider = 'i'",
    );
    if (clauses.includes('icu') && built?.icu !== true) return;
    await query(server.adminUrl, `DROP DATABASE ${q(name)}`);
    await query(server.adminUrl, `CREATE DATABASE ${q(name)} TEMPLATE template0 OWNER ${owner} ${clauses}`);
    const locale = (which: string) =>
      query(
        server.adminUrl,
        `SELECT encoding, datcollate, datctype, datlocprovider, to_jsonb(d) - 'oid' ->> 'daticulocale' AS l15, to_jsonb(d) ->> 'datlocale' AS l17, to_jsonb(d) ->> 'daticurules' AS rules FROM pg_database d WHERE datname = $1`,
        [which],
      );
    await using folder = await temporaryFolder();
    await using live = await open(database);
    const { properties } = await live.dump({ kind: 'path', path: join(folder.path, 'dump') }, silent);
    const into = await live.newDatabase('restored', 'locale');
    await live.createDatabase(into, properties);
    expect(await locale(into.name)).toEqual(await locale(name));
  });

  test('is in its tablespace, and a scratch one, which takes as much space, too', async () => {
    await using database = await createDatabase(major);
    const { owner, name, server } = database;
    const space = `space_${owner}`;
    // In the server's own folder, so that no other has to belong to the server's user.
    const admin = new pg.Client({ connectionString: server.adminUrl, options: '-c allow_in_place_tablespaces=on' });
    await admin.connect();
    await admin.query(`CREATE TABLESPACE ${space} LOCATION ''`);
    await admin.query(`GRANT CREATE ON TABLESPACE ${space} TO ${owner}`);
    await admin.query(`ALTER DATABASE ${q(name)} SET TABLESPACE ${space}`);
    await query(database.url, 'CREATE TABLE t AS SELECT 1 AS i');
    try {
      await using folder = await temporaryFolder();
      await using live = await open(database);
      const into = await restoreCopy(live, folder.path);
      const scratch = await live.newDatabase('scratch', 'space');
      await live.createDatabase(scratch, 'scratch');
      for (const made of [into, scratch])
        expect(
          await query(
            server.adminUrl,
            'SELECT spcname FROM pg_tablespace t JOIN pg_database d ON d.dattablespace = t.oid WHERE datname = $1',
            [made.name],
          ),
        ).toEqual([{ spcname: space }]);
    } finally {
      await database.drop();
      await admin.query(`DROP TABLESPACE ${space}`);
      await admin.end();
    }
  });

  test('is a template where the one before was, a scratch one is none, and each can be dropped', async () => {
    await using database = await createDatabase(major);
    const { name, server } = database;
    await query(server.adminUrl, `ALTER DATABASE ${q(name)} IS_TEMPLATE true`);
    await using folder = await temporaryFolder();
    await using live = await open(database);
    const into = await restoreCopy(live, folder.path);
    const scratch = await live.newDatabase('scratch', 'plate');
    await live.createDatabase(scratch, 'scratch');
    expect(
      await query(server.adminUrl, 'SELECT datname FROM pg_database WHERE datistemplate AND datname = ANY($1)', [
        [into.name, scratch.name],
      ]),
    ).toEqual([{ datname: into.name }]);
    expect(await live.dropDatabase(into)).toBe(true);
    expect(await live.dropDatabase(scratch)).toBe(true);
  });

  test('is made anew where an earlier try left it half made, and never over another of its name', async () => {
    await using database = await createDatabase(major);
    await using live = await open(database);
    const scratch = await live.newDatabase('scratch', 'half');
    await live.createDatabase(scratch, 'scratch');
    await query(databaseUrl(database.url, { database: scratch.name }), 'CREATE TABLE left_over ()');
    await live.createDatabase(scratch, 'scratch');
    expect((await live.contents(scratch)).rowCounts).toEqual({});
    expect(await failureOf(live.createDatabase({ ...scratch, oid: scratch.oid - 1 }, 'scratch'))).toMatchObject({
      reason: 'RecoveryFailed',
    });
    expect((await live.newDatabase('scratch', 'half')).name).not.toBe(scratch.name);
    expect(await live.dropDatabase(scratch)).toBe(true);
  });

  test('has nothing of roles that were dropped since, which are told; what its owner had is of whoever makes it', async () => {
    await using database = await createDatabase(major);
    const { owner, name, server } = database;
    const [before, reader] = [`"be""fore ${owner}"`, `"reader ${owner}"`];
    await query(
      server.adminUrl,
      `CREATE ROLE ${before}; CREATE ROLE ${reader};
       ALTER DATABASE ${q(name)} OWNER TO ${before};
       REVOKE ALL ON DATABASE ${q(name)} FROM PUBLIC;
       REVOKE TEMPORARY ON DATABASE ${q(name)} FROM ${before};
       GRANT CONNECT ON DATABASE ${q(name)} TO ${reader}, ${owner};
       ALTER DATABASE ${q(name)} SET work_mem = '5MB';
       ALTER ROLE ${reader} IN DATABASE ${q(name)} SET work_mem = '6MB';
       ALTER ROLE ${before} IN DATABASE ${q(name)} SET work_mem = '7MB'`,
    );
    await using live = await open(database, { adminUrl: database.adminUrl });
    const properties = await live.properties();
    await query(
      server.adminUrl,
      `ALTER DATABASE ${q(name)} OWNER TO ${owner}; REVOKE ALL ON DATABASE ${q(name)} FROM ${reader}; DROP ROLE ${reader}, ${before}`,
    );
    const into = await live.newDatabase('restored', 'gone');
    expect(await live.createDatabase(into, properties)).toEqual({
      roles: [`be"fore ${owner}`, `reader ${owner}`],
      settings: [],
    });
    expect(
      await query(
        server.adminUrl,
        `SELECT pg_get_userbyid(datdba) AS owner,
           (SELECT array_agg(DISTINCT a.grantee::regrole || ':' || a.privilege_type) FROM aclexplode(datacl) a) AS acl,
           (SELECT array_agg(setconfig::text) FROM pg_db_role_setting WHERE setdatabase = d.oid) AS settings
         FROM pg_database d WHERE datname = $1`,
        [into.name],
      ),
    ).toEqual([
      {
        owner: 'postgres',
        acl: [`${owner}:CONNECT`, 'postgres:CONNECT', 'postgres:CREATE'],
        settings: ['{work_mem=5MB}'],
      },
    ]);
    await live.dropDatabase(into);
  });

  test('is refused to a role that may create none, with what to grant', async () => {
    await using database = await createDatabase(major, { createdb: false });
    await using live = await open(database);
    const failure = await failureOf(live.createDatabase(await live.newDatabase('scratch', 'none'), 'scratch'));
    expect(failure).toMatchObject({ reason: 'PermissionDenied', kind: 'stalled' });
    expect(failure.message).toContain(`ALTER ROLE "${database.owner}" CREATEDB`);
    expect(failure.message).toContain('adminUrlFrom');
  });
});
