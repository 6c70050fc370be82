/** The procedure on Podman, and what Podman tells otherwise than Docker; all the rest is tested with Docker. */
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { request, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type Docker from 'dockerode';

import { openEngine, type Engine } from '../../src/adapters/docker/engine.ts';
import { execLauncher, killByShell } from '../../src/adapters/docker/exec.ts';
import { oneOffLauncher } from '../../src/adapters/docker/one-off.ts';
import type { Ending, Launcher, Program } from '../../src/adapters/process/launcher.ts';
import { writeHistory } from '../support/alembic.ts';
import { dockerScene, testEngine, type DatabaseContainer, type DockerScene } from '../support/docker.ts';
import { containedScene, stateOf, whileMigrating } from '../support/docker-scene.ts';
import { said, threeSteps } from '../support/scene.ts';

const found = await testEngine('podman');
const policy = { rehearsal: 'Always', dataLoss: 'Allow' };
const idle = ['python3', '-c', 'import signal; signal.signal(signal.SIGTERM, lambda *_: exit(0)); signal.pause()'];

(found === null ? describe.skip : describe)('on Podman', () => {
  let podman: DockerScene;
  let server: DatabaseContainer;
  let docker: Docker;

  beforeAll(async () => {
    if (found === null) return;
    podman = await dockerScene(found);
    server = await podman.database();
    ({ docker } = found);
  });
  afterAll(async () => podman[Symbol.asyncDispose]());

  test('a database goes up and down, after a rehearsal on a copy that tells what would be lost', async () => {
    expect((await docker.version()).Components?.map(({ Name }) => Name)).toContain('Podman Engine');
    await using scene = await containedScene(podman, { history: threeSteps, server });
    expect(said((await scene.goTo('a3', { policy })).outcome)).toMatch(/^ready Upgraded/);
    expect(await scene.version()).toBe('a3');
    const asked = await scene.goTo('a1', { policy: { ...policy, dataLoss: 'RequireApproval' } });
    expect(said(asked.outcome)).toMatch(/^awaitingApproval/);
    expect(asked.status.plan?.loss?.rows).toBe(1000);
    expect(said((await scene.goTo('a1', { policy })).outcome)).toMatch(/^ready Downgraded/);
    expect(await scene.version()).toBe('a1');
    expect(await scene.query('SELECT count(*)::int AS n FROM users')).toEqual([{ n: 1000 }]);
  });

  test('the application is stopped and started again, its restart policy as it was; its health is waited for', async () => {
    await using scene = await containedScene(podman, {
      history: threeSteps,
      server,
      application: {
        command: idle,
        host: { RestartPolicy: { Name: 'always' } },
        more: { Healthcheck: { Test: ['CMD', 'true'], Interval: 3600e9 } },
      },
    });
    await scene.declare({ application: { workloads: [{ kind: 'Container', name: scene.name }] } });
    const running = whileMigrating(scene);
    const before = await stateOf(scene.application);
    let isOver = false;
    const going = scene.goTo('a3').finally(() => (isOver = true));
    for (let state = before; !isOver && (!state.Running || state.StartedAt === before.StartedAt);)
      state = await stateOf(scene.application);
    expect((await stateOf(scene.application)).Health?.Status).toBe('starting');
    // As its timer of systemd's does.
    expect(await ask(`/libpod/containers/${scene.name}/healthcheck`)).toContain('"healthy"');
    expect(said((await going).outcome)).toMatch(/^ready Upgraded/);
    expect(await running()).toEqual([false, false, false]);
    expect((await scene.application.inspect()).HostConfig.RestartPolicy?.Name).toBe('always');
    expect((await scene.target()).status?.conditions).toContainEqual(
      expect.objectContaining({
        type: 'ApplicationHealthy',
        status: 'True',
        message: expect.stringContaining(`The container ${scene.name} is healthy`) as unknown,
      }),
    );
  });

  test('with the older image deployed, and stopped, the recorded newer one leads back, in a container that is gone afterwards', async () => {
    const [older, newer] = [await imageWith(1), await imageWith(2)];
    await using scene = await containedScene(podman, {
      history: threeSteps,
      server,
      application: { image: newer, command: idle },
    });
    await scene.goTo('a1');
    expect(said((await scene.goTo('a2')).outcome)).toMatch(/^ready Upgraded/);
    await docker.getContainer(scene.name).remove({ force: true });
    const env = { DATABASE_URL: scene.database.url };
    const deployed = { name: scene.name, dir: scene.dir, env, image: older, command: idle };
    await (await podman.application(deployed)).stop({ t: 0 });
    const short = newer.replace('sha256:', '').slice(0, 12);
    expect(said((await scene.goTo('a1', { policy })).outcome)).toMatch(
      new RegExp(`^ready Downgraded: .*those of image ${short} are run, in a container of it, which led to a2`),
    );
    expect(await scene.version()).toBe('a1');
    const { Image, State } = await docker.getContainer(scene.name).inspect();
    expect({ Image, running: State.Running }).toEqual({ Image: older, running: false });
    expect(await oneOffs(scene.name)).toEqual([]);
  });

  describe('a program', () => {
    let engine: Engine;
    let container: Docker.Container;
    let dir: string;
    let name: string;
    let inside: Launcher;
    let aside: Launcher;

    beforeAll(async () => {
      engine = openEngine(`unix://${podman.engine.socketPath}`);
      name = podman.name('app');
      dir = await mkdtemp(join(tmpdir(), 'mt-podman-'));
      container = await podman.application({ name, dir, command: idle });
      const like = await container.inspect();
      inside = execLauncher(engine, { id: like.Id, name }, killByShell);
      aside = oneOffLauncher(engine, like);
    });
    afterAll(() => rm(dir, { recursive: true, force: true }));

    test('in a container made like another has what it is sent as its input, and nothing else, and its network', async () => {
      const child = await aside.launch(shell('cat; getent hosts "$0"', server.name));
      child.stdin.end('hello\n');
      const output = await text(child.stdout);
      expect(output).toMatch(new RegExp(`^hello\n198\\.[\\d.]+\\s+${server.name}`));
      expect(await child.ended).toMatchObject({ code: 0 });
    });

    test('in a container made like another is told by its own exit code, and the container is gone', async () => {
      expect(await endOf(aside, shell('exit 3'))).toMatchObject({ code: 3, lost: null });
      expect(await oneOffs(name)).toEqual([]);
    });

    test('that has ended before it is asked about did run', async () => {
      type Inspect = (this: Docker.Exec) => Promise<Docker.ExecInspectInfo>;
      const exec = Object.getPrototypeOf(engine.docker.getExec('')) as { inspect: Inspect };
      const { inspect } = exec;
      exec.inspect = async function lately() {
        for (;;) {
          const seen = await inspect.call(this);
          if (!seen.Running) return seen;
        }
      };
      try {
        expect(await endOf(inside, shell('exit 3'))).toMatchObject({ code: 3, lost: null });
      } finally {
        exec.inspect = inspect;
      }
    });

    test('that can’t be started, and a folder that is not there, are told apart', async () => {
      await expect(endOf(inside, { program: 'nothing', args: [], env: {}, cwd: '/tmp' })).rejects.toThrow(
        "the program can't be used: exit code 127",
      );
      await expect(endOf(inside, { ...shell('true'), cwd: '/nowhere' })).rejects.toThrow("the folder can't be used");
    });

    test('that was killed for want of memory is not told to have been stopped, as nobody tells why', async () => {
      const like = await container.inspect();
      const memory = 64 << 20;
      const small = oneOffLauncher(engine, {
        ...like,
        HostConfig: { ...like.HostConfig, Memory: memory, MemorySwap: memory },
      });
      const greedy = { program: 'python3', args: ['-c', "x = b'x' * (1 << 30)"], env: {} };
      expect(await endOf(small, greedy)).toMatchObject({ how: 'was killed by SIGKILL' });
    });

    test('whose container is stopped is told so', async () => {
      const child = await inside.launch(shell('sleep 1000'));
      await container.stop({ t: 0 });
      expect(await child.ended).toMatchObject({ how: `was killed by SIGKILL (the container ${name} was stopped)` });
    });
  });

  const oneOffs = (of: string) =>
    docker.listContainers({ all: true, filters: { label: [`dev.migrationtarget.one-off-of=${of}`] } });

  async function imageWith(revisions: number): Promise<string> {
    const dir = await mkdtemp(join(tmpdir(), 'mt-image-'));
    await writeHistory(dir, { ...threeSteps, revisions: threeSteps.revisions.slice(0, revisions) });
    const image = await podman.imageOf(dir);
    await rm(dir, { recursive: true });
    return image;
  }

  async function ask(path: string): Promise<string> {
    const asked = request({ socketPath: podman.engine.socketPath, path: `/v4.0.0${path}` }).end();
    const [answer] = (await once(asked, 'response')) as [IncomingMessage];
    return text(answer);
  }
});

const shell = (script: string, ...args: string[]): Program => ({
  program: 'sh',
  args: ['-c', script, ...args],
  env: {},
});

async function endOf(launcher: Launcher, program: Program): Promise<Ending> {
  const child = await launcher.launch(program);
  child.stdin.end();
  child.stdout.resume();
  child.stderr.resume();
  return child.ended;
}
