import { expect } from '@jest/globals';

import { describeInTurn } from '../../support/in-turn.ts';
import { contentChecksum } from '../../support/postgres.ts';
import { createScene, said, threeSteps } from '../../support/scene.ts';

describeInTurn('the procedure', (major, testOnce) => {
  testOnce('upgrades an empty database, several steps in one go', async () => {
    await using scene = await createScene(major, { history: threeSteps });
    const { outcome } = await scene.goTo('a3');
    expect(said(outcome)).toMatch(/^ready Upgraded: /);
    expect(await scene.version()).toBe('a3');
    const status = await scene.status();
    expect(status).toMatchObject({
      currentRevision: 'a3',
      operation: null,
      lastBackup: { revisions: null, verified: true },
    });
    expect(await scene.databases()).toEqual([scene.database.name]);
  });

  testOnce('downgrades several steps in one go, with a verified backup of before', async () => {
    await using scene = await createScene(major, { history: threeSteps });
    await scene.goTo('a3');
    const { outcome, status } = await scene.goTo('a1');
    expect(said(outcome)).toMatch(/^ready Downgraded: /);
    expect(await scene.version()).toBe('a1');
    expect(status.lastBackup).toMatchObject({ revisions: ['a3'], verified: true });
    const store = await scene.ports.backups.open(
      (await scene.target()).spec.backup.storage,
      {
        namespace: 'default',
        name: 'unicorn',
      },
      scene.ports.home,
    );
    const [beforeDown, beforeUp] = (await store.list()).backups;
    expect(beforeDown?.scripts).toMatch(/^[0-9a-f]{64}$/);
    expect(beforeUp?.scripts).toBe(beforeDown?.scripts);
    expect(await scene.query(`SELECT count(*)::int AS n FROM users`)).toEqual([{ n: 1000 }]);
    expect(await scene.query(`SELECT 1 FROM information_schema.columns WHERE column_name = 'email'`)).toEqual([]);
  });

  testOnce('does nothing where the database is there, and starts no Python', async () => {
    await using scene = await createScene(major, { history: threeSteps });
    await scene.goTo('a2');
    const before = await contentChecksum(scene.database.adminUrl);
    await scene.declare({ alembic: { ...scene.project.alembic, python: '/nonexistent/python' } });
    const { outcome, status } = await scene.reconcile();
    expect(said(outcome)).toMatch(/^ready InSync: /);
    expect(status.history).toHaveLength(1);
    expect(await contentChecksum(scene.database.adminUrl)).toBe(before);
  });

  testOnce('tells of a downgrade that the policy forbids, and does nothing of it', async () => {
    await using scene = await createScene(major, { history: threeSteps });
    await scene.goTo('a2');
    const before = await contentChecksum(scene.database.adminUrl);
    const { outcome } = await scene.goTo('a1', { policy: { dataLoss: 'Forbid' } });
    expect(said(outcome)).toMatch(/^stalled DataLossForbidden: .*spec\.policy\.dataLoss/);
    expect(scene.observed).toContainEqual({ kind: 'refused', operation: 'downgrade', reason: 'DataLossForbidden' });
    expect(await contentChecksum(scene.database.adminUrl)).toBe(before);
    expect(await scene.databases()).toEqual([scene.database.name]);
  });
});
