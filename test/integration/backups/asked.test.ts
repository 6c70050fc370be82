/** Backups that nobody changes anything for: on demand, and because the newest is too old. */
import { describe, expect, test } from '@jest/globals';
import { contentChecksum } from '../../support/postgres.ts';
import { createScene, said, threeSteps, type Scene } from '../../support/scene.ts';
import { backupsOf } from './catalogue.ts';

describe('a backup on demand', () => {
  test('is taken at any time, verified, and changes nothing: not the database, nor what is declared of it', async () => {
    await using scene = await createScene(16, { history: threeSteps });
    await scene.goTo('a1');
    const before = await contentChecksum(scene.database.adminUrl);
    const { outcome } = await scene.reconcile({ kind: 'backup', reason: 'Requested' });
    const [newest] = await backupsOf(scene);
    expect(said(outcome)).toBe(
      `ready BackupVerified: Backup ${newest?.id} of database ${scene.database.name}, at a1, was taken, restored once and found equal.`,
    );
    expect(newest).toMatchObject({ reason: 'Requested', revisions: ['a1'], verifiedAt: expect.any(String) });
    expect(await contentChecksum(scene.database.adminUrl)).toBe(before);
    expect(await scene.databases()).toEqual([scene.database.name]);
    expect(condition(await scene.status(), 'Ready')).toMatchObject({ status: 'True' });
  });

  test('does not begin what is declared, and does not claim that it was reached', async () => {
    await using scene = await createScene(16, { history: threeSteps });
    await scene.goTo('a1');
    await scene.declare({ revision: 'a2' });
    const { outcome, status } = await scene.reconcile({ kind: 'backup', reason: 'Requested' });
    expect(said(outcome)).toMatch(/^ready BackupVerified: /);
    expect(await scene.version()).toBe('a1');
    expect(condition(status, 'Ready')).toMatchObject({ status: 'False' });
    expect(condition(status, 'BackupReady')).toMatchObject({ status: 'True' });
    expect(said((await scene.reconcile()).outcome)).toMatch(/^ready Upgraded: /);
    expect(await scene.version()).toBe('a2');
  });

  test('leaves a target that waits for a human waiting, and saying why', async () => {
    await using scene = await createScene(16, { history: threeSteps });
    await scene.goTo('a1');
    const { status: before } = await scene.goTo('unknown');
    expect(condition(before, 'Stalled')).toMatchObject({ status: 'True', reason: 'RevisionNotFound' });
    await scene.reconcile({ kind: 'backup', reason: 'Requested' });
    const after = await scene.status();
    for (const type of ['Ready', 'Stalled']) {
      expect({ ...condition(after, type), lastTransitionTime: '' }).toEqual({
        ...condition(before, type),
        lastTransitionTime: '',
      });
    }
    await scene.reconcile();
    expect((await scene.status()).history.map(({ kind }) => kind)).toEqual(['backup', 'upgrade']);
  });

  test('is of the database as it is: suspended, and without a version table', async () => {
    await using scene = await createScene(16, {
      history: threeSteps,
      database: { sql: 'CREATE TABLE users (id int); INSERT INTO users VALUES (1), (2)' },
      spec: { suspend: true },
    });
    const { outcome } = await scene.reconcile({ kind: 'backup', reason: 'Requested' });
    expect(said(outcome)).toMatch(/^ready BackupVerified: .*, at no version table, /);
    expect(await backupsOf(scene)).toMatchObject([{ revisions: null, rowCounts: { 'public.users': 2 } }]);
    expect(condition(await scene.status(), 'Ready')).toMatchObject({ status: 'False' });
  });
});

describe('backup.maxAge', () => {
  test('takes one when the newest is older, and no sooner', async () => {
    let now = Date.parse('2026-01-01T00:00:00Z');
    await using scene = await createScene(16, {
      history: threeSteps,
      ports: (ports) => ({ ...ports, clock: { now: () => new Date(now) } }),
    });
    const later = async (hours: number) => {
      now += hours * 3_600_000;
      const { outcome } = await scene.reconcile();
      expect(said(outcome)).toMatch(/^ready Upgraded: /);
      return (await backupsOf(scene)).map(({ reason, revisions }) => `${reason} at ${revisions?.join() ?? 'none'}`);
    };
    await scene.goTo('a1', { backup: { storage: { directory: { path: scene.backups } }, maxAge: '24h' } });
    expect(await later(24)).toEqual(['BeforeChange at none']);
    expect(await later(0.001)).toEqual(['MaxAge at a1', 'BeforeChange at none']);
    expect(await later(23)).toEqual(['MaxAge at a1', 'BeforeChange at none']);
    expect(await later(2)).toEqual(['MaxAge at a1', 'MaxAge at a1', 'BeforeChange at none']);
    expect(await scene.version()).toBe('a1');
  });
});

function condition({ conditions }: Awaited<ReturnType<Scene['status']>>, type: string) {
  return conditions.find((each) => each.type === type);
}
