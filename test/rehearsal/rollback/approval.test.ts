/** What would lose data waits for a person, who approves that very plan, once, and no more than they were shown. */
import { describe, expect, test } from '@jest/globals';

import { describeInTurn } from '../../support/in-turn.ts';
import { backupsOf } from '../../integration/backups/catalogue.ts';
import { writeHistory } from '../../support/alembic.ts';
import { contentChecksum, query } from '../../support/postgres.ts';
import { createScene, preparedOnce, said, type Scene, threeSteps } from '../../support/scene.ts';

const key = { namespace: 'default', name: 'unicorn' };
const asking = { policy: { rehearsal: 'Always', dataLoss: 'RequireApproval' } };

/** At a3, and waiting to lose the column `email` of 1,000 users. */
const waiting = preparedOnce(async (major, history) => {
  const scene = await createScene(major, { history });
  await scene.goTo('a1');
  await scene.goTo('a3');
  const { outcome } = await scene.goTo('a1', asking);
  if (outcome.kind !== 'awaitingApproval') throw new Error(said(outcome));
  return scene;
});

const digestOf = async (scene: Scene): Promise<string> => (await scene.status()).plan?.digest ?? '';

async function approve(scene: Scene, planDigest: string, maxRowLoss: number | null = null): Promise<string> {
  return scene.ports.home.approve(key, { planDigest, maxRowLoss, reason: null, approvedBy: 'ada' });
}

const steps = (scene: Scene, since: number): string[] =>
  scene.observed
    .slice(since)
    .flatMap((event) => (event.kind === 'step' && event.state === 'finished' ? [event.step] : []));

describeInTurn('an approval', (major, testOnce) => {
  testOnce('of the plan that waits lets it happen, once, and the report and the history say whose it was', async () => {
    await using scene = await waiting(major);
    const name = await approve(scene, await digestOf(scene));
    const before = scene.observed.length;
    const { outcome, status } = await scene.reconcile();
    expect(said(outcome)).toMatch(/^ready Downgraded: /);
    expect(await scene.version()).toBe('a1');
    expect(steps(scene, before)).toEqual(['plan', 'backup', 'rehearse', 'gate', 'change', 'verify', 'report']);
    expect(status.conditions).toContainEqual(expect.objectContaining({ type: 'ApprovalRequired', status: 'False' }));
    const [entry] = status.history;
    expect(await scene.ports.home.approvals(key)).toEqual([
      expect.objectContaining({ name, usedBy: entry?.operationId }),
    ]);

    // The same again is another time.
    await scene.goTo('a3', { policy: { dataLoss: 'Allow' } });
    const again = await scene.goTo('a1', asking);
    expect(again.outcome.kind).toBe('awaitingApproval');
    expect(await scene.version()).toBe('a3');
  });

  testOnce('of a restore that was asked for: once it was carried out, nothing waits any more', async () => {
    await using scene = await createScene(major, { history: threeSteps });
    await scene.goTo('a1');
    await scene.goTo('a3', asking);
    // The newest was taken at a1, before the change to a3.
    const [backup] = await backupsOf(scene);
    const asked = { kind: 'restore', backup: backup?.id ?? '' } as const;
    const waits = /^awaitingApproval .*to leave it: migration-target reconcile unicorn$/s;
    expect(said((await scene.reconcile(asked)).outcome)).toMatch(waits);
    await scene.ports.home.requestReconcile(key, new Date().toISOString());
    expect(said((await scene.reconcile()).outcome)).toMatch(/^ready /);
    expect(said((await scene.reconcile(asked)).outcome)).toMatch(waits);
    await approve(scene, await digestOf(scene));
    expect(said((await scene.reconcile(asked)).outcome)).toMatch(/^ready RestoredFromBackup: /);
    expect(await scene.version()).toBe('a1');
    const { conditions, plan } = await scene.status();
    expect(plan).toBeNull();
    expect(conditions).toContainEqual(expect.objectContaining({ type: 'ApprovalRequired', status: 'False' }));
    expect(conditions).toContainEqual(
      expect.objectContaining({
        type: 'Ready',
        reason: 'ChangedOutside',
        message: expect.stringMatching(/as was asked for/),
      }),
    );
  });

  testOnce('of the fallback that the copy led to lets the backup be restored', async () => {
    const revisions = threeSteps.revisions.map((revision) =>
      revision.id === 'a2' ? { ...revision, downgrade: `raise RuntimeError('no way back')` } : revision,
    );
    await using scene = await waiting(major, { revisions });
    await approve(scene, await digestOf(scene));
    const { outcome } = await scene.reconcile();
    expect(said(outcome)).toMatch(/^ready RestoredFromBackup: .*no way back/s);
    expect(await scene.version()).toBe('a1');
  });
});

describe('an approval', () => {
  test('of another plan does not count, and nothing is begun for it', async () => {
    await using scene = await waiting(16);
    await approve(scene, 'f'.repeat(16));
    const before = scene.observed.length;
    expect((await scene.reconcile()).outcome.kind).toBe('awaitingApproval');
    expect(scene.observed.length).toBe(before);
  });

  test.each([
    [
      'rows written since to what goes',
      `INSERT INTO users SELECT g, 'new' FROM generate_series(2001, 2010) g; UPDATE users SET email = 'x' WHERE id > 2000`,
      1000,
    ],
    ['more rows than it allows from the beginning', 'SELECT 1', 10],
  ])('does not cover %s: it asks again, with the numbers', async (_, meanwhile, allowed) => {
    await using scene = await waiting(16);
    await approve(scene, await digestOf(scene), allowed);
    await scene.query(meanwhile);
    const before = await contentChecksum(scene.database.adminUrl);
    const { outcome, status } = await scene.goTo('a1', asking);
    expect(said(outcome)).toMatch(
      new RegExp(`^awaitingApproval .*allows ${allowed} rows at most and (1000|1010) would be lost`, 's'),
    );
    expect(status.plan?.loss?.rows).toBeGreaterThan(allowed);
    expect(await contentChecksum(scene.database.adminUrl)).toBe(before);
  });

  test('without a number allows what the status said when it asked, and no more', async () => {
    await using scene = await waiting(16);
    await approve(scene, await digestOf(scene));
    await scene.query(`INSERT INTO users VALUES (2001, 'new', 'new@example.org')`);
    const { outcome } = await scene.reconcile();
    expect(said(outcome)).toMatch(/^awaitingApproval .*allows 1000 rows at most and 1001 would be lost/s);
    expect(await scene.version()).toBe('a3');
  });

  test.each<[string, (scene: Scene) => Promise<unknown>]>([
    ['the scripts', (scene) => writeHistory(scene.project.dir, { revisions: [...threeSteps.revisions, { id: 'a4' }] })],
    ['the schema', (scene) => query(scene.database.url, 'CREATE TABLE strange (id int)')],
  ])('made before %s changed is of another plan, and is asked for anew', async (_, change) => {
    await using scene = await waiting(16);
    const digest = await digestOf(scene);
    await approve(scene, digest);
    await change(scene);
    const { outcome } = await scene.reconcile();
    expect(said(outcome)).toMatch(/^awaitingApproval .*is of another plan/s);
    expect(await digestOf(scene)).not.toBe(digest);
    expect(await scene.version()).toBe('a3');
  });

  test('still counts after a backup that was taken meanwhile', async () => {
    await using scene = await waiting(16);
    await approve(scene, await digestOf(scene));
    await scene.reconcile({ kind: 'backup', reason: 'Requested' });
    expect(said((await scene.reconcile()).outcome)).toMatch(/^ready Downgraded: /);
  });

  test('is asked for where it could not be tried, though loss is allowed: the figure is told', async () => {
    // A disk that is full can't be made here without filling this one.
    await using scene = await createScene(16, {
      history: threeSteps,
      ports: (ports) => ({
        ...ports,
        databases: {
          ...ports.databases,
          open: async (settings) =>
            Object.assign(await ports.databases.open(settings), { freeBytes: async () => 1_000_000 }),
        },
      }),
    });
    await scene.goTo('a3');
    const { outcome, status } = await scene.goTo('a2', { policy: { rehearsal: 'Always', dataLoss: 'Allow' } });
    expect(said(outcome)).toMatch(
      /^awaitingApproval .*could not be tried on a copy: a copy of \S+ needs \d+ MB, and the server's disk has 1 MB left/s,
    );
    expect(await scene.version()).toBe('a3');
    await approve(scene, status.plan?.digest ?? '');
    expect(said((await scene.reconcile()).outcome)).toMatch(/^ready Downgraded/);
  });
});
