import { writeFile } from 'node:fs/promises';

import { describe, expect, test } from '@jest/globals';

import { envPy } from '../../support/env-py.ts';
import { majors } from '../../support/postgres.ts';
import { createScene, said, threeSteps, type Scene } from '../../support/scene.ts';

/** An env.py that writes past SQLAlchemy before its migrations, as another session might at that very moment. */
const writing = (sql: string, condition = 'True'): string =>
  `import os, pathlib, psycopg
_seen = pathlib.Path(__file__).with_name("seen")
if ${condition}:
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as _connection:
        _connection.execute(${JSON.stringify(sql)})
_seen.touch()
${envPy('psycopg', '')}`;
const once = 'not _seen.exists()';

const insert = "INSERT INTO users (id, name) SELECT max(id) + 1, 'theirs' FROM users";

async function sceneAtA2(major: Parameters<typeof createScene>[0], env: string): Promise<Scene> {
  const scene = await createScene(major, { history: threeSteps });
  await scene.goTo('a2');
  await writeFile(scene.project.envPyPath, env);
  return scene;
}

const backupsAt = async (scene: Scene): Promise<number> => {
  const store = await scene.ports.backups.open((await scene.target()).spec.backup.storage, {
    namespace: 'default',
    name: 'unicorn',
  });
  return (await store.list()).backups.filter(({ revisions }) => revisions?.join() === 'a2').length;
};

describe.each(majors)('PostgreSQL %i: what others write between the backup and the first migration', (major) => {
  test('is in the backup, since that is taken again', async () => {
    await using scene = await sceneAtA2(major, writing(insert, once));
    const { outcome } = await scene.goTo('a3');
    expect(said(outcome)).toMatch(/^ready Upgraded: /);
    expect(said(outcome)).toContain('public.users');
    expect(await backupsAt(scene)).toBe(2);
    expect(await scene.query('SELECT count(*)::int AS n FROM users')).toEqual([{ n: 1001 }]);
  });

  test('again and again, stops the operation: nothing was changed, and their rows stay', async () => {
    await using scene = await sceneAtA2(major, writing(insert));
    const { outcome, again } = await scene.goTo('a3');
    expect(said(outcome)).toMatch(/^stalled WritersActive: .*public\.users.*Stop the application/);
    expect(again).toBe(false);
    expect(await scene.version()).toBe('a2');
    expect(await backupsAt(scene)).toBe(3);
    expect(await scene.query('SELECT count(*)::int AS n FROM users')).toEqual([{ n: 1003 }]);
    expect(await scene.databases()).toEqual([scene.database.name]);
  });

  test('is not undone where it is a table of theirs', async () => {
    await using scene = await sceneAtA2(major, writing('CREATE TABLE theirs (id int)', once));
    const { outcome } = await scene.goTo('a3');
    expect(said(outcome)).toMatch(/^ready Upgraded: /);
    expect(await scene.query(`SELECT to_regclass('theirs')::text AS found`)).toEqual([{ found: 'theirs' }]);
  });

  test('is planned for anew where they moved the revision', async () => {
    await using scene = await sceneAtA2(
      major,
      writing("UPDATE alembic_version SET version_num = 'a1'; ALTER TABLE users DROP COLUMN email", once),
    );
    const first = await scene.goTo('a3');
    expect(said(first.outcome)).toMatch(/^retrying ChangedOutside: .*from a2 to a1/);
    const { outcome } = await scene.reconcile();
    expect(said(outcome)).toMatch(/^ready Upgraded: .*from a1 to a3/);
    expect(await scene.databases()).toEqual([scene.database.name]);
  });
});
