/** Operations that something is in the way of, at a moment that only a wrapped call can name. */
import { describe, expect, test } from '@jest/globals';

import { retry } from '../../../src/rollback/errors.ts';
import type { AlembicSettings, LiveDatabase } from '../../../src/rollback/ports.ts';
import { reconcile } from '../../../src/rollback/reconcile.ts';
import { query } from '../../support/postgres.ts';
import { createScene, said, threeSteps, type Scene } from '../../support/scene.ts';

/** The real adapter, but for what `change` says of each database that it opens, once `armed` says so. */
async function sceneWith(
  change: (live: LiveDatabase, scene: () => Scene) => Partial<LiveDatabase>,
  history = threeSteps,
): Promise<{ readonly scene: Scene; readonly arm: (on: boolean) => void }> {
  let armed = false;
  const scene: Scene = await createScene(16, {
    history,
    ports: (ports) => ({
      ...ports,
      databases: {
        ...ports.databases,
        open: async (settings) => {
          const live = await ports.databases.open(settings);
          return armed ? { ...live, ...change(live, () => scene) } : live;
        },
      },
    }),
  });
  return { scene, arm: (on) => (armed = on) };
}

const admin = (scene: Scene, sql: string) => query(scene.database.server.adminUrl, sql);

test('a verification that cannot be made undoes nothing, and is made once it can be', async () => {
  let created = 0;
  const { scene, arm } = await sceneWith((live, current) => ({
    createDatabase: async (...args) => {
      created += 1;
      if (created === 2) await admin(current(), `ALTER ROLE ${current().database.owner} NOCREATEDB`);
      return live.createDatabase(...args);
    },
  }));
  await using _ = scene;
  await scene.goTo('a2');
  arm(true);
  const first = await scene.goTo('a3');
  expect(said(first.outcome)).toMatch(
    /^stalled PermissionDenied: The upgrade of database \S+ ran, and could not be verified yet: .*CREATEDB.*reconcile unicorn/,
  );
  expect(await scene.version()).toBe('a3');
  await scene.query("INSERT INTO users (id, name) VALUES (5001, 'since')");
  await admin(scene, `ALTER ROLE ${scene.database.owner} CREATEDB`);

  const { outcome } = await scene.reconcile({ kind: 'apply' });
  expect(said(outcome)).toMatch(/^ready Upgraded: /);
  expect(await scene.version()).toBe('a3');
  expect(await scene.query('SELECT count(*)::int AS n FROM users')).toEqual([{ n: 1001 }]);
  expect(await scene.databases()).toEqual([scene.database.name]);
});

test('who lost the lock ends no sessions of the next holder, and is tried again', async () => {
  let ended = 0;
  const holders = `pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND usename = current_user`;
  const losing = {
    revisions: threeSteps.revisions.map((revision) =>
      revision.id === 'a3'
        ? {
            ...revision,
            // Whoever is terminated holds it for a moment still.
            up: `op.execute("""DO $$ BEGIN
              PERFORM pg_terminate_backend(pid) FROM ${holders};
              WHILE EXISTS (SELECT FROM ${holders}) LOOP PERFORM pg_sleep(0.01); END LOOP;
            END $$""")`,
          }
        : revision,
    ),
  };
  const { scene, arm } = await sceneWith(
    (live) => ({
      endOperationSessions: () => {
        ended += 1;
        return live.endOperationSessions();
      },
    }),
    losing,
  );
  await using _ = scene;
  await scene.goTo('a2');
  arm(true);
  const { outcome, again } = await scene.goTo('a3');
  expect(said(outcome)).toMatch(/^retrying DatabaseUnreachable: The session that held the lock .* is gone/);
  expect(again).toBe(true);
  expect(ended).toBe(1); // when it took the lock
  expect(await scene.version()).toBe('a2');
});

/** `takes`: from which of its programs it is taken away; `before`: what that one does until then. */
async function sceneThatLoses(
  takes: (settings: AlembicSettings) => boolean,
  before: (scene: Scene) => Promise<unknown> = () => Promise.resolve(),
) {
  const runs: string[] = [];
  let armed = false;
  const lost = retry('JobLost', 'The Job was lost: drained. It is tried again by itself.');
  const place = { sqlstate: null, statement: null, file: null, line: null, blockedBy: null, step: null };
  const scene: Scene = await createScene(16, {
    history: threeSteps,
    spec: { policy: { rehearsal: 'Always', dataLoss: 'Allow' } },
    ports: (ports) => ({
      ...ports,
      alembic: {
        ...ports.alembic,
        start: async (settings) => {
          const session = await ports.alembic.start(settings);
          if (!armed || !takes(settings)) return session;
          return Object.assign(session, {
            migrate: async () => {
              runs.push(settings.operationId);
              await before(scene);
              return { ok: false, error: { ...place, kind: 'died', message: 'It is gone.', committed: null, lost } };
            },
          });
        },
      },
    }),
  });
  await scene.goTo('a2');
  armed = true;
  return { scene, runs };
}

describe('a change whose program is taken away each time', () => {
  const takes: Parameters<typeof sceneThatLoses>[0] = ({ copy }) => copy === null;

  test('is started three times, and then is for a person', async () => {
    const { scene, runs } = await sceneThatLoses(takes);
    await using _ = scene;
    expect(said((await scene.goTo('a3')).outcome)).toMatch(/^retrying JobLost/);
    expect(said((await scene.reconcile()).outcome)).toMatch(/^retrying JobLost/);
    expect(said((await scene.reconcile()).outcome)).toMatch(/^stalled UpgradeFailed: .*as before/);
    expect(runs).toHaveLength(3);
  });

  test('is not started again on rows that may be its own', async () => {
    const { scene, runs } = await sceneThatLoses(takes, (current) =>
      current.query(`INSERT INTO users (id, name) VALUES (5001, 'half')`),
    );
    await using _ = scene;
    expect(said((await scene.goTo('a3')).outcome)).toMatch(/^stalled UpgradeFailed: /);
    expect(runs).toHaveLength(1);
  });
});

describe('a rehearsal whose program is taken away each time', () => {
  const takes: Parameters<typeof sceneThatLoses>[0] = ({ copy }) => copy !== null;

  test('is begun three times, and then is for a person, who is told what to do', async () => {
    const { scene, runs } = await sceneThatLoses(takes);
    await using _ = scene;
    expect(said((await scene.goTo('a3')).outcome)).toMatch(/^retrying JobLost/);
    expect(said((await scene.reconcile()).outcome)).toMatch(/^retrying JobLost/);
    const { outcome, status } = await scene.reconcile();
    expect(said(outcome)).toMatch(
      /^stalled RehearsalFailed: The rehearsal for \S+ was begun 3 times and did not end: the last time The Job was lost: drained\. Nothing was changed\. .* reconcile unicorn\. Database \S+ is at a2, as before\.$/,
    );
    expect(status).toMatchObject({ operation: null, history: [{ kind: 'rehearsal', result: 'failure' }, {}] });
    await scene.reconcile();
    expect(runs).toHaveLength(3);
    expect(await scene.databases()).toEqual([scene.database.name]);

    // Who declares it anew has as many tries again.
    expect(said((await scene.goTo('a3', { interval: '7m' })).outcome)).toMatch(/^retrying JobLost/);
  });

  test('has all its tries again once something else is declared', async () => {
    const { scene } = await sceneThatLoses(takes);
    await using _ = scene;
    await scene.goTo('a3');
    expect((await scene.reconcile()).status.operation).toMatchObject({ step: 'rehearse', rehearsals: 2 });
    expect((await scene.goTo('a1')).status.operation).toMatchObject({ step: 'rehearse', rehearsals: 1 });
  });

  test('because the controller ended each time, is not begun a fourth time', async () => {
    const { scene, runs } = await sceneThatLoses(takes);
    await using _ = scene;
    await scene.goTo('a3');
    const { operation } = await scene.status();
    const died = { ...(await scene.status()), operation: { ...operation!, rehearsals: 3 } };
    await scene.ports.home.saveStatus({ namespace: 'default', name: 'unicorn' }, died);
    expect(said((await scene.reconcile()).outcome)).toMatch(
      /^stalled RehearsalFailed: .* was begun 3 times and did not end\. Nothing was changed\. Read the controller's log, or declare/,
    );
    expect(runs).toHaveLength(1);
  });

  test('because the controller is stopped, was not begun', async () => {
    const controller = new AbortController();
    const { scene } = await sceneThatLoses(takes, () => Promise.resolve(controller.abort()));
    await using _ = scene;
    await scene.declare({ revision: 'a3' });
    const { status } = await reconcile(await scene.target(), scene.ports, { kind: 'reconcile' }, controller.signal);
    expect(status.operation).toMatchObject({ step: 'rehearse', rehearsals: 0 });
  });
});

describe('a controller that is stopped', () => {
  test('twice right before the change lets the next start make it', async () => {
    let controller = new AbortController();
    const { scene, arm } = await sceneWith((live) => ({
      writesSince: async (snapshot) => {
        controller.abort();
        return live.writesSince(snapshot);
      },
    }));
    await using _ = scene;
    await scene.goTo('a2');
    await scene.declare({ revision: 'a3' });
    arm(true);
    for (const visit of ['first', 'second']) {
      controller = new AbortController();
      const { outcome, status } = await reconcile(
        await scene.target(),
        scene.ports,
        { kind: 'reconcile' },
        controller.signal,
      );
      expect([visit, said(outcome)]).toEqual([visit, expect.stringMatching(/^retrying OperationInterrupted: /)]);
      expect(status.operation).toMatchObject({ step: 'change', attempts: 0 });
    }
    arm(false);
    expect(said((await scene.reconcile()).outcome)).toMatch(/^ready Upgraded: /);
    expect(await scene.databases()).toEqual([scene.database.name]);
  });
});

test('a database that is set to be read only, so that nobody writes, is backed up all the same', async () => {
  await using scene = await createScene(16, { history: threeSteps });
  await scene.goTo('a2');
  await admin(scene, `ALTER DATABASE "${scene.database.name}" SET default_transaction_read_only = on`);
  const { outcome, status } = await scene.reconcile({ kind: 'backup', reason: 'Requested' });
  expect(said(outcome)).not.toMatch(/^stalled/);
  expect(status.lastBackup).toMatchObject({ revisions: ['a2'], verified: true });
  expect(await scene.databases()).toEqual([scene.database.name]);
});
