/**
 * What becomes of a stopped application when something goes wrong at a moment that no container can be made to wait for. So
 * the containers are pretended here, and nothing else; with real ones: ../docker/application.test.ts.
 */
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { TargetStatus } from '../../../src/api/target.ts';
import { retry, stalled } from '../../../src/rollback/errors.ts';
import type { Ports } from '../../../src/rollback/ports.ts';
import { reconcile } from '../../../src/rollback/reconcile.ts';
import { createScene, said, threeSteps, type Scene } from '../../support/scene.ts';
import { pretended, type Pretended } from './pretended.ts';

const major = 16;
const { application } = pretended();

const gone = () => stalled('ContainerNotFound', 'The container app does not exist.');
const taken = () => stalled('InternalError', 'The Docker Engine answers 500: port is already allocated.');

/** At a1, with a2 declared, and the controller told to stop once the application is stopped. */
async function interrupted(scene: Scene, { on }: Pretended): Promise<void> {
  await scene.goTo('a1');
  await scene.declare({ revision: 'a2', application });
  const stop = new AbortController();
  on.stop = async () => stop.abort();
  await reconcile(await scene.target(), scene.ports, { kind: 'reconcile' }, stop.signal);
  delete on.stop;
}

/** A scene whose next visit to a2, which is declared, is stopped before its change begins. */
async function stoppedBeforeChange(app: Pretended, spec: Readonly<Record<string, unknown>> = {}): Promise<Scene> {
  const stop = new AbortController();
  const scene = await createScene(major, {
    history: threeSteps,
    ports: (ports) => stopAt('change', stop)(app.ports(ports)),
  });
  await scene.goTo('a1');
  await scene.declare({ revision: 'a2', ...spec });
  await reconcile(await scene.target(), scene.ports, { kind: 'reconcile' }, stop.signal);
  return scene;
}

/** Tells the controller to stop as soon as this step of the operation to a2 is journalled. */
function stopAt(step: string, stop: AbortController): (ports: Ports) => Ports {
  return (ports) => ({
    ...ports,
    home: {
      ...ports.home,
      saveStatus: async (key, status, before) => {
        await ports.home.saveStatus(key, status, before);
        const operation = status.operation as { step?: string; plan?: { desired: readonly string[] } } | null;
        if (operation?.step === step && operation.plan?.desired[0] === 'a2') stop.abort();
      },
    },
  });
}

describe('a stopped application', () => {
  test('is started again by who is told to stop while it is stopped', async () => {
    const app = pretended();
    await using scene = await createScene(major, { history: threeSteps, ports: app.ports });
    await interrupted(scene, app);
    expect(app.did).toEqual(['stop', 'start']);
    expect(await scene.version()).toBe('a1');
  });

  test('is started again by who is told to stop before the change began', async () => {
    const app = pretended();
    await using scene = await stoppedBeforeChange(app, { application });
    expect(app.did).toEqual(['stop', 'start']);
    expect(await scene.version()).toBe('a1');
    expect(said((await scene.reconcile()).outcome)).toMatch(/^ready Upgraded/);
  });

  test('that can’t be started is tried again by itself, before the change and after it', async () => {
    const app = pretended();
    await using scene = await createScene(major, { history: threeSteps, ports: app.ports });
    await scene.goTo('a1');
    await scene.declare({ revision: 'a2', application });
    app.on.stop = () => Promise.reject(retry('DockerUnreachable', 'The engine went away.'));
    app.on.start = () => Promise.reject(taken());
    expect(await scene.reconcile()).toMatchObject({ again: true, outcome: { kind: 'retrying' } });
    delete app.on.stop;
    // It is started first, so nothing is gone on with.
    expect(said((await scene.reconcile()).outcome)).toMatch(
      /^retrying .*could not be started again.*already allocated/,
    );
    delete app.on.start;
    let fails = false;
    app.on.stop = async () => void (fails = true);
    app.on.start = () => (fails ? Promise.reject(taken()) : Promise.resolve([]));
    expect(await scene.reconcile()).toMatchObject({ again: true, outcome: { kind: 'retrying' } });
    expect(await scene.version()).toBe('a2');
    delete app.on.start;
    expect(said((await scene.reconcile()).outcome)).toMatch(/^ready Upgraded/);
  });

  test('that was removed meanwhile holds nothing up, and is told', async () => {
    const app = pretended();
    await using scene = await createScene(major, { history: threeSteps, ports: app.ports });
    await scene.goTo('a1');
    app.on.start = () => Promise.resolve(['app']);
    expect(said((await scene.goTo('a2', { application })).outcome)).toMatch(
      /^stalled ApplicationUnhealthy: .*upgraded from a1 to a2 and verified.*app is there no more/,
    );
    expect((await scene.status()).operation).toBeNull();
  });

  test('that others have changed meanwhile is told, however it is started again', async () => {
    const app = pretended();
    await using scene = await createScene(major, { history: threeSteps, ports: app.ports });
    await scene.goTo('a1');
    app.on.found = ['The application was scaled to 2 by somebody.'];
    await scene.goTo('a2', { application });
    expect((await scene.status()).history[0]?.message).toContain(app.on.found[0]);
    // Before the change began, by the operation itself, and by the next start.
    const told = { kind: 'note', level: 'warn', message: 'The application was scaled to 3 by somebody.' };
    app.on.found = [told.message];
    app.on.stop = () => Promise.reject(retry('DockerUnreachable', 'The engine went away.'));
    await scene.goTo('a3', { application });
    expect(scene.observed).toContainEqual(told);
    app.on.found = ['The application was scaled to 4 by somebody.'];
    app.on.start = () => Promise.reject(taken());
    await scene.reconcile();
    delete app.on.start;
    await scene.reconcile();
    expect(scene.observed).toContainEqual({ ...told, message: app.on.found[0] });
  });

  test('that vanishes while it is asked how it is ends its operation all the same', async () => {
    const app = pretended();
    await using scene = await createScene(major, { history: threeSteps, ports: app.ports });
    await scene.goTo('a1');
    app.on.health = () => Promise.reject(gone());
    const healthCheck = { url: 'http://127.0.0.1:1/', timeout: '1s' };
    const { outcome } = await scene.goTo('a2', { application: { ...application, healthCheck } });
    expect(said(outcome)).toMatch(/^stalled ApplicationUnhealthy/);
    expect((await scene.status()).operation).toBeNull();
  });

  test('is started though what is declared by now is not supported', async () => {
    const app = pretended();
    await using scene = await createScene(major, { history: threeSteps, ports: app.ports });
    app.on.start = () => Promise.reject(taken());
    await interrupted(scene, app);
    delete app.on.start;
    await scene.declare({ application: { workloads: [{ kind: 'Deployment', name: 'app' }] } });
    expect(said((await scene.reconcile()).outcome)).toMatch(/^stalled NotSupported/);
    expect(app.did).toEqual(['stop', 'start', 'start']);
    expect((await scene.status()).operation).toBeNull();
  });

  test.each([
    ['though it wrote meanwhile', true],
    ['and nobody wrote', false],
  ])('is started again where the migrations are others by then, %s', async (_, writes) => {
    const app = pretended();
    const policy = { rehearsal: 'Always', dataLoss: 'Allow' };
    await using scene = await createScene(major, { history: threeSteps, spec: { policy }, ports: app.ports });
    await scene.goTo('a1');
    app.on.stop = async () => {
      await editA2(scene);
      if (writes) await scene.query("INSERT INTO users (id, name) VALUES (5000, 'late')");
    };
    expect(said((await scene.goTo('a2', { application })).outcome)).toMatch(/^retrying MigrationsChanged/);
    expect(app.did).toEqual(['stop', 'start']);
    expect(await scene.version()).toBe('a1');
  });
});

test('a change that was planned and tried with other migrations is not begun by the next start', async () => {
  await using scene = await stoppedBeforeChange(pretended());
  await editA2(scene);
  expect(said((await scene.reconcile()).outcome)).toMatch(/^stalled MigrationsChanged: .*not begun/);
  expect(await scene.version()).toBe('a1');
});

test('a journal that knows no application is gone on with', async () => {
  await using scene = await stoppedBeforeChange(pretended());
  const status = await scene.status();
  const { application: _, ...old } = status.operation as unknown as Record<string, unknown>;
  const key = { namespace: 'default', name: 'unicorn' };
  await scene.ports.home.saveStatus(key, { ...status, operation: old as unknown as TargetStatus['operation'] }, status);
  expect(said((await scene.reconcile()).outcome)).toMatch(/^ready Upgraded/);
});

describe('an unhealthy application', () => {
  let code = 500;
  const server = createServer((_, response) => void response.writeHead(code).end());
  let declared: Readonly<Record<string, unknown>> = {};
  beforeAll(async () => {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    declared = { application: { healthCheck: { url: `http://127.0.0.1:${port}/`, timeout: '1s' } } };
  });
  afterAll(() => void server.close());

  const ready = ({ conditions }: TargetStatus): string => {
    const found = conditions.find(({ type }) => type === 'Ready');
    return `${found?.status} ${found?.reason}`;
  };

  test('keeps its target from being Ready, through reads and backups, and has no status written at each read', async () => {
    code = 500;
    await using scene = await createScene(major, { history: threeSteps, spec: declared });
    expect(ready((await scene.goTo('a2')).status)).toBe('False ApplicationUnhealthy');
    const backedUp = await scene.reconcile({ kind: 'backup', reason: 'Requested' });
    expect(ready(backedUp.status)).toBe('False ApplicationUnhealthy');
    const { status: before } = await scene.reconcile();
    expect((await scene.reconcile()).status).toEqual(before);
    code = 200;
    expect(ready((await scene.reconcile()).status)).toBe('True InSync');
  });

  test('says nothing of a restore: one that was declared is Ready once it is well, one that was asked for is told as such', async () => {
    code = 200;
    await using scene = await createScene(major, { history: threeSteps, spec: declared });
    await scene.goTo('a1');
    const { status } = await scene.reconcile({ kind: 'backup', reason: 'Requested' });
    const backup = status.lastBackup?.id ?? '';
    code = 500;
    expect(ready((await scene.goTo('a1', { restoreFrom: { backup } })).status)).toBe('False ApplicationUnhealthy');
    code = 200;
    expect(ready((await scene.reconcile()).status)).toBe('True InSync');
    await scene.goTo('a2', { restoreFrom: undefined });
    code = 500;
    await scene.reconcile({ kind: 'restore', backup });
    expect(said((await scene.reconcile()).outcome)).toMatch(/as was asked for, and verified; a2 is declared/);
  });
});

async function editA2(scene: Scene): Promise<void> {
  const file = join(scene.project.versionsDir, '0002_a2.py');
  await writeFile(file, (await readFile(file, 'utf8')).replaceAll('@example.org', '@never-tried'));
}
