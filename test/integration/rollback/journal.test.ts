/** A journal is what the next start goes by, so none is lost: not one that cannot be read, nor one that has to wait. */
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, test } from '@jest/globals';

import type { TargetStatus } from '../../../src/api/target.ts';
import type { Operation } from '../../../src/rollback/model.ts';
import { newOperation } from '../../../src/rollback/operation.ts';
import { contentChecksum, query } from '../../support/postgres.ts';
import { createScene, said, threeSteps, type Scene } from '../../support/scene.ts';
import { contentOf } from '../cli/bench.ts';

const key = { namespace: 'default', name: 'unicorn' };

/** As a newer version would have left it. */
const foreign = {
  version: 99,
  id: '0123456789',
  step: 'rehearse',
  startedAt: '2026-01-01T00:00:00.000Z',
  rehearsal: { database: 'elsewhere', tables: [1, 2] },
};

async function sceneWithJournal(operation: NonNullable<TargetStatus['operation']>): Promise<Scene> {
  const scene = await createScene(16, { history: threeSteps });
  await scene.goTo('a3');
  await saveJournal(scene, operation);
  return scene;
}

describe('a journal of a version that is not known', () => {
  test('stops whatever is declared or asked for; it is kept as it is, and nothing is touched', async () => {
    await using scene = await sceneWithJournal(foreign);
    const [content, { keptAside, history }] = [await contentChecksum(scene.database.adminUrl), await scene.status()];
    const visits: readonly (() => ReturnType<Scene['reconcile']>)[] = [
      () => scene.reconcile(),
      () => scene.goTo('a1'),
      () => scene.reconcile(),
      () => scene.reconcile({ kind: 'apply' }),
      () => scene.reconcile({ kind: 'backup', reason: 'Requested' }),
      () => scene.reconcile({ kind: 'restore', backup: 'default.unicorn-20260101T000000Z-000000' }),
    ];
    for (const visit of visits) {
      const { outcome, again } = await visit();
      expect(said(outcome)).toMatch(
        /^stalled JournalUnknown: Operation 0123456789 was journalled in format 99, .* nothing is touched\. Run the version that began it\./,
      );
      expect(again).toBe(false);
      expect(await scene.status()).toMatchObject({ operation: foreign, keptAside, history });
    }
    expect(await contentChecksum(scene.database.adminUrl)).toBe(content);
    expect(await scene.databases()).toEqual([scene.database.name]);
  });
});

describe('a journal of an operation that did not end', () => {
  test('is kept while the target is suspended, and what it left is cleared away afterwards', async () => {
    await using scene = await createScene(16, { history: threeSteps });
    await scene.goTo('a3');
    const left = `${scene.database.name}__left`;
    await query(scene.database.maintenanceUrl, `CREATE DATABASE ${left}`);
    await saveJournal(scene, await dumping(scene, left));
    const { operation } = await scene.status();
    const content = await contentChecksum(scene.database.adminUrl);

    const { outcome } = await scene.goTo('a3', { suspend: true });
    expect(outcome.kind).toBe('suspended');
    expect((await scene.status()).operation).toEqual(operation);
    expect(await scene.databases()).toContain(left);

    expect(said((await scene.goTo('a3', { suspend: false })).outcome)).toMatch(/^ready /);
    expect((await scene.status()).operation).toBeNull();
    expect(await scene.databases()).toEqual([scene.database.name]);
    expect(await contentChecksum(scene.database.adminUrl)).toBe(content);
  });

  test('is cleared away though the declaration was deleted, and what that wanted is not begun', async () => {
    await using scene = await createScene(16, { history: threeSteps });
    await scene.goTo('a3');
    await scene.declare({ revision: 'a1' });
    const left = `${scene.database.name}__left`;
    await query(scene.database.maintenanceUrl, `CREATE DATABASE ${left}`);
    await saveJournal(scene, await dumping(scene, left));
    await scene.ports.home.hold(key);
    await rm(join(scene.dir, 'targets', 'unicorn.yaml'));
    const [content, backups] = [await contentChecksum(scene.database.adminUrl), await contentOf(scene.backups)];
    expect((await scene.target()).metadata.deletionTimestamp).not.toBeNull();

    const { outcome, status } = await scene.reconcile();
    expect(said(outcome)).toContain('The declaration was deleted');
    expect(status.operation).toBeNull();
    expect(await scene.databases()).toEqual([scene.database.name]);
    await scene.reconcile();
    expect(await scene.ports.home.get(key)).toBeNull();
    expect(await contentChecksum(scene.database.adminUrl)).toBe(content);
    expect(await contentOf(scene.backups)).toEqual(backups);
  });

  test('is kept while it waits for a human, however often it is looked at, and gone on with once that is mended', async () => {
    // Half-way down, and the way back is nowhere to be found.
    const losing = `import pathlib
folder = pathlib.Path(__file__).parents[3]
(folder / 'backups').rename(folder / 'elsewhere')
raise RuntimeError('no way back')`;
    const revisions = threeSteps.revisions.map((one) => (one.id === 'a2' ? { ...one, downgrade: losing } : one));
    await using scene = await createScene(16, { history: { revisions, transactionPerMigration: true } });
    await scene.goTo('a3');
    const content = await contentChecksum(scene.database.adminUrl);
    const { outcome, status } = await scene.goTo('a1');
    expect(said(outcome)).toMatch(/^stalled BackupNotFound: /);
    expect(status.operation).toMatchObject({ version: 1, step: 'restore', restore: { goal: 'origin' } });
    expect(await scene.version()).toBe('a2');

    for (const look of [1, 2]) {
      expect([look, said((await scene.reconcile()).outcome)]).toEqual([look, said(outcome)]);
      expect((await scene.status()).operation).toEqual(status.operation);
    }
    await rename(join(scene.dir, 'elsewhere'), scene.backups);
    const mended = await scene.reconcile({ kind: 'apply' });
    expect(said(mended.outcome)).toMatch(/^stalled DowngradeFailed: .*no way back.*back at a3/s);
    expect(mended.status.operation).toBeNull();
    expect(await contentChecksum(scene.database.adminUrl)).toBe(content);
  });
});

async function saveJournal(scene: Scene, operation: NonNullable<TargetStatus['operation']>): Promise<void> {
  const status = await scene.status();
  await scene.ports.home.saveStatus(key, { ...status, operation }, status);
}

/** As one that was killed while it took a backup left it, with its scratch database. */
async function dumping(scene: Scene, scratch: string): Promise<Operation> {
  const { generation } = (await scene.target()).metadata;
  const [facts] = await scene.query(`
    SELECT (SELECT system_identifier::text FROM pg_control_system()) AS "systemIdentifier", d.oid::int, s.oid::int AS scratch
    FROM pg_database d, pg_database s WHERE d.datname = current_database() AND s.datname = '${scratch}'`);
  const operation = newOperation(
    {
      identity: {
        systemIdentifier: String(facts?.['systemIdentifier']),
        name: scene.database.name,
        oid: Number(facts?.['oid']),
      },
      server: { version: '16', major: 16 },
      versionTable: { kind: 'present', revisions: ['a3'] },
    },
    {
      id: '0123456789',
      trigger: 'backup',
      generation,
      requestedAt: null,
      plan: { kind: 'backup', current: ['a3'], desired: ['a3'], reason: 'Requested', digest: '' },
    },
    new Date(),
  );
  return { ...operation, scratch: [{ name: scratch, oid: Number(facts?.['scratch']) }] };
}
