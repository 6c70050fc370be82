/** What other sessions do around a change is theirs: it is in the backup, or the change is not made; it is never undone. */
import { expect, test } from '@jest/globals';

import type { LiveDatabase, Ports } from '../../../src/rollback/ports.ts';
import { describeInTurn } from '../../support/in-turn.ts';
import { query } from '../../support/postgres.ts';
import { createScene, said, threeSteps, type Major, type Scene } from '../../support/scene.ts';

/** The real adapter, with other sessions' work right after one of its calls: nowhere else could that moment be met. */
async function sceneWith(
  major: Major,
  method: 'dump' | 'endOperationSessions',
  others: (count: number) => string | null,
  history = threeSteps,
): Promise<Scene> {
  let armed = false;
  let count = 0;
  const after = async (): Promise<void> => {
    if (!armed) return;
    count += 1;
    const sql = others(count);
    if (sql !== null) await query(scene.database.url, sql);
  };
  const disturbed = (live: LiveDatabase): LiveDatabase => ({
    ...live,
    [method]: async (...args: never[]) => {
      const result: unknown = await (live[method] as (...given: never[]) => Promise<unknown>)(...args);
      await after();
      return result;
    },
  });
  const scene = await createScene(major, {
    history,
    ports: (ports: Ports) => ({
      ...ports,
      databases: { ...ports.databases, open: async (settings) => disturbed(await ports.databases.open(settings)) },
    }),
  });
  await scene.goTo('a2');
  armed = true;
  return scene;
}

const insert = "INSERT INTO users (id, name) SELECT max(id) + 1, 'theirs' FROM users";
const once = (sql: string) => (count: number) => (count === 1 ? sql : null);

const backupsAt = async (scene: Scene): Promise<number> => {
  const store = await scene.ports.backups.open(
    (await scene.target()).spec.backup.storage,
    {
      namespace: 'default',
      name: 'unicorn',
    },
    scene.ports.home,
  );
  return (await store.list()).backups.filter(({ revisions }) => revisions?.join() === 'a2').length;
};
const rows = async (scene: Scene): Promise<unknown> => (await scene.query('SELECT count(*)::int AS n FROM users'))[0];

describeInTurn('what others write between the backup and the change', (major, testOnce) => {
  testOnce('is in the backup, since that is taken again', async () => {
    await using scene = await sceneWith(major, 'dump', once(insert));
    const { outcome } = await scene.goTo('a3');
    expect(said(outcome)).toMatch(/^ready Upgraded: .*public\.users/s);
    expect(await backupsAt(scene)).toBe(2);
    expect(await rows(scene)).toEqual({ n: 1001 });
  });

  testOnce('again and again, stops the operation: nothing was changed, and their rows stay', async () => {
    await using scene = await sceneWith(major, 'dump', () => insert);
    const { outcome, again } = await scene.goTo('a3');
    expect(said(outcome)).toMatch(/^stalled WritersActive: .*public\.users.*Stop the application/);
    expect(again).toBe(false);
    expect(await scene.version()).toBe('a2');
    expect(await backupsAt(scene)).toBe(3);
    expect(await rows(scene)).toEqual({ n: 1003 });
    expect(await scene.databases()).toEqual([scene.database.name]);
  });

  testOnce('is not undone where it is a table, or a column after another backup', async () => {
    const theirs = ['CREATE TABLE theirs (id int)', 'ALTER TABLE users ADD COLUMN theirs text'];
    await using scene = await sceneWith(major, 'dump', (count) => theirs[count - 1] ?? null);
    const { outcome } = await scene.goTo('a3');
    expect(said(outcome)).toMatch(/^ready Upgraded: /);
    expect(await scene.query('SELECT count(theirs)::int AS n FROM users')).toEqual([{ n: 0 }]);
    expect(await scene.query('SELECT count(*)::int AS n FROM theirs')).toEqual([{ n: 0 }]);
    expect(await scene.databases()).toEqual([scene.database.name]);
  });

  testOnce('is planned for anew where they moved the revision', async () => {
    const moved = "UPDATE alembic_version SET version_num = 'a1'; ALTER TABLE users DROP COLUMN email";
    await using scene = await sceneWith(major, 'dump', once(moved));
    const first = await scene.goTo('a3');
    expect(said(first.outcome)).toMatch(/^retrying ChangedOutside: .*from a2 to a1/);
    const { outcome } = await scene.reconcile();
    expect(said(outcome)).toMatch(/^ready Upgraded: .*from a1 to a3/);
    expect(await scene.databases()).toEqual([scene.database.name]);
  });
});

test('what others write once a change has committed nothing and failed stays too', async () => {
  const revisions = threeSteps.revisions.map((revision) =>
    revision.id === 'a3' ? { ...revision, up: `raise RuntimeError('not today')` } : revision,
  );
  const theirs = `ALTER TABLE users ADD COLUMN theirs text; ${insert}`;
  // The first time is when the operation takes the lock.
  await using scene = await sceneWith(16, 'endOperationSessions', (count) => (count === 2 ? theirs : null), {
    revisions,
  });
  const { outcome } = await scene.goTo('a3');
  expect(said(outcome)).toMatch(/^stalled UpgradeFailed: .*not today.* is at a2, as before/);
  expect(await scene.query('SELECT count(*)::int AS n, count(theirs)::int AS t FROM users')).toEqual([
    { n: 1001, t: 0 },
  ]);
  expect(await scene.databases()).toEqual([scene.database.name]);
});
