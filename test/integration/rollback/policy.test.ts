/** What the policy forbids is refused on a real database before anything is begun, and done once it is allowed. */
import { describe, expect, test } from '@jest/globals';

import { contentChecksum } from '../../support/postgres.ts';
import { createScene, said, threeSteps, type Scene, type SceneOptions } from '../../support/scene.ts';

async function sceneAtA3(options: Partial<SceneOptions> = {}): Promise<Scene> {
  const scene = await createScene(16, { history: threeSteps, ...options });
  await scene.goTo('a1');
  await scene.goTo('a3');
  return scene;
}

/** Refused, and again when it is looked at again; the database, its neighbours and the history stay. */
async function expectForbidden(scene: Scene, revision: string, policy: object, says: RegExp): Promise<void> {
  const { history, lastBackup } = await scene.status();
  const [content, databases] = [await contentChecksum(scene.database.adminUrl), await scene.databases()];
  const { outcome, again } = await scene.goTo(revision, { policy });
  expect(said(outcome)).toMatch(says);
  expect(again).toBe(false);
  expect(said((await scene.reconcile()).outcome)).toBe(said(outcome));
  const status = await scene.status();
  expect(status).toMatchObject({ operation: null, history, lastBackup });
  expect(status.conditions.find(({ type }) => type === 'Stalled')).toMatchObject({ status: 'True' });
  expect(await contentChecksum(scene.database.adminUrl)).toBe(content);
  expect(await scene.databases()).toEqual(databases);
}

describe('policy.downgrade: Forbid', () => {
  const forbid = { dataLoss: 'Allow', downgrade: 'Forbid' };

  test('refuses to go down, naming each downgrade, and still goes up', async () => {
    await using scene = await sceneAtA3();
    await expectForbidden(
      scene,
      'a1',
      forbid,
      /^stalled DowngradeForbidden: Reaching a1 takes 2 downgrades \(a3, a2\), .* Declare a3, or set spec\.policy\.downgrade: Allow\./,
    );
    expect(said((await scene.goTo('a1', { policy: { dataLoss: 'Allow' } })).outcome)).toMatch(/^ready Downgraded: /);
    expect(said((await scene.goTo('a2', { policy: forbid })).outcome)).toMatch(/^ready Upgraded: /);
  });

  test('refuses to leave a branch for another, which goes down too', async () => {
    const table = (id: string, down?: string) => ({
      id,
      ...(down === undefined ? {} : { down }),
      up: `op.create_table('t_${id}', sa.Column('id', sa.Integer))
op.execute('INSERT INTO t_${id} VALUES (1)')`,
      downgrade: `op.drop_table('t_${id}')`,
    });
    await using scene = await createScene(16, {
      history: { revisions: [table('r0'), table('a1', 'r0'), table('b1', 'r0')] },
    });
    await scene.goTo('a1');
    await expectForbidden(scene, 'b1', forbid, /^stalled DowngradeForbidden: Reaching b1 takes a downgrade \(a1\), /);
  });
});

describe('policy.restore: Forbid', () => {
  test('refuses the backup that alone leads from a revision which the scripts lack', async () => {
    await using scene = await sceneAtA3();
    await scene.query(`UPDATE alembic_version SET version_num = 'newer'`);
    await expectForbidden(
      scene,
      'a1',
      { dataLoss: 'Allow', restore: 'Forbid' },
      /^stalled RestoreForbidden: .*newer.* spec\.policy\.restore is Forbid; to permit it: spec\.policy\.restore: Allow/,
    );
    const { outcome } = await scene.goTo('a1', { policy: { dataLoss: 'Allow' } });
    expect(said(outcome)).toMatch(/^ready RestoredFromBackup: /);
    expect(await scene.version()).toBe('a1');
  });
});
