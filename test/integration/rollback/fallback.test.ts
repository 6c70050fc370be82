/** What happens where a downgrade can't be trusted: the backup at the desired revision, or the origin; never neither. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, test } from '@jest/globals';

import type { OperationEvent } from '../../../src/rollback/ports.ts';
import { reconcile } from '../../../src/rollback/reconcile.ts';
import { describeInTurn } from '../../support/in-turn.ts';
import { contentChecksum, query } from '../../support/postgres.ts';
import { createScene, preparedOnce, said, type Scene, threeSteps } from '../../support/scene.ts';

const withDowngrade = (id: string, downgrade: string) => ({
  revisions: threeSteps.revisions.map((revision) => (revision.id === id ? { ...revision, downgrade } : revision)),
});
const raising = withDowngrade('a2', `raise RuntimeError('no way back')`);
const passing = withDowngrade('a2', 'pass');

/** At a3, with a verified backup at a1, and a row written since. */
const upgraded = preparedOnce(async (major, history) => {
  const scene = await createScene(major, { history });
  await scene.goTo('a1');
  await scene.goTo('a3');
  await scene.query(`INSERT INTO users VALUES (5000, 'late', 'late@example.org')`);
  return scene;
});

describeInTurn('a downgrade that raises', (major, testOnce) => {
  testOnce(
    'is followed by the backup at the desired revision, swapped in; the old database is kept aside',
    async () => {
      await using scene = await upgraded(major, raising);
      const before = await contentChecksum(scene.database.adminUrl);
      const { outcome, status } = await scene.goTo('a1');
      expect(outcome).toMatchObject({
        kind: 'ready',
        reason: 'RestoredFromBackup',
        // First where the database is now, then what that cost, what is kept, and last why.
        message: expect.stringMatching(
          /^Database \S+ was restored from backup \S+ of \S+, at a1, and verified\. What was written since then is not in it \(rows before → now: public\.users 1001 → 1000\)\. The database as it was is kept as \S+ until \S+\. The downgrade could not be trusted: downgrade of a2: RuntimeError: no way back/,
        ),
      });
      expect(await scene.version()).toBe('a1');
      expect(await scene.query('SELECT count(*)::int AS n FROM users')).toEqual([{ n: 1000 }]);

      const aside = status.keptAside[0];
      expect(outcome.message).toContain(aside?.name);
      expect(await scene.databases()).toEqual([scene.database.name, aside?.name]);
      const url = new URL(scene.database.adminUrl);
      url.pathname = `/${encodeURIComponent(aside?.name ?? '')}`;
      expect(await contentChecksum(url.href)).toBe(before);
    },
  );
});

describe('a downgrade that raises', () => {
  test.each([
    ['without a backup at the desired revision', async (scene: Scene) => removeBackups(scene), {}],
    ['where the policy forbids restoring', async () => undefined, { policy: { dataLoss: 'Allow', restore: 'Forbid' } }],
  ])('%s ends at the origin, stalled with the reason, with every row', async (_, arrange, spec) => {
    await using scene = await upgraded(16, raising);
    await arrange(scene);
    const before = await contentChecksum(scene.database.adminUrl);
    const { outcome, again } = await scene.goTo('a1', spec);
    expect(outcome).toMatchObject({
      kind: 'stalled',
      reason: 'DowngradeFailed',
      message: expect.stringMatching(/no way back.*versions\/.*py:\d+.*migration-target reconcile unicorn/s),
    });
    expect(again).toBe(false);
    expect(await contentChecksum(scene.database.adminUrl)).toBe(before);
    expect(await scene.version()).toBe('a3');
    expect(await scene.databases()).toEqual([scene.database.name]);
  });

  test('and committed half of its steps goes back to the origin by the backup taken before', async () => {
    await using scene = await createScene(16, { history: { ...raising, transactionPerMigration: true } });
    await scene.goTo('a3');
    const before = await contentChecksum(scene.database.adminUrl);
    const { outcome, status } = await scene.goTo('a1');
    expect(outcome).toMatchObject({
      kind: 'stalled',
      reason: 'DowngradeFailed',
      message: expect.stringContaining('restored from the backup taken before'),
    });
    expect(await scene.version()).toBe('a3');
    expect(await contentChecksum(scene.database.adminUrl)).toBe(before);
    expect(status.keptAside).toHaveLength(1);
  });

  test('and committed nothing leaves the rows that others wrote meanwhile', async () => {
    const writing = withDowngrade(
      'a2',
      `import os, psycopg
with psycopg.connect(os.environ['DATABASE_URL'].replace('+psycopg', '')) as other:
    other.execute("INSERT INTO users VALUES (7000, 'meanwhile', null)")
raise RuntimeError('no way back')`,
    );
    await using scene = await createScene(16, { history: writing });
    await scene.goTo('a3');
    await scene.goTo('a2'); // so that nothing which the downgrade locked is in the way of the other session
    const { outcome } = await scene.goTo('a1');
    expect(said(outcome)).toMatch(/^stalled DowngradeFailed: .*is at a2, as before/s);
    expect(await scene.query('SELECT name FROM users WHERE id = 7000')).toEqual([{ name: 'meanwhile' }]);
  });

  test('is tried again only when somebody asks', async () => {
    await using scene = await createScene(16, { history: raising });
    await scene.goTo('a3');
    await scene.goTo('a1');
    await scene.reconcile();
    expect((await scene.status()).history).toHaveLength(2);
    await scene.reconcile({ kind: 'apply' });
    expect((await scene.status()).history).toHaveLength(3);
  });
});

describe('a downgrade that does nothing', () => {
  test('is found out by the schema, and followed by the backup', async () => {
    await using scene = await upgraded(16, passing);
    const { outcome } = await scene.goTo('a1');
    expect(outcome).toMatchObject({
      kind: 'ready',
      reason: 'RestoredFromBackup',
      message: expect.stringContaining('email'),
    });
    expect(await scene.query(`SELECT 1 FROM information_schema.columns WHERE column_name = 'email'`)).toEqual([]);
  });

  test('is not confused with what a person added since: drift restores nothing', async () => {
    await using scene = await upgraded(16);
    await scene.query('CREATE INDEX by_hand ON users (name)');
    const { outcome } = await scene.goTo('a1');
    expect(said(outcome)).toMatch(/^ready Downgraded: /);
    expect(await scene.query('SELECT count(*)::int AS n FROM users')).toEqual([{ n: 1001 }]);
  });
});

describe('verification', () => {
  test("fails where one of the user's queries gives another answer, and the database goes back", async () => {
    await using scene = await createScene(16, { history: threeSteps });
    await scene.goTo('a3');
    const { outcome } = await scene.goTo('a1', {
      verify: { queries: [{ name: 'many', sql: 'SELECT count(*) > 5000 FROM users', expect: 't' }] },
    });
    expect(outcome).toMatchObject({
      kind: 'stalled',
      reason: 'VerificationFailed',
      message: expect.stringContaining("the query 'many' gave 'f' and not 't'"),
    });
    expect(await scene.version()).toBe('a3');
  });

  test("of a restored database fails where one of the user's queries gives another answer, and it is not swapped in", async () => {
    await using scene = await upgraded(16, raising);
    const before = await contentChecksum(scene.database.adminUrl);
    const [live] = await scene.query('SELECT oid::int FROM pg_database WHERE datname = current_database()');
    const { outcome, again, status } = await scene.goTo('a1', {
      verify: { queries: [{ name: 'late', sql: 'SELECT count(*) > 1000 FROM users', expect: 't' }] },
    });
    // What began it comes first, and stays the reason.
    expect(said(outcome)).toMatch(
      /^stalled DowngradeFailed: .*no way back.* The restore failed too: Backup \S+ was restored, but the query 'late' gave 'f' and not 't'\. Database \S+ is at a3, as before\./s,
    );
    expect(again).toBe(false);
    expect(status).toMatchObject({ operation: null, keptAside: [] });
    expect(await scene.query('SELECT oid::int FROM pg_database WHERE datname = current_database()')).toEqual([live]);
    expect(await contentChecksum(scene.database.adminUrl)).toBe(before);
    expect(await scene.databases()).toEqual([scene.database.name]);
  });

  test("of a backup that restoreFrom declares fails where one of the user's queries gives another answer", async () => {
    await using scene = await upgraded(16);
    const before = await contentChecksum(scene.database.adminUrl);
    const { outcome, status } = await scene.goTo('a1', {
      restoreFrom: { backup: await backupAt(scene, 'a1') },
      verify: { queries: [{ name: 'late', sql: 'SELECT count(*) > 1000 FROM users', expect: 't' }] },
    });
    expect(said(outcome)).toMatch(
      /^stalled VerificationFailed: Backup \S+ was restored, but the query 'late' gave 'f' and not 't'\. Database \S+ is at a3, as before\./,
    );
    expect(status).toMatchObject({ operation: null, keptAside: [] });
    expect(await contentChecksum(scene.database.adminUrl)).toBe(before);
    expect(await scene.databases()).toEqual([scene.database.name]);
  });
});

describe('restoreFrom', () => {
  test('is carried out once, and then the declared revision is gone for', async () => {
    await using scene = await upgraded(16);
    const atA1 = await backupAt(scene, 'a1');
    const { outcome } = await scene.goTo('a2', { restoreFrom: { backup: atA1 } });
    expect(said(outcome)).toMatch(/^ready Upgraded: /);
    expect(await scene.version()).toBe('a2');
    expect(await scene.query('SELECT count(*)::int AS n FROM users')).toEqual([{ n: 1000 }]);

    await rm(join(scene.dir, 'state'), { recursive: true });
    await scene.query(`INSERT INTO users VALUES (6000, 'later', null)`);
    await scene.reconcile();
    expect(await scene.query('SELECT count(*)::int AS n FROM users')).toEqual([{ n: 1001 }]);
  });

  test('of a backup that is not there is refused', async () => {
    await using scene = await upgraded(16);
    const { outcome } = await scene.goTo('a3', { restoreFrom: { backup: 'default.unicorn-20260101T000000Z-000000' } });
    expect(said(outcome)).toMatch(/^stalled BackupNotFound: /);
  });
});

describe('the database kept aside', () => {
  test('is dropped once its time is over, and not before', async () => {
    await using scene = await upgraded(16, raising);
    await scene.goTo('a1');
    await scene.reconcile();
    expect(await scene.databases()).toHaveLength(2);
    await scene.declare({ backup: { storage: { directory: { path: scene.backups } }, retention: { minAge: '1s' } } });
    const kept = (await scene.status()).keptAside[0];
    expect(kept).toBeDefined();
    const later = { ...scene.ports, clock: { now: () => new Date(Date.now() + 48 * 3_600_000) } };
    const { status } = await reconcile(
      await scene.target(),
      later,
      { kind: 'reconcile' },
      new AbortController().signal,
    );
    expect(status.keptAside).toEqual([]);
    expect(await scene.databases()).toEqual([scene.database.name]);
  });
});

async function backupAt(scene: Scene, revision: string): Promise<string> {
  const store = await scene.ports.backups.open(
    (await scene.target()).spec.backup.storage,
    {
      namespace: 'default',
      name: 'unicorn',
    },
    scene.ports.home,
  );
  const found = (await store.list()).backups.find(({ revisions }) => revisions?.join() === revision);
  if (found === undefined) throw new Error(`no backup at ${revision}`);
  return found.id;
}

async function removeBackups(scene: Scene): Promise<void> {
  await rm(scene.backups, { recursive: true });
  await query(scene.database.adminUrl, 'SELECT 1');
}

test('a restore that an interrupted process left to do is told by whoever was asked to go on with it', async () => {
  await using scene = await upgraded(16, raising);
  await scene.declare({ revision: 'a1', revisions: null });
  const stop = new AbortController();
  const ports = {
    ...scene.ports,
    observe: (_key: unknown, _id: string, event: OperationEvent) => {
      if (event.kind === 'step' && event.step === 'restore' && event.state === 'started') stop.abort();
    },
  };
  const first = await reconcile(await scene.target(), ports, { kind: 'reconcile' }, stop.signal);
  expect(first.outcome).toMatchObject({ kind: 'retrying', reason: 'OperationInterrupted' });
  await scene.ports.home.requestReconcile({ namespace: 'default', name: 'unicorn' }, new Date().toISOString());
  const { outcome, status } = await scene.reconcile();
  expect(outcome).toMatchObject({ kind: 'ready', reason: 'RestoredFromBackup' });
  expect(status.conditions).toContainEqual(
    expect.objectContaining({ type: 'Ready', status: 'True', reason: 'RestoredFromBackup' }),
  );
  expect((await scene.reconcile()).outcome).toMatchObject({ kind: 'ready', reason: 'RestoredFromBackup' });
});

test('a downgrade that does nothing, to a revision that was never seen, is told, and its schema no measure of later ones', async () => {
  await using scene = await createScene(16, { history: passing });
  await scene.goTo('a3');
  const { status } = await scene.goTo('a1');
  const store = await scene.ports.backups.open(
    (await scene.target()).spec.backup.storage,
    {
      namespace: 'default',
      name: 'unicorn',
    },
    scene.ports.home,
  );
  const identity = { systemIdentifier: status.database?.systemIdentifier ?? '', name: scene.database.name, oid: 0 };
  expect(await store.recordedSchema(identity, ['a3'], 16)).not.toBeNull();
  expect(await store.recordedSchema(identity, ['a1'], 16)).toBeNull();
  expect(scene.observed).toContainEqual({
    kind: 'note',
    level: 'warn',
    message: expect.stringMatching(/^downgrade\(\) of a2 does nothing, and the database was never seen at a1/),
  });
});
