/** What env.py finds around it: its own URL, where it is handed none, and what the declaration gives it that nobody may read. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';

import { describe, expect, test } from '@jest/globals';

import { sql, type HistorySpec } from '../../support/alembic.ts';
import { envPy } from '../../support/env-py.ts';
import { contentChecksum, createDatabase } from '../../support/postgres.ts';
import { createScene, said, threeSteps, type Scene } from '../../support/scene.ts';
import { major } from './scene.ts';

/** As an application that reads its own settings; nobody handed it a URL. */
const ownUrl = `import pathlib
${envPy('psycopg', '').replace(
  'os.environ["DATABASE_URL"]',
  `(pathlib.Path(__file__).parents[1] / "settings").read_text() if "DATABASE_URL" not in os.environ else "handed"`,
)}`;

async function sceneOfItsOwnUrl(url: (scene: Scene) => string): Promise<Scene> {
  const scene = await createScene(major, {
    history: { ...threeSteps, envPy: ownUrl },
    spec: { policy: { dataLoss: 'Allow' }, alembic: { databaseUrl: null } },
  });
  await writeFile(join(scene.project.dir, 'settings'), url(scene));
  return scene;
}

describe('spec.alembic.databaseUrl left out', () => {
  test('leaves env.py its own URL, and the database goes up and down by it', async () => {
    await using scene = await sceneOfItsOwnUrl(({ database }) => database.url);
    expect(said((await scene.goTo('a3')).outcome)).toMatch(/^ready Upgraded: /);
    expect(said((await scene.goTo('a1')).outcome)).toMatch(/^ready Downgraded: /);
    expect(await scene.version()).toBe('a1');
    expect(await scene.query('SELECT count(*)::int AS n FROM users')).toEqual([{ n: 1000 }]);
  });

  test('is refused where that leads to another database: neither of them is touched', async () => {
    await using scene = await sceneOfItsOwnUrl(({ database }) => database.url);
    await scene.goTo('a3');
    // A copy, so that nothing else would stop the downgrade in it.
    await using other = await createDatabase(major, {
      sql: `CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL, email text); CREATE INDEX users_email ON users (email);
        INSERT INTO users VALUES (1, 'ada', 'ada@example.org'); CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
        INSERT INTO alembic_version VALUES ('a3')`,
    });
    await writeFile(join(scene.project.dir, 'settings'), other.url);
    const contents = () => Promise.all([scene.database.adminUrl, other.adminUrl].map(contentChecksum));
    const before = await contents();
    const { outcome, again } = await scene.goTo('a1');
    expect(said(outcome)).toMatch(/^stalled WrongDatabase: /);
    expect(outcome.message).toContain(other.name);
    expect(outcome.message).toContain(scene.database.name);
    expect(outcome.message).not.toContain(other.password);
    expect(again).toBe(false);
    expect(await contents()).toEqual(before);
    expect(await scene.databases()).toEqual([scene.database.name]);

    await writeFile(join(scene.project.dir, 'settings'), scene.database.url);
    expect(said((await scene.reconcile({ kind: 'apply' })).outcome)).toMatch(/^ready Downgraded: /);
  });
});

describe('spec.alembic.env[].valueFrom', () => {
  const token = 'S3cret-t0ken/of:somebody';
  /** Says it wherever something is said: on both outputs, in a log, in a statement, and in what it raises. */
  const telling: HistorySpec = {
    envPy: `import logging, os, sys
logging.basicConfig(stream=sys.stderr, level=logging.INFO, force=True)
print("token", os.environ["TOKEN"], os.environ["STAGE"])
print("token", os.environ["TOKEN"], file=sys.stderr)
logging.getLogger("app").info("token %s", os.environ["TOKEN"])
${envPy('psycopg', '')}`,
    revisions: [
      {
        id: 'a1',
        up: `import os
${sql('CREATE TABLE given (value text)')}
op.get_bind().execute(sa.text("INSERT INTO given VALUES (:value)"), {"value": os.environ["TOKEN"] + " " + os.environ["STAGE"]})`,
        downgrade: `op.drop_table('given')`,
      },
      {
        id: 'a2',
        up: `import os
raise RuntimeError("refused " + os.environ["TOKEN"])`,
      },
      { id: 'b2', down: 'a1', up: `import os\nop.execute("SELECT '" + os.environ["TOKEN"] + "'::int")` },
    ],
  };

  test('reaches env.py and its migrations, and is told nowhere: not in what they print, nor in status, events and reports', async () => {
    await using scene = await createScene(major, {
      history: telling,
      spec: {
        policy: { dataLoss: 'Allow' },
        alembic: {
          databaseUrl: null,
          env: [
            { name: 'DATABASE_URL', valueFrom: { secretKeyRef: { name: 'unicorn', key: 'url' } } },
            { name: 'TOKEN', valueFrom: { secretKeyRef: { name: 'unicorn', key: 'token' } } },
            { name: 'STAGE', value: 'test' },
          ],
        },
      },
    });
    await writeFile(join(scene.dir, 'secrets', 'unicorn', 'token'), token, { mode: 0o600 });
    expect(said((await scene.goTo('a1')).outcome)).toMatch(/^ready Upgraded: /);
    expect(await scene.query('SELECT value FROM given')).toEqual([{ value: `${token} test` }]);

    const raised = await scene.goTo('a2');
    expect(said(raised.outcome)).toMatch(/^stalled UpgradeFailed: .*refused \*\*\*/s);
    const refused = await scene.goTo('b2');
    expect(said(refused.outcome)).toMatch(/^stalled UpgradeFailed: .*\*\*\*/s);
    expect(await scene.query('SELECT value FROM given')).toEqual([{ value: `${token} test` }]);

    const printed = scene.observed.flatMap((event) =>
      event.kind === 'migration' && event.event.kind === 'output' ? [event.event.line] : [],
    );
    expect(printed).toContain('token *** test');
    expect(printed.filter((line) => line.includes('token ***')).length).toBeGreaterThanOrEqual(9);
    const written = await filesBelow(join(scene.dir, 'state'));
    expect(written.map(({ path }) => basename(path))).toContain('status.json');
    expect(written.filter(({ text }) => text.includes('***')).length).toBeGreaterThan(2);
    const told = [{ path: 'observed', text: JSON.stringify(scene.observed) }, ...written];
    for (const secret of [token, scene.database.password])
      expect(told.filter(({ text }) => text.includes(secret)).map(({ path }) => path)).toEqual([]);
  });
});

async function filesBelow(folder: string): Promise<readonly { readonly path: string; readonly text: string }[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name));
  return Promise.all(files.map(async (path) => ({ path, text: await readFile(path, 'utf8') })));
}
