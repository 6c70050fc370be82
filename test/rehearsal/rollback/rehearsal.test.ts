/** The change is tried on a copy first: what fails there never reaches the database, and what it would lose is known. */
import { describe, expect, test } from '@jest/globals';

import type { OperationEvent } from '../../../src/rollback/ports.ts';
import { describeInTurn } from '../../support/in-turn.ts';
import { contentChecksum } from '../../support/postgres.ts';
import { createScene, type Major, preparedOnce, said, type Scene, threeSteps } from '../../support/scene.ts';

const withRevision = (id: string, changes: { readonly up?: string; readonly downgrade?: string }) => ({
  revisions: threeSteps.revisions.map((revision) => (revision.id === id ? { ...revision, ...changes } : revision)),
});
const policy = (dataLoss: string) => ({ policy: { rehearsal: 'Always', dataLoss } });

/** Where alembic ran: `copy down a3`, `live down a3`. */
const ran = (events: readonly OperationEvent[]): string[] =>
  events.flatMap((event) =>
    event.kind === 'migration' && event.event.kind === 'started'
      ? [`${event.copy === true ? 'copy' : 'live'} ${event.event.step.direction} ${event.event.step.revision}`]
      : [],
  );

const prepared = preparedOnce(async (major, history) => {
  const scene = await createScene(major, { history });
  await scene.goTo('a1');
  await scene.goTo('a3');
  await scene.query(`INSERT INTO users VALUES (5000, 'late', 'late@example.org')`);
  return scene;
});

/** At a3, with a verified backup at a1, and a row written since; what was observed until now is forgotten. */
async function upgraded(major: Major, history = threeSteps): Promise<{ scene: Scene; since: () => string[] }> {
  const scene = await prepared(major, history);
  const before = scene.observed.length;
  return { scene, since: () => ran(scene.observed.slice(before)) };
}

const onlyLive = (scene: Scene, aside: readonly { readonly name: string }[] = []): Promise<void> =>
  expect(scene.databases()).resolves.toEqual([scene.database.name, ...aside.map(({ name }) => name)].sort());

describeInTurn('a rehearsal', (major, testOnce) => {
  testOnce(
    'runs there, back, and there again on a copy, before the same runs on the database; no copy stays',
    async () => {
      const { scene, since } = await upgraded(major);
      await using _ = scene;
      const { outcome, status } = await scene.goTo('a2', policy('RequireApproval'));
      expect(said(outcome)).toMatch(/^ready Downgraded: /);
      expect(since()).toEqual(['copy down a3', 'copy up a3', 'copy down a3', 'live down a3']);
      expect(status.conditions).toContainEqual(
        expect.objectContaining({ type: 'Rehearsed', status: 'True', reason: 'RehearsalPassed' }),
      );
      await onlyLive(scene);
    },
  );

  testOnce(
    'does not go back where env.py keeps its tables from one run to the next, and the change is made',
    async () => {
      const envPy = `import builtins, os
import sqlalchemy
from alembic import context
if not hasattr(builtins, 'kept'):
    url = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://")
    builtins.kept = sqlalchemy.create_engine(url).connect()
context.configure(connection=builtins.kept)
with context.begin_transaction():
    context.run_migrations()
builtins.kept.execute(sqlalchemy.text("SELECT 1"))
`;
      await using scene = await createScene(major, {
        history: { ...threeSteps, envPy },
        spec: { ...policy('Allow'), database: { lockTimeout: '1s' } },
      });
      expect(said((await scene.goTo('a3')).outcome)).toMatch(/^ready Upgraded: /);
      await onlyLive(scene);
    },
  );

  testOnce(
    'measures what a dropped column takes away, and the target waits without a lock and without retrying',
    async () => {
      const { scene, since } = await upgraded(major);
      await using _ = scene;
      const before = await contentChecksum(scene.database.adminUrl);
      const { outcome, status, again } = await scene.goTo('a1', policy('RequireApproval'));
      expect(outcome).toMatchObject({
        kind: 'awaitingApproval',
        message: expect.stringMatching(
          /The downgrade to a1 would lose data: 1,001 rows in 1 table: public\.users \(column email goes, with 1,001 values\)\. .*migration-target approve unicorn --plan [0-9a-f]{16} --max-row-loss 1001/,
        ),
      });
      expect(again).toBe(false);
      expect(status.operation).toBeNull();
      expect(status.plan).toMatchObject({
        digest: expect.stringMatching(/^[0-9a-f]{16}$/),
        loss: {
          measured: true,
          rows: 1001,
          tables: [{ table: 'public.users', columnsGone: [{ column: 'email', values: 1001 }] }],
        },
      });
      expect(status.plan?.loss?.objects).toContainEqual(expect.stringContaining('users_email'));
      expect(status.conditions).toContainEqual(
        expect.objectContaining({ type: 'ApprovalRequired', status: 'True', reason: 'ApprovalRequired' }),
      );
      expect(status.history[0]).toMatchObject({ kind: 'rehearsal', result: 'success', reason: 'ApprovalRequired' });
      expect(since().filter((step) => step.startsWith('live'))).toEqual([]);
      expect(await contentChecksum(scene.database.adminUrl)).toBe(before);
      await onlyLive(scene);

      const events = scene.observed.length;
      expect((await scene.reconcile()).outcome.kind).toBe('awaitingApproval');
      expect(scene.observed.slice(events)).toEqual([]);
    },
  );

  testOnce(
    'that fails ends before the database is touched: stalled, with the statement, its SQLSTATE, file and line',
    async () => {
      const history = withRevision('a2', { downgrade: `op.execute("ALTER TABLE users DROP COLUMN nowhere")` });
      await using scene = await createScene(major, { history });
      await scene.goTo('a3');
      const before = await contentChecksum(scene.database.adminUrl);
      const events = scene.observed.length;
      const { outcome, status } = await scene.goTo('a1', policy('Allow'));
      expect(said(outcome)).toMatch(
        /^stalled RehearsalFailed: On a copy of \S+ the downgrade to a1 failed: downgrade of a2: .*nowhere.* \(SQLSTATE 42703\)\. At \S*a2\S*\.py:\d+\. Statement: ALTER TABLE users DROP COLUMN nowhere.*There is no other way: .*The database itself was not touched\./s,
      );
      expect(ran(scene.observed.slice(events))).toEqual(['copy down a3', 'copy down a2']);
      expect(await contentChecksum(scene.database.adminUrl)).toBe(before);
      expect(await scene.version()).toBe('a3');
      expect(status.conditions).toContainEqual(expect.objectContaining({ type: 'Rehearsed', status: 'False' }));
      expect(status.history[0]).toMatchObject({ kind: 'rehearsal', result: 'failure', reason: 'RehearsalFailed' });
      await onlyLive(scene);
    },
  );

  testOnce(
    'that fails goes straight to the fallback, where loss is allowed: nothing runs on the database',
    async () => {
      const { scene, since } = await upgraded(
        major,
        withRevision('a2', { downgrade: `raise RuntimeError('no way back')` }),
      );
      await using _ = scene;
      const { outcome, status } = await scene.goTo('a1', policy('Allow'));
      expect(said(outcome)).toMatch(
        /^ready RestoredFromBackup: .*On a copy of \S+ the downgrade to a1 failed: .*no way back/s,
      );
      expect(since()).toEqual(['copy down a3', 'copy down a2']);
      expect(await scene.version()).toBe('a1');
      await onlyLive(scene, status.keptAside);
    },
  );

  testOnce(
    'that fails waits with the loss of the fallback, table by table, where an approval is required',
    async () => {
      const { scene } = await upgraded(major, withRevision('a2', { downgrade: `raise RuntimeError('no way back')` }));
      await using _ = scene;
      const { outcome, status } = await scene.goTo('a1', policy('RequireApproval'));
      expect(said(outcome)).toMatch(
        /^awaitingApproval .*no way back.*restoring backup \S+ instead would lose data: 1,001 rows/s,
      );
      // How long a restore would take was seen on the copy.
      expect(status.rehearsal?.estimateSeconds).toBeGreaterThan(0);
      expect(status.plan?.loss?.tables).toEqual([
        expect.objectContaining({
          table: 'public.users',
          rowsGone: 1,
          columnsGone: [{ column: 'email', values: 1001 }],
        }),
      ]);
      expect(await scene.version()).toBe('a3');
    },
  );
});

describe('a rehearsal', () => {
  test('refuses a loss that is forbidden, with its numbers, and lets pass what loses nothing', async () => {
    const { scene } = await upgraded(16);
    await using _ = scene;
    const { outcome, status } = await scene.goTo('a1', policy('Forbid'));
    expect(said(outcome)).toMatch(
      /^stalled DataLossForbidden: .*1,001 rows in 1 table: public\.users .*RequireApproval/s,
    );
    expect(status.history[0]).toMatchObject({ kind: 'rehearsal', result: 'refused' });
    expect(await scene.version()).toBe('a3');
    expect(said((await scene.goTo('a2', policy('Forbid'))).outcome)).toMatch(/^ready Downgraded: /);
  });

  test('finds a downgrade() that is pass by the schema that did not move', async () => {
    const { scene, since } = await upgraded(16, withRevision('a2', { downgrade: 'pass' }));
    await using _ = scene;
    const { outcome } = await scene.goTo('a1', policy('RequireApproval'));
    expect(said(outcome)).toMatch(/^awaitingApproval .*the schema is not the one of a1.*email/s);
    expect(since().filter((step) => step.startsWith('live'))).toEqual([]);
  });

  test('says that the way back does not end where it began, and the change is made all the same', async () => {
    const history = withRevision('a3', {
      downgrade: 'pass',
      up: `op.execute("CREATE INDEX IF NOT EXISTS users_email ON users (email)")\nop.execute("CREATE INDEX ON users (name)")`,
    });
    await using scene = await createScene(16, { history });
    await scene.goTo('a2');
    const { outcome, status } = await scene.goTo('a3', policy('RequireApproval'));
    expect(said(outcome)).toMatch(/^ready Upgraded: .*way back did not end where it began/s);
    expect(status.rehearsal?.message).toMatch(/The way back does not end where it began/);
  });

  test('looks at the queries of the user on the copy', async () => {
    const { scene, since } = await upgraded(16);
    await using _ = scene;
    const verify = {
      queries: [{ name: 'indexed', sql: `SELECT to_regclass('users_email') IS NOT NULL`, expect: 't' }],
    };
    const { outcome } = await scene.goTo('a2', { ...policy('Allow'), verify });
    expect(said(outcome)).toMatch(/^stalled RehearsalFailed: .*the query 'indexed' gave 'f' and not 't'/s);
    expect(since().filter((step) => step.startsWith('live'))).toEqual([]);
  });

  test.each([
    [
      'rows',
      `op.execute("DO $$ BEGIN IF position('__s' IN current_database()) = 0 THEN DELETE FROM users WHERE id < 10; END IF; END $$")`,
      /the rows are not those that the same change left on a copy \(public\.users 1001 → 992\)/,
    ],
    [
      'schema',
      `op.execute("DO $$ BEGIN IF position('__s' IN current_database()) = 0 THEN CREATE TABLE strange (); END IF; END $$")`,
      /the schema is not the one that the same change led to on a copy.*strange/,
    ],
  ])('is what the database is held against afterwards: other %s undo the change', async (_what, surprise, told) => {
    const { scene } = await upgraded(
      16,
      withRevision('a3', { downgrade: `op.drop_index('users_email')\n${surprise}` }),
    );
    await using _ = scene;
    const before = await contentChecksum(scene.database.adminUrl);
    const { outcome } = await scene.goTo('a2', policy('RequireApproval'));
    expect(said(outcome)).toMatch(/^stalled VerificationFailed: /);
    expect(outcome.kind === 'stalled' && outcome.message).toMatch(told);
    expect(await scene.version()).toBe('a3');
    expect(await contentChecksum(scene.database.adminUrl)).toBe(before);
  });

  test('never has a backup restored that nobody approved: a surprise on the database leads to the origin', async () => {
    const surprise = `op.execute("DO $$ BEGIN IF position('__s' IN current_database()) = 0 THEN RAISE 'surprise'; END IF; END $$")`;
    const [first] = threeSteps.revisions;
    if (first === undefined) throw new Error('no history');
    const second = {
      id: 'a2',
      up: `op.create_index('users_name', 'users', ['name'])`,
      downgrade: `op.drop_index('users_name')\n${surprise}`,
    };
    await using scene = await createScene(16, { history: { revisions: [first, second] } });
    await scene.goTo('a1');
    await scene.goTo('a2');
    await scene.query(`INSERT INTO users VALUES (5000, 'late')`);
    const { outcome } = await scene.goTo('a1', policy('RequireApproval'));
    expect(said(outcome)).toMatch(
      /^stalled DowngradeFailed: .*surprise.*was not restored: it would lose what was written since .*nobody approved/s,
    );
    expect(await scene.version()).toBe('a2');
    expect(await scene.query('SELECT count(*)::int AS n FROM users')).toEqual([{ n: 1001 }]);
  });

  test('takes the backup again where others wrote meanwhile, so that none of their rows is lost', async () => {
    let write: () => Promise<unknown> = async () => undefined;
    await using scene = await createScene(16, {
      history: threeSteps,
      ports: (ports) => ({
        ...ports,
        backups: {
          ...ports.backups,
          open: async (...args) => {
            const store = await ports.backups.open(...args);
            const recordRehearsed: typeof store.recordRehearsed = async (facts) => {
              await write();
              await store.recordRehearsed(facts);
            };
            return new Proxy(store, {
              get(target, name) {
                if (name === 'recordRehearsed') return recordRehearsed;
                const value: unknown = Reflect.get(target, name);
                return typeof value === 'function' ? (value.bind(target) as unknown) : value;
              },
            });
          },
        },
      }),
    });
    await scene.goTo('a3');
    write = () => scene.query(`INSERT INTO users VALUES (6000, 'meanwhile', 'm@example.org')`);
    const events = scene.observed.length;
    const { outcome } = await scene.goTo('a2', policy('RequireApproval'));
    expect(said(outcome)).toMatch(/^ready Downgraded: /);
    expect(await scene.query('SELECT name FROM users WHERE id = 6000')).toEqual([{ name: 'meanwhile' }]);
    const steps = scene.observed
      .slice(events)
      .flatMap((event) => (event.kind === 'step' && event.state === 'finished' ? [event.step] : []));
    expect(steps).toEqual(['plan', 'backup', 'rehearse', 'gate', 'backup', 'gate', 'change', 'verify', 'report']);
  });
});
