/** What a webhook is told while the procedure does what it does: a real HTTP server listens. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { describe, expect, test } from '@jest/globals';

import { createWebhook, webhookSettings, type Webhook } from '../../../src/adapters/webhook/index.ts';
import { retry } from '../../../src/rollback/errors.ts';
import { missedNotices } from '../../../src/rollback/notification.ts';
import type { Home, LeaseStore, Ports } from '../../../src/rollback/ports.ts';
import { reconcile } from '../../../src/rollback/reconcile.ts';
import { redact } from '../../../src/rollback/redact.ts';
import { databaseUrl } from '../../support/postgres.ts';
import { startReceiver, type Receiver } from '../../support/receiver.ts';
import { createScene, said, threeSteps, type Scene, type SceneOptions } from '../../support/scene.ts';
import { runController } from '../../integration/bad-input/controller.ts';
import { setSecret } from '../../integration/bad-input/support.ts';
import { createBench, twoSteps } from '../../integration/cli/bench.ts';
import { pretended } from './pretended.ts';

const major = 16;
const withDowngrade = (downgrade: string): SceneOptions['history'] => ({
  revisions: threeSteps.revisions.map((one) => (one.id === 'a2' ? { ...one, downgrade } : one)),
});

interface TellingScene extends AsyncDisposable {
  readonly scene: Scene;
  readonly webhook: Webhook;
  /** What was told since it was last asked, once `events` were. */
  readonly told: (count: number) => Promise<readonly Readonly<Record<string, unknown>>[]>;
}

async function tellingScene(
  receiver: Receiver,
  history: SceneOptions['history'],
  change: (ports: Ports) => Ports = (ports) => ports,
): Promise<TellingScene> {
  const settings = webhookSettings({ MIGRATION_TARGET_WEBHOOK_URL: receiver.url });
  if (settings === null) throw new Error('no settings');
  const quiet = { delivered: () => undefined, failed: () => undefined, dropped: () => undefined };
  const webhook = createWebhook({ settings, redact, userAgent: 'test', listener: quiet });
  const scene = await createScene(major, { history, ports: (ports) => change({ ...ports, notifier: webhook }) });
  let seen = 0;
  return {
    scene,
    webhook,
    async told(count) {
      await receiver.until(seen + count);
      const news = receiver.told().slice(seen);
      seen += news.length;
      return news;
    },
    async [Symbol.asyncDispose]() {
      await webhook.close(0);
      await scene[Symbol.asyncDispose]();
    },
  };
}

test('each start, wait, success, fallback and failure is told once; a periodic read tells nothing', async () => {
  await using receiver = await startReceiver();
  await using telling = await tellingScene(receiver, withDowngrade(`raise RuntimeError('no way back')`));
  const { scene, told } = telling;

  await scene.goTo('a1');
  const [started, succeeded] = await told(2);
  const { operationId, message } = (await scene.status()).history[0] ?? {};
  expect(started).toMatchObject({
    version: 1,
    id: `${operationId}/started`,
    event: 'started',
    target: { namespace: 'default', name: 'unicorn' },
    operation: { id: operationId, kind: 'upgrade' },
    message: expect.stringContaining(`began: upgrade of database ${scene.database.name} from base to a1`),
    revisions: { from: [], to: ['a1'] },
    links: { report: null },
  });
  expect(succeeded).toMatchObject({
    id: `${operationId}/succeeded/Upgraded`,
    event: 'succeeded',
    reason: 'Upgraded',
    message,
    revisions: { from: [], to: ['a1'] },
    links: { report: expect.stringMatching(/\.md$/) },
  });

  await scene.goTo('a3');
  await told(2);
  await scene.reconcile();
  await scene.reconcile({ kind: 'backup', reason: 'Requested' });

  await scene.goTo('a1', { policy: { rehearsal: 'Always', dataLoss: 'RequireApproval' } });
  const waiting = await told(2);
  expect(waiting.map(({ event }) => event)).toEqual(['started', 'waiting']);
  expect(waiting[1]).toMatchObject({
    reason: 'ApprovalRequired',
    message: expect.stringMatching(/migration-target approve unicorn --plan [0-9a-f]{16}/),
  });
  await scene.reconcile();

  await scene.goTo('a1', { policy: { dataLoss: 'Allow' } });
  const restored = await told(2);
  expect(restored.map(({ event }) => event)).toEqual(['started', 'restored']);
  expect(restored[1]).toMatchObject({ reason: 'RestoredFromBackup', revisions: { from: ['a3'], to: ['a1'] } });

  await scene.goTo('a3');
  await told(2);
  await scene.goTo('a1', { policy: { dataLoss: 'Allow', restore: 'Forbid' } });
  const failed = await told(2);
  expect(failed.map(({ event }) => event)).toEqual(['started', 'failed']);
  expect(failed[1]).toMatchObject({ reason: 'DowngradeFailed', message: expect.stringContaining('no way back') });
  await scene.reconcile();

  await scene.goTo('zz');
  expect(await told(1)).toMatchObject([{ event: 'failed', reason: 'RevisionNotFound', operation: null }]);
  await scene.reconcile();
  await telling.webhook.close(5_000);
  expect(await told(0)).toEqual([]);
});

test('a receiver that hangs holds up nothing', async () => {
  await using receiver = await startReceiver(['hang']);
  await using telling = await tellingScene(receiver, threeSteps);
  const { scene } = telling;
  // The first request is never answered: nothing but the start can have been sent when all of it is done.
  expect(said((await scene.goTo('a3')).outcome)).toMatch(/^ready Upgraded/);
  await receiver.until(1);
  expect(receiver.told().map(({ event }) => event)).toEqual(['started']);
});

test('a migration that prints the URL of the database, and its own secret, tells neither to the webhook', async () => {
  await using receiver = await startReceiver();
  const printing = `import os
raise RuntimeError('could not connect to ' + os.environ['DATABASE_URL'] + ' with password=hunter2')`;
  await using telling = await tellingScene(receiver, withDowngrade(printing));
  const { scene, told } = telling;
  await scene.goTo('a3');
  await scene.goTo('a1', { policy: { dataLoss: 'Allow', restore: 'Forbid' } });
  const [, failed] = (await told(4)).slice(2);
  expect(failed).toMatchObject({ event: 'failed', message: expect.stringContaining('could not connect to') });
  const sent = receiver.received.map(({ text }) => text).join('\n');
  expect(sent).not.toContain(scene.database.password);
  expect(sent).not.toContain('hunter2');
});

describe('a password that is refused in the middle of a change, with the application stopped', () => {
  test('is told once, after minutes: what is stopped, and what to mend', async () => {
    await using receiver = await startReceiver();
    let [later, isArmed] = [0, false];
    const clock = { now: () => new Date(Date.now() + later) };
    const controller = new AbortController();
    const app = pretended();
    await using telling = await tellingScene(receiver, threeSteps, (ports) => ({
      ...app.ports(ports),
      clock,
      home: {
        ...ports.home,
        saveStatus: async (key, status, before) => {
          await ports.home.saveStatus(key, status, before);
          if (isArmed && status.operation?.step === 'verify') controller.abort();
        },
      },
    }));
    const { scene, told } = telling;
    await scene.goTo('a1');
    await told(2);
    isArmed = true;
    await scene.declare({ revision: 'a2', application: app.application });
    await reconcile(await scene.target(), scene.ports, { kind: 'reconcile' }, controller.signal);
    expect((await scene.status()).operation).toMatchObject({ step: 'verify' });
    expect(await told(1)).toMatchObject([{ event: 'started' }]);

    const { url } = scene.database;
    await setSecret(scene, 'url', databaseUrl(url, { password: 'wr0ng' }));
    for (const minutes of [0, 1, 4, 6, 10]) {
      later = minutes * 60_000;
      expect(said((await scene.reconcile()).outcome)).toMatch(/^retrying AuthenticationFailed: /);
    }
    const [stuck] = await told(1);
    expect(stuck).toMatchObject({
      event: 'failed',
      reason: 'AuthenticationFailed',
      operation: { kind: 'upgrade' },
      message: expect.stringMatching(
        /^The application is stopped \(app\)\. Operation \w+ can't go on with its step verify since 20\S+Z\. .*reconcile unicorn\. The cause: .*password authentication failed.* Correct user and password in the Secret/,
      ),
      revisions: { from: ['a1'], to: ['a2'] },
    });
    // Who begins to lead tells it again, since nobody knows whether it was told.
    const key = { namespace: 'default', name: 'unicorn' };
    const since = new Date(clock.now().getTime() - 5 * 60_000);
    expect(missedNotices(key, await scene.status(), since)).toEqual([expect.objectContaining({ id: stuck?.['id'] })]);
    expect(missedNotices(key, await scene.status(), clock.now())).toEqual([]);

    expect((await scene.status()).application).toMatchObject({ state: 'stopped' });

    // What is in the way of the next step is waited for anew.
    await setSecret(scene, 'url', url);
    app.on.start = () => Promise.reject(retry('DockerUnreachable', 'The engine went away.'));
    expect((await scene.reconcile()).status.operation).toMatchObject({ step: 'resume', hindered: { toldAt: null } });
    delete app.on.start;
    expect(said((await scene.reconcile()).outcome)).toMatch(/^ready Upgraded/);
    expect(await told(1)).toMatchObject([{ event: 'succeeded' }]);
    await telling.webhook.close(5_000);
    expect(await told(0)).toEqual([]);
  });
});

/** Variables of this process, and so of those that it starts. */
async function withVariables<T>(variables: Readonly<Record<string, string>>, work: () => Promise<T>): Promise<T> {
  Object.assign(process.env, variables);
  try {
    return await work();
  } finally {
    for (const name of Object.keys(variables)) delete process.env[name];
  }
}

describe('the controller', () => {
  test('tells again, with the same id, what ended shortly before it started; and once in its life', async () => {
    await using receiver = await startReceiver();
    await using scene = await createScene(major, { history: threeSteps });
    // As by a process that died before it told anything.
    await scene.goTo('a1');
    const { operationId } = (await scene.status()).history[0] ?? {};
    const ids = [`${operationId}/succeeded/Upgraded`];
    await withVariables({ MIGRATION_TARGET_WEBHOOK_URL: receiver.url }, () => runController(scene));
    expect(receiver.told().map(({ id }) => id)).toEqual(ids);
  });

  test('tells nothing of what happened while it stood by, which the one that led has told', async () => {
    await using receiver = await startReceiver();
    await using scene = await createScene(major, { history: threeSteps });
    await scene.goTo('a1');
    // Started an hour before, and leads an hour after: nobody waits for that in a test.
    let hours = -1;
    const clock = { now: () => new Date(Date.now() + hours * 3_600_000) };
    const lease: LeaseStore = {
      name: 'default/migration-target',
      read: () => Promise.resolve(null),
      write: (record) => {
        hours = 1;
        return Promise.resolve({ ...record, version: '1' });
      },
      record: () => Promise.resolve(),
    };
    await withVariables({ MIGRATION_TARGET_WEBHOOK_URL: receiver.url }, () => runController(scene, { lease, clock }));
    expect(receiver.told()).toEqual([]);
  });

  test('tells nothing again of a target that was gone for a while', async () => {
    await using receiver = await startReceiver();
    await using scene = await createScene(major, { history: threeSteps });
    await scene.goTo('a1');
    let minutes = 0;
    const clock = { now: () => new Date(Date.now() + minutes * 60_000) };
    const file = join(scene.dir, 'targets', 'unicorn.yaml');
    const gone = Promise.withResolvers<void>();
    const back = Promise.withResolvers<void>();
    const key = { namespace: 'default', name: 'unicorn' };
    const home: Home = {
      ...scene.ports.home,
      get: async (asked) => {
        const found = await scene.ports.home.get(asked);
        if (found === null) gone.resolve();
        else if (minutes > 0) back.resolve();
        return found;
      },
    };
    const meanwhile = async (): Promise<void> => {
      await receiver.until(1);
      minutes = 16;
      const declared = await readFile(file, 'utf8');
      await rm(file);
      await gone.promise;
      // Put back as it was it might be found by a list alone, minutes later.
      await writeFile(file, declared.replace(/^spec:$/m, 'spec:\n  interval: 7m'));
      await back.promise;
    };
    const ports = { ...scene.ports, home };
    await withVariables({ MIGRATION_TARGET_WEBHOOK_URL: receiver.url }, () =>
      runController({ ports }, { clock, meanwhile }),
    );
    expect((await home.get(key))?.kind).toBe('target');
    expect(receiver.told()).toHaveLength(1);
  });

  test('tells what is declared wrongly, and that once', async () => {
    await using receiver = await startReceiver();
    await using scene = await createScene(major, { history: threeSteps });
    await scene.declare({ revision: 'head' });
    await withVariables({ MIGRATION_TARGET_WEBHOOK_URL: receiver.url }, () => runController(scene));
    expect(receiver.told()).toMatchObject([{ event: 'failed', reason: 'InvalidSpec', operation: null }]);
  });

  test('does not start with a webhook that can not be one, and does not tell which', async () => {
    await using scene = await createScene(major, { history: threeSteps });
    const starting = withVariables({ MIGRATION_TARGET_WEBHOOK_URL: 'ftp://s3cr3t' }, () => runController(scene));
    await expect(starting).rejects.toThrow('MIGRATION_TARGET_WEBHOOK_URL does not hold an http or https URL.');
  });
});

describe('apply', () => {
  test('tells the webhook, in Slack’s form too, before it ends; a receiver that hangs keeps it for some seconds at most', async () => {
    await using receiver = await startReceiver([200, 200, 'hang']);
    await using bench = await createBench(twoSteps);
    const dir = await mkdtemp(join(tmpdir(), 'mt-hook-'));
    try {
      const file = join(dir, 'url');
      await writeFile(file, receiver.url);
      const variables = { MIGRATION_TARGET_WEBHOOK_URL_FILE: file, MIGRATION_TARGET_WEBHOOK_FORMAT: 'slack' };
      const first = await bench.declaration('a100');
      const applied = await withVariables(variables, () => bench.run('apply', '-f', first, '--yes'));
      expect(applied.code).toBe(0);
      expect(receiver.told()).toEqual([
        { text: expect.stringMatching(/^▶ started: \*default\/unicorn\* Started \(base → a100\)\n/) },
        { text: expect.stringMatching(/^✅ done: \*default\/unicorn\* Upgraded \(base → a100\)\n/) },
      ]);

      const second = await bench.declaration('b200');
      const held = await withVariables(variables, () => bench.run('apply', '-f', second, '--yes'));
      expect(held.code).toBe(0);
      expect(held.stderr).toContain('The webhook was not told of "succeeded" of unicorn: the program ended');
      expect(held.stdout + held.stderr).not.toContain('s3cr3t');
    } finally {
      await rm(dir, { recursive: true });
    }
  });

  test('goes on where the webhook is declared wrongly, and says so', async () => {
    await using bench = await createBench(twoSteps);
    const file = await bench.declaration('a100');
    const applied = await withVariables({ MIGRATION_TARGET_WEBHOOK_URL_FILE: '/nowhere/url' }, () =>
      bench.run('apply', '-f', file, '--yes'),
    );
    expect(applied.code).toBe(0);
    expect(applied.stderr).toMatch(
      /Nobody is told of this by a webhook: .*\/nowhere\/url, which can't be read \(ENOENT\)/,
    );
  });
});
