import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { describeInTurn } from '../../support/in-turn.ts';
import { sql } from '../../support/alembic.ts';
import { createDatabase, inTurn, query } from '../../support/postgres.ts';
import { open } from '../../integration/postgres/open.ts';
import { envOf, failedWith, openRehearsal, tablesOf, withDriver } from './rehearsal-scene.ts';
import { outputOf, up } from '../../integration/alembic/scene.ts';

const tried = {
  id: 'a1',
  up: 'op.create_table("tried", sa.Column("x", sa.Integer))',
  downgrade: 'op.drop_table("tried")',
};
const wayOut = expect.stringContaining('spec.policy.rehearsal: Never');

/** Python in which `URL` is a database's. Asynchronous code runs in no other loop's thread; an error is the migration's. */
const inThread = (url: string, body: string): string => `import threading
URL = ${JSON.stringify(url)}
def work():
    try:
${body.replace(/^/gm, '        ')}
    except BaseException as error:
        raised.append(error)
raised = []
t = threading.Thread(target=work)
t.start()
t.join()
if raised: raise raised[0]`;

const reachesOther = (name: string): unknown =>
  failedWith({ kind: 'wrongDatabase', message: expect.stringContaining(`'${name}'`) });

describe('a rehearsal refuses another database', () => {
  test.each(
    inTurn([
      ['of an engine', 'create_engine(URL)', 'psycopg', ''],
      ['of a second engine', 'second("psycopg")', 'psycopg', ''],
      [
        'of a creator=',
        'create_engine("postgresql+psycopg2://", creator=lambda: __import__("psycopg2").connect(URL))',
        null,
        '',
      ],
      [
        'of a driver that is not known',
        'create_engine("postgresql+psycopg2://", creator=past_us)',
        null,
        `
import psycopg2.extensions
def past_us():
    # A class of the driver's own, written in C: no function of a module to take hold of.
    return psycopg2.extensions.connection(URL)
`,
      ],
    ]),
  )('PostgreSQL %i: %s', async (major, _, engine, driver, before) => {
    await using other = await createDatabase(major);
    const second = `
def second(driver):
    with create_engine(os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:")).connect() as first:
        first.execute(text("SELECT 1"))
    return create_engine(URL)
`;
    const url = driver === null ? other.url : withDriver(other.url, driver);
    await using scene = await openRehearsal(major, () => ({
      revisions: [tried],
      envPy: envOf(url, engine, second + before),
    }));
    expect(await scene.rehearse([], up('a1'))).toEqual(reachesOther(other.name));
    expect(await tablesOf(other.url)).toEqual([]);
    expect(await tablesOf(scene.copy.url)).toEqual(['kept']);
    await scene.expectLiveUnchanged();
  });

  test.each(
    inTurn([
      ['psycopg', 'import psycopg\nwith psycopg.connect(URL) as c: c.execute("CREATE TABLE stray ()")'],
      [
        'psycopg, asynchronous',
        'import asyncio, psycopg\nasync def go():\n    async with await psycopg.AsyncConnection.connect(URL) as c: await c.execute("CREATE TABLE stray ()")\nasyncio.run(go())',
      ],
      [
        'psycopg2',
        'import psycopg2\nc = psycopg2.connect(URL)\nc.cursor().execute("CREATE TABLE stray ()")\nc.commit()',
      ],
      [
        'asyncpg',
        'import asyncio, asyncpg\nasync def go():\n    c = await asyncpg.connect(URL)\n    await c.execute("CREATE TABLE stray ()")\nasyncio.run(go())',
      ],
      [
        'asyncpg, of a pool',
        'import asyncio, asyncpg\nasync def go():\n    async with asyncpg.create_pool(URL, min_size=1) as p: await p.execute("CREATE TABLE stray ()")\nasyncio.run(go())',
      ],
      [
        'pg8000',
        'import pg8000\nfrom urllib.parse import urlsplit\nu = urlsplit(URL)\nc = pg8000.connect(u.username, u.hostname, u.path[1:], u.port, u.password)\nc.cursor().execute("CREATE TABLE stray ()")\nc.commit()',
      ],
    ]),
  )('PostgreSQL %i: of a connection of its own: %s, with the place', async (major, _, body) => {
    await using other = await createDatabase(major);
    await using scene = await openRehearsal(major, () => ({
      revisions: [{ id: 'a1', up: inThread(other.url, body) }],
    }));
    expect(await scene.rehearse([], up('a1'))).toEqual(
      failedWith({
        kind: 'wrongDatabase',
        message: `A connection to the database '${other.name}' is asked for, not to the declared '${scene.live.name}'`,
        file: 'migrations/versions/0001_a1.py',
        step: up('a1')[0],
      }),
    );
    expect(await tablesOf(other.url)).toEqual([]);
    await scene.expectLiveUnchanged();
  });
});

describeInTurn('a rehearsal refuses another database', (major, testOnce) => {
  testOnce('the live one, reached past all of the drivers’ functions: before any statement', async () => {
    const before = 'import psycopg2.extensions';
    const engine = 'create_engine("postgresql+psycopg2://", creator=lambda: psycopg2.extensions.connection(URL))';
    await using scene = await openRehearsal(major, (live) => ({
      revisions: [tried],
      envPy: envOf(live.url, engine, before),
    }));
    expect(await scene.rehearse([], up('a1'))).toEqual(reachesOther(scene.live.name));
    await scene.expectLiveUnchanged();
  });

  testOnce('a driver that nobody knows how to lead: before it connects', async () => {
    const before = `
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
import psycopg2.extensions
class Dialect(PGDialect_psycopg2):
    driver = "unheard_of"
    supports_statement_cache = True
    def connect(self, *arguments, **parameters):
        print("connected")
        return psycopg2.extensions.connection(psycopg2.extensions.make_dsn(*arguments, **parameters))
globals()["Dialect"] = Dialect
import sys, types
module = sys.modules["unheard_of"] = types.ModuleType("unheard_of")
module.Dialect = Dialect
registry.register("postgresql.unheard_of", "unheard_of", "Dialect")
`;
    await using scene = await openRehearsal(major, (live) => ({
      revisions: [tried],
      envPy: envOf(withDriver(live.url, 'unheard_of'), 'create_engine(URL)', before),
    }));
    expect(await scene.rehearse([], up('a1'))).toEqual(
      failedWith({ kind: 'escaped', message: expect.stringContaining('unheard_of') }),
    );
    expect(outputOf(scene.events)).toEqual([]);
    await scene.expectLiveUnchanged();
  });

  testOnce('of another variable', async () => {
    await using other = await createDatabase(major);
    const envPy = envOf('', 'create_engine(os.environ["REPORTS_URL"])');
    await using scene = await openRehearsal(major, () => ({ revisions: [tried], envPy }), {
      env: { REPORTS_URL: withDriver(other.url, 'psycopg') },
    });
    expect(await scene.rehearse([], up('a1'))).toEqual(reachesOther(other.name));
    expect(await tablesOf(other.url)).toEqual([]);
    await scene.expectLiveUnchanged();
  });

  testOnce('of a service', async () => {
    const body =
      'import os, psycopg\nopen("services", "w").write("[reports]\\nhost=localhost\\ndbname=reports\\n")\nos.environ["PGSERVICEFILE"] = "services"\npsycopg.connect("service=reports")';
    await using scene = await openRehearsal(major, () => ({ revisions: [{ id: 'a1', up: body }] }));
    expect(await scene.rehearse([], up('a1'))).toEqual(reachesOther('reports'));
  });
});

describe('a rehearsal refuses, before it runs,', () => {
  /** `LIVE`: the live database's name. */
  const statements = [
    ['ALTER DATABASE', 'ALTER DATABASE LIVE SET work_mem = 77'],
    ['CREATE ROLE', '/* for the reports */ CREATE ROLE "LIVE_reader"'],
    ['CREATE ROLE', 'DO $$ BEGIN EXECUTE \'CREATE ROLE "LIVE_reader"\'; END $$'],
    ['GRANT … ON DATABASE', 'SELECT 1; GRANT CONNECT ON DATABASE LIVE TO public'],
    ['dblink()', "SELECT dblink('dbname=LIVE', 'DELETE FROM kept')"],
    ['COPY … TO a file', "COPY kept TO '/tmp/kept'"],
    ['pg_terminate_backend()', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'LIVE'"],
  ] as const;

  test.each(inTurn(statements))('PostgreSQL %i: %s: %s', async (major, what, statement) => {
    const said = (name: string): string => statement.replaceAll('LIVE', name);
    // The test's server has no dblink: a function of that name stands for it.
    const body = (name: string): string =>
      `${sql("CREATE FUNCTION dblink(text, text) RETURNS text LANGUAGE sql AS 'SELECT $1'")}\n${sql(said(name))}`;
    await using scene = await openRehearsal(major, (live) => ({ revisions: [{ id: 'a1', up: body(live.name) }] }));
    // As a superuser could, nothing of the server's own would refuse it.
    await query(scene.live.server.adminUrl, `ALTER ROLE ${scene.live.owner} SUPERUSER`);
    expect(await scene.rehearse([], up('a1'))).toEqual(
      failedWith({
        kind: 'escaped',
        message: expect.stringMatching(
          new RegExp(
            `^${what.replace(/[()]/g, '\\$&')} can't be rehearsed on a copy, since .*spec\\.policy\\.rehearsal: Never`,
          ),
        ),
        statement: said(scene.live.name),
        file: 'migrations/versions/0001_a1.py',
        line: 13,
        step: up('a1')[0],
        committed: false,
      }),
    );
    await scene.expectLiveUnchanged();
  });

  const ROLE = 'CREATE ROLE "ROLENAME"';
  test.each(
    inTurn([
      ['psycopg', `import psycopg\nwith psycopg.connect(URL, autocommit=True) as c: c.cursor().execute(SQL)`],
      [
        'psycopg, on the connection',
        `import psycopg\nwith psycopg.connect(URL, autocommit=True) as c: c.execute(psycopg.sql.SQL(SQL))`,
      ],
      [
        'psycopg, executemany',
        `import psycopg\nwith psycopg.connect(URL, autocommit=True) as c: c.cursor().executemany(SQL, [()])`,
      ],
      ['psycopg, in bytes', `import psycopg\nwith psycopg.connect(URL, autocommit=True) as c: c.execute(SQL.encode())`],
      [
        'psycopg, asynchronous',
        `import asyncio, psycopg\nasync def go():\n    async with await psycopg.AsyncConnection.connect(URL, autocommit=True) as c: await c.execute(SQL)\nasyncio.run(go())`,
      ],
      ['psycopg2', `import psycopg2\nc = psycopg2.connect(URL)\nc.autocommit = True\nc.cursor().execute(SQL)`],
      [
        'psycopg2, with a cursor of a kind',
        `import psycopg2.extras\nc = psycopg2.connect(URL, cursor_factory=psycopg2.extras.RealDictCursor)\nc.autocommit = True\nc.cursor().execute(SQL)`,
      ],
      [
        'psycopg2, with a connection of a kind',
        `import psycopg2.extras\nc = psycopg2.connect(URL, connection_factory=psycopg2.extras.DictConnection)\nc.autocommit = True\nc.cursor().execute(SQL)`,
      ],
      [
        'asyncpg',
        `import asyncio, asyncpg\nasync def go():\n    c = await asyncpg.connect(URL)\n    await c.execute(SQL)\nasyncio.run(go())`,
      ],
      [
        'asyncpg, fetch',
        `import asyncio, asyncpg\nasync def go():\n    c = await asyncpg.connect(URL)\n    await c.fetch(SQL)\nasyncio.run(go())`,
      ],
      [
        'asyncpg, of a pool',
        `import asyncio, asyncpg\nasync def go():\n    async with asyncpg.create_pool(URL, min_size=1) as p: await p.execute(SQL)\nasyncio.run(go())`,
      ],
      [
        'pg8000',
        `import pg8000.dbapi\nfrom urllib.parse import urlsplit\nu = urlsplit(URL)\nc = pg8000.dbapi.connect(u.username, u.hostname, u.path[1:], u.port, u.password)\nc.autocommit = True\nc.cursor().execute(SQL)`,
      ],
      [
        'pg8000, native',
        `import pg8000.native\nfrom urllib.parse import urlsplit\nu = urlsplit(URL)\npg8000.native.Connection(u.username, host=u.hostname, database=u.path[1:], port=u.port, password=u.password).run(SQL)`,
      ],
    ]),
  )('PostgreSQL %i: a statement of a connection of its own: %s', async (major, _, body) => {
    await using scene = await openRehearsal(major, (live) => ({
      revisions: [
        {
          id: 'a1',
          up: inThread(live.url, `SQL = ${JSON.stringify(ROLE.replace('ROLENAME', `${live.name}_reader`))}\n${body}`),
        },
      ],
    }));
    await query(scene.live.server.adminUrl, `ALTER ROLE ${scene.live.owner} SUPERUSER`);
    expect(await scene.rehearse([], up('a1'))).toEqual(
      failedWith({
        kind: 'escaped',
        message: expect.stringMatching(/^CREATE ROLE /),
        file: 'migrations/versions/0001_a1.py',
        statement: expect.stringContaining('CREATE ROLE'),
      }),
    );
    await scene.expectLiveUnchanged();
  });

  test.each(
    inTurn([
      ['os.system', `os.system(f"{BIN}/psql -c 'DROP TABLE kept' {URL}")`],
      [
        'os.system, by its options',
        `os.system(f"PGPASSWORD={U.password} {BIN}/psql -h {U.hostname} -p {U.port} -U {U.username} -d {U.path[1:]} -c 'DROP TABLE kept'")`,
      ],
      ['subprocess', `subprocess.run([f"{BIN}/psql", URL, "-c", "DROP TABLE kept"])`],
      [
        'subprocess, by a variable',
        `subprocess.run([f"{BIN}/psql", "-c", "DROP TABLE kept"], env=dict(os.environ, PGDATABASE=U.path[1:], PGHOST=U.hostname, PGPORT=str(U.port), PGUSER=U.username, PGPASSWORD=U.password))`,
      ],
      [
        'another Python',
        `subprocess.run([sys.executable, "-c", f"import psycopg; psycopg.connect('{URL}', autocommit=True).execute('DROP TABLE kept')"])`,
      ],
      [
        'os.execv in a forked child',
        `pid = os.fork()\nif pid == 0:\n    try: os.execv(f"{BIN}/psql", ["psql", URL, "-c", "DROP TABLE kept"])\n    finally: os._exit(1)\nos.waitpid(pid, 0)`,
      ],
      [
        'CREATE ROLE in psql',
        `subprocess.run([f"{BIN}/psql", os.environ["DATABASE_URL"], "-c", "CREATE ROLE nobody_at_all"])`,
      ],
      ['createuser', `subprocess.run([f"{BIN}/createuser", "nobody_at_all"])`],
    ]),
  )('PostgreSQL %i: a program that reaches beyond the copy: %s', async (major, _, body) => {
    const head = (url: string, bin: string): string =>
      `import os, subprocess, sys\nfrom urllib.parse import urlsplit\nURL, BIN = ${JSON.stringify(url)}, ${JSON.stringify(bin)}\nU = urlsplit(URL)\n`;
    await using scene = await openRehearsal(major, (live) => ({
      revisions: [{ id: 'a1', up: head(live.url, live.server.binDir) + body }],
    }));
    const result = await scene.rehearse([], up('a1'));
    expect(result).toEqual(failedWith({ kind: 'escaped', message: wayOut, step: up('a1')[0] }));
    expect(JSON.stringify([result, outputOf(scene.events)])).not.toContain(scene.live.password);
    await scene.expectLiveUnchanged();
  });

  test.each(
    inTurn([
      ['a statement', sql('CREATE ROLE nobody_at_all')],
      ['a connection', 'import psycopg\npsycopg.connect("dbname=elsewhere")'],
    ]),
  )('PostgreSQL %i: %s of a forked child, which nobody else tells of', async (major, _, body) => {
    const forked = `import os\npid = os.fork()\nif pid == 0:\n    try:\n${`from sqlalchemy import create_engine, text\n${body}`.replace(/^/gm, '        ')}\n    finally:\n        os._exit(0)\nos.waitpid(pid, 0)`;
    const own = forked.replace(
      /op\.execute\((.*)\)/,
      'create_engine(os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:")).connect().execute(text($1))',
    );
    await using scene = await openRehearsal(major, () => ({ revisions: [{ id: 'a1', up: own }] }));
    expect(await scene.rehearse([], up('a1'))).toEqual(
      failedWith({ message: expect.stringContaining('In a forked child') }),
    );
    await scene.expectLiveUnchanged();
  });
});

describeInTurn('a rehearsal refuses, before it runs,', (major, testOnce) => {
  testOnce('a statement on a connection that went past all of the drivers’ functions', async () => {
    const engine =
      'create_engine("postgresql+psycopg2://", creator=lambda: __import__("psycopg2").extensions.connection(URL))';
    await using scene = await openRehearsal(major, (live, copy) => ({
      revisions: [{ id: 'a1', up: sql(`CREATE ROLE "${live.name}_reader"`) }],
      envPy: envOf(copy.url, engine),
    }));
    await query(scene.live.server.adminUrl, `ALTER ROLE ${scene.live.owner} SUPERUSER`);
    expect(await scene.rehearse([], up('a1'))).toEqual(failedWith({ kind: 'escaped' }));
    await scene.expectLiveUnchanged();
  });

  testOnce('what a migration then swallows', async () => {
    const body = `try:\n    ${sql('CREATE ROLE nobody_at_all')}\nexcept Exception:\n    pass`;
    await using scene = await openRehearsal(major, () => ({ revisions: [{ id: 'a1', up: body }] }));
    expect(await scene.rehearse([], up('a1'))).toEqual(failedWith({ kind: 'escaped', message: wayOut, line: 13 }));
    await scene.expectLiveUnchanged();
  });
});

describeInTurn('what a rehearsal can’t hold back', (major, testOnce) => {
  testOnce('a program of a program, on the live database: is seen there by its name', async () => {
    const run = 'import subprocess\nsubprocess.run(["sh", "./report.sh"], check=True)';
    // Whatever the target declares.
    const env = { PGAPPNAME: 'unicorn' };
    await using scene = await openRehearsal(major, () => ({ revisions: [{ id: 'a1', up: run }] }), { env });
    const { live, copy, project } = scene;
    const script = `'${join(live.server.binDir, 'psql')}' -c 'SELECT pg_sleep(0.5)' '${live.url}'`;
    await writeFile(join(project.dir, 'report.sh'), script);
    await using database = await open(live, { operationId: 'operation1' });
    await using strays = await database.watchStrays(copy);
    expect(await scene.rehearse([], up('a1'))).toEqual({ ok: true });
    expect(await strays.found()).toEqual([
      expect.stringMatching(
        new RegExp(`^user ${live.owner}, pid \\d+, database ${live.name}: SELECT pg_sleep\\(0.5\\)$`),
      ),
    ]);
  });

  testOnce('what holds to the copy is no stray', async () => {
    await using scene = await openRehearsal(major, () => ({
      revisions: [{ id: 'a1', up: sql('SELECT pg_sleep(0.3)') }],
    }));
    await using database = await open(scene.live, { operationId: 'operation1' });
    await using strays = await database.watchStrays(scene.copy);
    expect(await scene.rehearse([], up('a1'))).toEqual({ ok: true });
    expect(await strays.found()).toEqual([]);
  });
});
