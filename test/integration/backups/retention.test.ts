/** What goes and what stays as time goes by: the clock is the test's. */
import { expect, test } from '@jest/globals';
import { createScene, said, threeSteps } from '../../support/scene.ts';
import { backupsOf } from './catalogue.ts';

const history = {
  revisions: threeSteps.revisions.map((revision) =>
    revision.id === 'a2' ? { ...revision, downgrade: `raise RuntimeError('no way back')` } : revision,
  ),
};

test('a backup goes when it is old and many are newer, but never the newest at a revision, which a fallback could need', async () => {
  const midnight = Date.parse('2026-01-01T00:00:00Z');
  let hour = 0;
  await using scene = await createScene(16, {
    history,
    ports: (ports) => ({ ...ports, clock: { now: () => new Date(midnight + hour * 3_600_000) } }),
  });
  const storage = { directory: { path: scene.backups } };
  const catalogue = async () =>
    (await backupsOf(scene)).map(
      ({ startedAt, revisions }) =>
        `${(Date.parse(startedAt) - midnight) / 3_600_000}h at ${revisions?.join() ?? 'none'}`,
    );
  const backUpAt = async (at: number) => {
    hour = at;
    expect(said((await scene.reconcile({ kind: 'backup', reason: 'Requested' })).outcome)).toMatch(/^ready /);
  };
  await scene.goTo('a1', { backup: { storage, retention: { minAge: '24h', minCount: 2 } } });
  hour = 1;
  await scene.goTo('a3');
  for (const at of [2, 3, 4]) await backUpAt(at);
  const all = ['4h at a3', '3h at a3', '2h at a3', '1h at a1', '0h at none'];
  expect(await catalogue()).toEqual(all);

  // Nothing but a periodic read: what is 24 hours old goes, though nothing is done.
  hour = 24;
  await scene.reconcile();
  expect(await catalogue()).toEqual(all.slice(0, 4));

  // All are old; the two newest stay, and the one at a1.
  hour = 48;
  await scene.reconcile();
  expect(await catalogue()).toEqual(['4h at a3', '3h at a3', '1h at a1']);

  // Kept shorter from now on: what was promised to the others is kept.
  await scene.declare({ backup: { storage, retention: { minAge: '1h', minCount: 1 } } });
  await backUpAt(49);
  hour = 51;
  await scene.reconcile();
  expect(await catalogue()).toEqual(['49h at a3', '1h at a1']);

  hour = 1000;
  const { outcome, status } = await scene.goTo('a1');
  expect(said(outcome)).toMatch(/^ready RestoredFromBackup: .*no way back/s);
  expect(await scene.version()).toBe('a1');
  expect(status.keptAside).toMatchObject([{ keptUntil: new Date(midnight + 1001 * 3_600_000).toISOString() }]);
  expect(await catalogue()).toEqual(['1000h at a3', '1h at a1']);
});
