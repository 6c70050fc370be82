/** Somebody else moves the database after it was reached: that is told, or corrected, and fought with nobody. */
import { describe, expect, test } from '@jest/globals';

import type { TargetStatus } from '../../../src/api/target.ts';
import { formatHeads } from '../../../src/rollback/graph.ts';
import { contentChecksum } from '../../support/postgres.ts';
import { createScene, said, threeSteps, type Scene } from '../../support/scene.ts';

/** What an `alembic downgrade a1` of somebody else's does to a database at a2. */
const moveToA1 = async (scene: Scene): Promise<void> => {
  await scene.query(`ALTER TABLE users DROP COLUMN email; UPDATE alembic_version SET version_num = 'a1'`);
};

const operations = ({ history }: TargetStatus): readonly string[] =>
  history.map(({ kind, from, to }) => `${kind} ${formatHeads(from ?? [])} → ${to.join()}`);

describe('policy.drift: Report', () => {
  test('tells who moves a database away what it was moved from and to, and touches nothing until somebody asks', async () => {
    await using scene = await createScene(16, { history: threeSteps });
    await scene.goTo('a2');
    await moveToA1(scene);
    const content = await contentChecksum(scene.database.adminUrl);
    for (const look of [1, 2]) {
      const { outcome, again, status } = await scene.reconcile();
      expect([look, said(outcome)]).toEqual([
        look,
        `stalled ChangedOutside: Database ${scene.database.name} was at a2, and was moved to a1 since, not by what is declared here. To keep it at a1, declare a1; to take it to a2: migration-target reconcile unicorn`,
      ]);
      expect(again).toBe(false);
      expect(status).toMatchObject({ currentRevision: 'a1', desiredRevisions: ['a2'] });
      expect(operations(status)).toEqual(['upgrade base → a2']);
    }
    expect(await contentChecksum(scene.database.adminUrl)).toBe(content);
    expect(await scene.databases()).toEqual([scene.database.name]);

    expect(said((await scene.reconcile({ kind: 'apply' })).outcome)).toMatch(/^ready Upgraded: /);
    expect(await scene.version()).toBe('a2');
  });

  test('is in sync again once whoever moved it moved it back', async () => {
    await using scene = await createScene(16, { history: threeSteps });
    await scene.goTo('a2');
    await scene.query(`UPDATE alembic_version SET version_num = 'a1'`);
    expect(said((await scene.reconcile()).outcome)).toMatch(/^stalled ChangedOutside: /);
    await scene.query(`UPDATE alembic_version SET version_num = 'a2'`);
    expect(said((await scene.reconcile()).outcome)).toMatch(/^ready InSync: /);
  });
});

describe('policy.drift: Correct', () => {
  test('goes back each time, but the third time within an hour waits for a human; later it goes back again', async () => {
    let now = Date.parse('2026-01-01T00:00:00Z');
    await using scene = await createScene(16, {
      history: threeSteps,
      spec: { policy: { dataLoss: 'Allow', drift: 'Correct' } },
      ports: (ports) => ({ ...ports, clock: { now: () => new Date(now) } }),
    });
    await scene.goTo('a2');
    const content = await contentChecksum(scene.database.adminUrl);
    for (const time of [1, 2]) {
      now += 60_000;
      await moveToA1(scene);
      const { outcome, status } = await scene.reconcile();
      expect([time, said(outcome)]).toEqual([time, expect.stringMatching(/^ready Upgraded: .* from a1 to a2 /)]);
      // With the backup that every change has.
      expect(status.lastBackup).toMatchObject({ revisions: ['a1'], verified: true });
      expect(await contentChecksum(scene.database.adminUrl)).toBe(content);
    }

    now += 60_000;
    await moveToA1(scene);
    const moved = await contentChecksum(scene.database.adminUrl);
    const flapping = await scene.reconcile();
    expect(said(flapping.outcome)).toMatch(
      /^stalled Flapping: .* was at a2, and was moved to a1 since.* corrected 2 times within the hour\. .*migration-target reconcile unicorn$/,
    );
    expect(said((await scene.reconcile()).outcome)).toBe(said(flapping.outcome));
    expect(await contentChecksum(scene.database.adminUrl)).toBe(moved);
    expect(operations(await scene.status())).toEqual(['upgrade a1 → a2', 'upgrade a1 → a2', 'upgrade base → a2']);

    now += 3_600_000;
    expect(said((await scene.reconcile()).outcome)).toMatch(/^ready Upgraded: /);
    expect(await contentChecksum(scene.database.adminUrl)).toBe(content);
  });

  test('goes back down too, by the downgrade()', async () => {
    await using scene = await createScene(16, {
      history: threeSteps,
      spec: { policy: { dataLoss: 'Allow', drift: 'Correct' } },
    });
    await scene.goTo('a2');
    await scene.query(`CREATE INDEX users_email ON users (email); UPDATE alembic_version SET version_num = 'a3'`);
    expect(said((await scene.reconcile()).outcome)).toMatch(/^ready Downgraded: .* from a3 to a2 /);
    expect(await scene.query(`SELECT to_regclass('users_email') AS index`)).toEqual([{ index: null }]);
  });
});
