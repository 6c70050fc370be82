import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, test } from '@jest/globals';

import { openEngine } from '../../src/adapters/docker/engine.ts';
import { containersAsWorkloads } from '../../src/adapters/docker/workloads.ts';
import { retry } from '../../src/rollback/errors.ts';
import { startDockerProxy } from '../support/docker-proxy.ts';
import { runController } from '../integration/bad-input/controller.ts';
import { dockerHost, testEngine } from '../support/docker.ts';
import {
  answerOnceLogged,
  containedScene,
  freePort,
  listen,
  stateOf,
  whileMigrating,
  type ContainedScene,
} from '../support/docker-scene.ts';
import { said, threeSteps } from '../support/scene.ts';

const engine = await testEngine();
const page = '/api/v1/system/status';

(engine === null ? describe.skip : describe)('the application on a Docker host', () => {
  const host = dockerHost(engine);

  /** The application of a target: answers at a port of the loopback interface, and is declared with its health check. */
  async function stage(
    declared: Readonly<Record<string, unknown>> = {},
    options: Partial<Parameters<typeof containedScene>[1]> = {},
  ): Promise<ContainedScene> {
    const port = await freePort();
    const scene = await containedScene(host.docker, {
      history: threeSteps,
      server: host.server,
      ...options,
      application: {
        ...options.application,
        host: {
          RestartPolicy: { Name: 'always' },
          PortBindings: { '8084/tcp': [{ HostIp: '127.0.0.1', HostPort: String(port) }] },
          ...options.application?.host,
        },
      },
    });
    await scene.declare({
      application: {
        workloads: [{ kind: 'Container', name: scene.name }],
        healthCheck: { url: `http://127.0.0.1:${port}${page}`, timeout: '30s' },
        ...declared,
      },
    });
    return scene;
  }

  test('is stopped while the database changes, and started again once it is verified; its health is waited for', async () => {
    await using scene = await stage();
    answerOnceLogged(scene, `GET ${page}`);
    const running = whileMigrating(scene);
    expect(said((await scene.goTo('a3')).outcome)).toMatch(/^ready Upgraded/);
    expect(await running()).toEqual([false, false, false]);
    expect(await isUp(scene)).toEqual({ running: true, policy: 'always' });
    expect(scene.observed).toContainEqual({ kind: 'downtime', ms: expect.any(Number) });
    const { status } = await scene.target();
    expect(status?.conditions).toContainEqual(
      expect.objectContaining({ type: 'ApplicationHealthy', status: 'True', reason: 'ApplicationHealthy' }),
    );
    const report = await readFile(status?.history[0]?.report ?? '', 'utf8');
    expect(report).toMatch(
      /## During\n\nStopped at .*\n[^]*## After\n[^]*\| Application \| .*\n\| Downtime \| \d+\.\d s \|/,
    );
    // The page that was asked for is the last that it wrote.
    expect(report).toMatch(new RegExp(`The application's last lines:[^]*${scene.name}: .*GET ${page}`));
  });

  test('is started again where the change fails, and the database is as it was', async () => {
    await using scene = await stage(
      {},
      {
        history: {
          revisions: [...threeSteps.revisions, { id: 'a4', up: "op.execute('SELECT 1/0')", downgrade: 'pass' }],
        },
      },
    );
    await scene.goTo('a3');
    const before = await scene.checksum();
    const running = whileMigrating(scene);
    expect(said((await scene.goTo('a4')).outcome)).toMatch(/^stalled UpgradeFailed/);
    expect(await running()).toEqual([false]);
    expect(await scene.checksum()).toBe(before);
    expect(await isUp(scene)).toEqual({ running: true, policy: 'always' });
  });

  test('that does not come up is told with its last errors; the database stays where it was taken, and Ready waits', async () => {
    // It serves only as long as the column is there that its code needs.
    await using scene = await stage(
      { healthCheck: undefined },
      { application: { command: ['python3', '-c', needsEmail], host: { RestartPolicy: { Name: 'no' } } } },
    );
    await scene.goTo('a3', { application: undefined });
    const { outcome } = await scene.goTo(
      'a1',
      declaredOf(scene, { healthCheck: { url: 'http://127.0.0.1:1/', timeout: '1s' } }),
    );
    expect(said(outcome)).toMatch(
      /^stalled ApplicationUnhealthy: Database .* was downgraded .* and verified\..* The application is not healthy after \d+ s: the container \S+ does not run \(it ended with exit code 1\)\. Its last errors: ✗ \S+: .*column "email" does not exist.*Nothing of the database is undone by itself\./s,
    );
    expect(outcome.kind === 'stalled' && outcome.message).not.toContain(scene.database.password);
    expect(await scene.version()).toBe('a1');
    const { status } = await scene.target();
    expect(status?.conditions).toContainEqual(
      expect.objectContaining({ type: 'ApplicationHealthy', status: 'False', reason: 'ApplicationUnhealthy' }),
    );
    // Nothing else was undone, and a look says the same until it is mended.
    const again = said((await scene.reconcile()).outcome);
    expect(again).toMatch(/^stalled ApplicationUnhealthy: .* Its last errors: ✗ \S+: .*column "email" does not exist/s);
    await scene.declare(declaredOf(scene, {}));
    expect(said((await scene.reconcile()).outcome)).toMatch(/^stalled ApplicationUnhealthy: .* does not run/);
    await scene.query('ALTER TABLE users ADD COLUMN email text');
    await scene.application.start();
    expect(said((await scene.reconcile()).outcome)).toMatch(/^ready /);
  });

  test('what was written before it stopped and goes beyond what was approved is asked about again; it is up again first', async () => {
    await using scene = await stage();
    await scene.goTo('a3');
    const asked = await scene.goTo('a1', { policy: { rehearsal: 'Always', dataLoss: 'RequireApproval' } });
    const digest = /--plan (\w+) --max-row-loss 1000\b/.exec(said(asked.outcome))?.[1] ?? '';
    expect(said(asked.outcome)).toMatch(/^awaitingApproval/);
    expect(await isUp(scene)).toEqual({ running: true, policy: 'always' });
    await approve(scene, digest, 1_000);

    const workloads = scene.ports.workloads({ namespace: 'default', name: 'unicorn' });
    const stop = workloads.stop.bind(workloads);
    let stops = 0;
    Object.assign(workloads, {
      stop: async (...all: Parameters<typeof stop>) => {
        // The last that it wrote.
        if ((stops += 1) === 1)
          await scene.query("INSERT INTO users SELECT g, 'late', 'l' FROM generate_series(2001, 2005) g");
        await stop(...all);
      },
    });
    const again = await scene.reconcile();
    expect(said(again.outcome)).toMatch(/^awaitingApproval.*--max-row-loss 1005\b/s);
    expect(stops).toBe(1);
    expect(await scene.version()).toBe('a3');
    expect(await isUp(scene)).toEqual({ running: true, policy: 'always' });

    await approve(scene, digest, 1_005);
    expect(said((await scene.reconcile()).outcome)).toMatch(/^ready Downgraded/);
    expect(await scene.query('SELECT count(*)::int AS n FROM users')).toEqual([{ n: 1005 }]);
  });

  test('declared to be kept, it runs on and is restarted after; what loses data is refused then', async () => {
    await using scene = await stage();
    await scene.goTo('a2');
    const running = whileMigrating(scene);
    const { StartedAt } = await stateOf(scene.application);
    const { application } = (await scene.target()).spec;
    expect(said((await scene.goTo('a3', { application: { ...application, during: 'Keep' } })).outcome)).toMatch(
      /^ready Upgraded/,
    );
    expect(await running()).toEqual([true]);
    expect((await stateOf(scene.application)).StartedAt).not.toBe(StartedAt);
    expect(said((await scene.goTo('a1')).outcome)).toMatch(
      /^stalled DataLossForbidden: .*spec\.application\.during is Keep.*spec\.application\.during: Stop; to take it back/,
    );
    expect(await scene.version()).toBe('a3');
  });

  test('after: None leaves it stopped, said, with its restart policy', async () => {
    await using scene = await stage({ after: 'None' });
    expect(said((await scene.goTo('a3')).outcome)).toMatch(/^ready Upgraded/);
    expect(await isUp(scene)).toEqual({ running: false, policy: 'always' });
    const { status } = await scene.target();
    expect(status?.conditions).toContainEqual(
      expect.objectContaining({ type: 'ApplicationHealthy', status: 'False', reason: 'ApplicationStopped' }),
    );
  });

  test('what did not run is not started', async () => {
    await using scene = await stage({ healthCheck: undefined });
    await scene.application.stop();
    expect(said((await scene.goTo('a3')).outcome)).toMatch(/^ready Upgraded/);
    expect(await isUp(scene)).toEqual({ running: false, policy: 'always' });
  });

  test('a fallback restores with it stopped', async () => {
    const revisions = threeSteps.revisions.map((one) =>
      one.id === 'a3' ? { ...one, downgrade: 'raise ValueError("no way back")' } : one,
    );
    await using scene = await stage({}, { history: { revisions } });
    await scene.goTo('a2');
    await scene.goTo('a3');
    const swaps: Promise<boolean>[] = [];
    listen(scene, (event) => {
      if (event.kind === 'step' && event.step === 'swap')
        swaps.push(stateOf(scene.application).then(({ Running }) => Running));
    });
    const { outcome } = await scene.goTo('a2', { policy: { rehearsal: 'Always', dataLoss: 'Allow' } });
    expect(said(outcome)).toMatch(/^ready RestoredFromBackup/);
    expect(await Promise.all(swaps)).toEqual([false]);
    expect(await isUp(scene)).toEqual({ running: true, policy: 'always' });
  });

  test('is up again where the operation is put off before its change, and where it was killed with it stopped', async () => {
    await using scene = await stage();
    const { databases } = scene.ports;
    let fails = true;
    Object.assign(scene.ports, {
      databases: {
        ...databases,
        open: async (...all: Parameters<typeof databases.open>) => {
          const database = await databases.open(...all);
          const otherSessions = database.otherSessions.bind(database);
          return Object.assign(database, {
            // The first thing that is asked once it is stopped.
            otherSessions: async () => {
              if (fails && !(await stateOf(scene.application)).Running)
                throw retry('DatabaseUnreachable', 'It went away.');
              return otherSessions();
            },
          });
        },
      },
    });
    expect(said((await scene.goTo('a3')).outcome)).toMatch(/^retrying DatabaseUnreachable/);
    expect(await isUp(scene)).toEqual({ running: true, policy: 'always' });

    // Killed: nobody starts it, and the journal says that it was stopped.
    const workloads = scene.ports.workloads({ namespace: 'default', name: 'unicorn' });
    const start = workloads.start.bind(workloads);
    Object.assign(workloads, { start: () => Promise.reject(new Error('killed')) });
    await scene.reconcile();
    Object.assign(workloads, { start });
    expect(await isUp(scene)).toEqual({ running: false, policy: 'no' });
    expect((await scene.target()).status?.conditions).toContainEqual(
      expect.objectContaining({ type: 'ApplicationHealthy', reason: 'ApplicationStopped' }),
    );
    // Where what is declared meanwhile can't be acted on, it is told that it stays down.
    await scene.declare({ revision: '-1' });
    const invalid = (await runController(scene)).declared.get('unicorn');
    expect(invalid).toMatchObject({ kind: 'invalid' });
    const conditions = invalid?.kind === 'invalid' ? invalid.status?.conditions : [];
    const stays = new RegExp(
      `cannot begin with "-".* Operation \\w+ is not finished.*stays down: ${scene.name}\\.$`,
      's',
    );
    expect(conditions).toContainEqual(
      expect.objectContaining({
        type: 'Stalled',
        reason: 'InvalidSpec',
        message: expect.stringMatching(stays) as unknown,
      }),
    );
    expect(conditions).toContainEqual(
      expect.objectContaining({ type: 'ApplicationHealthy', status: 'False', reason: 'ApplicationStopped' }),
    );
    await scene.declare({ revision: 'a3' });
    // Not even a suspended target leaves it down.
    await scene.declare({ suspend: true });
    fails = false;
    expect(said((await scene.reconcile()).outcome)).toMatch(/^suspended/);
    expect(await isUp(scene)).toEqual({ running: true, policy: 'always' });
    await scene.declare({ suspend: false });
    expect(said((await scene.goTo('a3')).outcome)).toMatch(/^ready Upgraded/);
  });

  test('one that could not be started again, or that does not exist, is refused before anything is stopped', async () => {
    await using scene = await stage({}, { application: { host: { AutoRemove: true, RestartPolicy: { Name: 'no' } } } });
    expect(said((await scene.goTo('a3')).outcome)).toMatch(/^stalled ContainerNotRunning: .*--rm/);
    expect((await stateOf(scene.application)).Running).toBe(true);
    const missing = {
      workloads: [
        { kind: 'Container', name: scene.name },
        { kind: 'Container', name: 'nobody' },
      ],
    };
    expect(said((await scene.goTo('a3', { application: missing })).outcome)).toMatch(
      /^stalled ContainerNotFound: .*"nobody" \(spec\.application\.workloads\)/,
    );
    expect((await stateOf(scene.application)).Running).toBe(true);
    expect(await scene.query("SELECT to_regclass('users') AS t")).toEqual([{ t: null }]);
  });

  test('a stop that hangs is given up once the container had its time; it runs on, and the change is tried again', async () => {
    const stop = /^POST \/containers\/\w+\/stop/;
    await using proxy = await startDockerProxy(host.docker.engine.socketPath, { ignore: stop });
    await using scene = await stage({}, { application: { more: { StopTimeout: 0 } } });
    const { workloads } = scene.ports;
    Object.assign(scene.ports, { workloads: () => containersAsWorkloads(() => openEngine(proxy.address), 1_000) });
    expect(said((await scene.goTo('a3')).outcome)).toMatch(
      new RegExp(
        `^retrying DockerUnreachable: Stopping the container ${scene.name}: the Docker Engine at \\S+ does not answer in time`,
      ),
    );
    expect(await isUp(scene)).toEqual({ running: true, policy: 'always' });
    Object.assign(scene.ports, { workloads });
    expect(said((await scene.reconcile()).outcome)).toMatch(/^ready Upgraded/);
  });

  test('what Docker Compose restarts with it stops before it, and starts after it is healthy', async () => {
    const [project, service] = ['com.docker.compose.project', 'com.docker.compose.service'];
    const own = host.docker.name('project');
    await using scene = await stage({}, { application: { labels: { [project]: own, [service]: 'api' } } });
    const worker = await host.docker.application({
      name: host.docker.name('worker'),
      dir: join(scene.dir, 'app'),
      command: ['python3', '-c', 'import signal; signal.signal(signal.SIGTERM, lambda *_: exit(0)); signal.pause()'],
      labels: { [project]: own, [service]: 'worker', 'com.docker.compose.depends_on': 'api:service_started:true' },
    });
    const before = [await stateOf(worker), await stateOf(scene.application)];
    expect(said((await scene.goTo('a3')).outcome)).toMatch(/^ready Upgraded/);
    const [dependant, api] = [await stateOf(worker), await stateOf(scene.application)];
    expect([dependant.Running, api.Running]).toEqual([true, true]);
    expect(before.map(({ StartedAt }) => StartedAt)).not.toContain(dependant.StartedAt);
    // Stopped before, started after.
    expect(Date.parse(dependant.FinishedAt)).toBeLessThanOrEqual(Date.parse(api.FinishedAt));
    expect(Date.parse(dependant.StartedAt)).toBeGreaterThanOrEqual(Date.parse(api.StartedAt));
  });
});

/** A program that serves as long as its column is there. */
const needsEmail = `
import os, signal, sys, time
import psycopg
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("started with", os.environ["DATABASE_URL"], flush=True)
while True:
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        if connection.execute("SELECT to_regclass('users')").fetchone()[0] is not None:
            connection.execute("SELECT email FROM users LIMIT 1")
    time.sleep(0.2)
`;

const declaredOf = (scene: ContainedScene, change: Readonly<Record<string, unknown>>) => ({
  application: { workloads: [{ kind: 'Container', name: scene.name }], ...change },
});

async function approve(scene: ContainedScene, planDigest: string, maxRowLoss: number): Promise<void> {
  const { home } = scene.ports;
  const consent = { planDigest, maxRowLoss, reason: null, approvedBy: 'a person' };
  await home.approve({ namespace: 'default', name: 'unicorn' }, consent);
}

async function isUp({
  application,
}: ContainedScene): Promise<{ readonly running: boolean; readonly policy: string | undefined }> {
  const { State, HostConfig } = await application.inspect();
  return { running: State.Running, policy: HostConfig.RestartPolicy?.Name };
}
