import { spawnSync } from 'node:child_process';
import { chmod, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

import type { Outcome } from '../../src/api/conditions.ts';
import { dockerScene, inContainer, testEngine, type DatabaseContainer, type DockerScene } from '../support/docker.ts';
import { startDockerProxy } from '../support/docker-proxy.ts';
import { containedScene, type ContainedOptions, type ContainedScene } from '../support/docker-scene.ts';
import { said, threeSteps } from '../support/scene.ts';

const engine = await testEngine();
const head = '/usr/bin/sleep';

(engine === null ? describe.skip : describe)('on a Docker host, where something is wrong', () => {
  let docker: DockerScene;
  let server: DatabaseContainer;

  beforeAll(async () => {
    if (engine === null) return;
    docker = await dockerScene(engine);
    server = await docker.database();
  });
  afterAll(async () => docker[Symbol.asyncDispose]());

  /** At a2, without the procedure: what is wrong comes afterwards. */
  async function sceneAtA2(options: Partial<ContainedOptions> = {}): Promise<ContainedScene> {
    const scene = await containedScene(docker, { history: threeSteps, server, ...options });
    const python = 'python3';
    const set = await inContainer(scene.application, [python, '-m', 'alembic', 'upgrade', 'a2']);
    if (set.code !== 0) throw new Error(set.output);
    return scene;
  }
  /** Whatever is refused, the database is as it was. */
  async function refused(scene: ContainedScene, work: () => Promise<{ readonly outcome: Outcome }>): Promise<string> {
    const before = await scene.checksum();
    const { outcome } = await work();
    expect(await scene.checksum()).toBe(before);
    expect(await scene.version()).toBe('a2');
    return said(outcome);
  }
  const runtime = (container: string, databaseContainer = server.name) => ({
    runtime: { docker: { container, databaseContainer } },
  });

  test('a container that is not there, of the application or of the database, is named with the way to see those that are', async () => {
    await using scene = await sceneAtA2();
    expect(await refused(scene, () => scene.goTo('a1', runtime('ops-centre')))).toMatch(
      /^stalled ContainerNotFound: The container "ops-centre" \(spec\.runtime\.docker\.container\).*docker ps --all/,
    );
    expect(await refused(scene, () => scene.goTo('a1', runtime(scene.name, 'postgres-of-another')))).toMatch(
      /^stalled ContainerNotFound: The container "postgres-of-another" \(spec\.runtime\.docker\.databaseContainer\)/,
    );
  });

  test('a name with characters of a shell is no name of a container', async () => {
    await using scene = await sceneAtA2();
    await scene.declare(runtime('app;touch /tmp/pwned'));
    const declaration = await scene.ports.home.get({ namespace: 'default', name: 'unicorn' });
    expect(declaration).toMatchObject({
      kind: 'invalid',
      problem: expect.stringContaining('write the name of a container as docker ps shows it') as unknown,
    });
  });

  test('a paused application is not gone around', async () => {
    await using scene = await sceneAtA2();
    await scene.application.pause();
    try {
      expect(await refused(scene, () => scene.goTo('a1'))).toMatch(
        new RegExp(`^stalled ContainerNotRunning: The container ${scene.name} is paused.*docker unpause ${scene.name}`),
      );
    } finally {
      await scene.application.unpause();
    }
  });

  test('an application that restarts in a loop is left alone: alembic runs in a container made like it', async () => {
    await using scene = await containedScene(docker, {
      history: threeSteps,
      server,
      application: { command: ['python3', '-c', 'raise SystemExit(1)'], host: { RestartPolicy: { Name: 'always' } } },
    });
    await untilRestarted(scene);
    expect(said((await scene.goTo('a2')).outcome)).toMatch(/^ready Upgraded/);
    expect(await scene.version()).toBe('a2');
  });

  test('a container without Python, and one whose Python has no alembic, say so and where', async () => {
    await using scene = await sceneAtA2();
    const bare = docker.name('bare');
    const dir = `${scene.dir}/app`;
    await docker.application({ name: bare, dir, path: '/opt/nothing', command: [head, '1000'] });
    expect(await refused(scene, () => scene.goTo('a1', runtime(bare)))).toMatch(
      new RegExp(
        `^stalled PythonNotFound: The interpreter python3 in the container ${bare} could not be started.*spec\\.alembic\\.python`,
      ),
    );
    await docker.engine.docker.getContainer(bare).stop({ t: 0 });
    expect(await refused(scene, () => scene.goTo('a1', { ...runtime(bare), revision: 'a1', interval: '6m' }))).toMatch(
      new RegExp(
        `^stalled PythonNotFound: The interpreter python3 in a container made like ${bare}, which is exited could not be started`,
      ),
    );
    const plain = docker.name('plain');
    await docker.application({ name: plain, dir, path: '/usr/bin:/bin', command: [head, '1000'] });
    expect(await refused(scene, () => scene.goTo('a1', runtime(plain)))).toMatch(
      new RegExp(
        `^stalled AlembicNotFound: No module named 'alembic' .*in the container ${plain}.*docker exec --workdir /app ${plain} python3 -m pip install`,
      ),
    );
  });

  test('a container without the folder says so', async () => {
    await using scene = await sceneAtA2();
    expect(await refused(scene, () => scene.goTo('a1', { alembic: { workingDir: '/nowhere' } }))).toMatch(
      new RegExp(
        `^stalled AlembicConfigNotFound: The folder /nowhere in the container ${scene.name} can't be used.*spec\\.alembic\\.workingDir`,
      ),
    );
  });

  test('a file system that is read-only, and a user who is not root, are no hindrance', async () => {
    await using scene = await containedScene(docker, {
      history: threeSteps,
      server,
      application: { user: 'app', host: { ReadonlyRootfs: true } },
    });
    await chmod(scene.dir, 0o755);
    expect(said((await scene.goTo('a2')).outcome)).toMatch(/^ready Upgraded/);
    expect((await inContainer(scene.application, ['touch', '/tmp/x'])).code).not.toBe(0);
  });

  test('a container that runs out of memory in the middle of a downgrade is named as the cause; nothing was changed', async () => {
    const [first, second] = threeSteps.revisions;
    if (first === undefined || second === undefined) throw new Error('two revisions are needed');
    await using scene = await sceneAtA2({
      history: { revisions: [first, { ...second, downgrade: `${second.downgrade}\nx = b'x' * (1 << 30)` }] },
      application: { host: { Memory: 160 << 20, MemorySwap: 160 << 20 } },
    });
    const what = await refused(scene, () => scene.goTo('a1'));
    expect(what).toMatch(
      new RegExp(
        `^stalled DowngradeFailed: .*was killed by SIGKILL \\(the container ${scene.name} ran out of memory.*docker update --memory`,
        's',
      ),
    );
  });

  test('an application that is renamed in the middle is the same', async () => {
    await using scene = await sceneAtA2({ history: slowly('a2') });
    const going = scene.goTo('a1');
    await migrationStarted(scene);
    await scene.application.rename({ name: docker.name('renamed') });
    expect(said((await going).outcome)).toMatch(/^ready Downgraded/);
    expect(await scene.version()).toBe('a1');
  });

  test('an application that is stopped in the middle has changed nothing, and the next start goes on', async () => {
    await using scene = await sceneAtA2({ history: slowly('a2') });
    const what = await refused(scene, async () => {
      const going = scene.goTo('a1');
      await migrationStarted(scene);
      await scene.application.kill();
      return going;
    });
    expect(what).toMatch(new RegExp(`^stalled DowngradeFailed: .*the container ${scene.name} was stopped`, 's'));
  });

  test('a stream that is cut in the middle ends what ran over it, and nothing was changed', async () => {
    await using proxy = await startDockerProxy(docker.engine.socketPath);
    await using scene = await sceneAtA2({ history: slowly('a2'), engine: proxy.address });
    const what = await refused(scene, async () => {
      const going = scene.goTo('a1');
      await migrationStarted(scene);
      proxy.cut();
      return going;
    });
    expect(what).toMatch(/^stalled DowngradeFailed: .*Python was (killed|lost)/s);
    const left = await scene.query(
      `SELECT count(*)::int AS n FROM pg_stat_activity WHERE datname = '${scene.database.name}' AND query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()`,
    );
    expect(left).toEqual([{ n: 0 }]);
  });

  test('a dump whose stream is cut is no backup, and is tried again', async () => {
    await using proxy = await startDockerProxy(docker.engine.socketPath, { mostBytes: 200_000 });
    await using scene = await sceneAtA2({ engine: proxy.address });
    await scene.query(
      `CREATE TABLE noise AS SELECT md5(random()::text) FROM generate_series(1, 20000); ALTER TABLE noise OWNER TO ${scene.database.owner}`,
    );
    const what = await refused(scene, () => scene.goTo('a1'));
    expect(what).toMatch(/^retrying DockerUnreachable: The connection to the Docker Engine .* was cut/);
    const store = await scene.ports.backups.open(
      { directory: { path: scene.backups } },
      { namespace: 'default', name: 'unicorn' },
      scene.ports.home,
    );
    expect(await store.list()).toEqual({ backups: [], broken: [] });
    expect(await inContainer(server.container, ['sh', '-c', 'grep -l pg_dump /proc/[0-9]*/comm'])).toMatchObject({
      output: '',
    });
  });

  test('what hangs in a container is ended there when its time is over', async () => {
    await using scene = await sceneAtA2();
    await writeFile(join(scene.dir, 'app/migrations/versions/9999_hangs.py'), 'import time\ntime.sleep(1000)\n');
    const what = await refused(scene, () => scene.goTo('a1', { timeout: '5s' }));
    expect(what).toMatch(
      new RegExp(
        `^stalled TimedOut: Reading the migrations of /app did not finish in time: it was at migrations/versions/9999_hangs\\.py:2.*docker exec --workdir /app ${scene.name} alembic history`,
      ),
    );
    const { output } = await inContainer(scene.application, ['sh', '-c', 'cat /proc/[0-9]*/comm']);
    expect(output.match(/python3/g)).toHaveLength(1); // the application itself
  });

  test('what hangs and hears nothing any more is killed in the container', async () => {
    await using scene = await sceneAtA2();
    // The regular expression holds the interpreter's lock: no thread of Python's runs that could end it.
    const deaf = "import re\nre.match(r'(a+)+$', 'a' * 64 + 'b')\n";
    await writeFile(join(scene.dir, 'app/migrations/versions/9999_hangs.py'), deaf);
    const what = await refused(scene, () => scene.goTo('a1', { timeout: '5s' }));
    expect(what).toMatch(/^stalled TimedOut: Reading the migrations of \/app did not finish in time/);
    const { output } = await inContainer(scene.application, ['sh', '-c', 'cat /proc/[0-9]*/comm']);
    expect(output.match(/python3/g)).toHaveLength(1); // the application itself
  });

  test('a proxy before the engine that refuses is told apart from an engine that is not there', async () => {
    await using proxy = await startDockerProxy(docker.engine.socketPath, {
      refuse: /^POST \/containers\/\w+\/exec/,
    });
    await using refusing = await sceneAtA2({ engine: proxy.address });
    expect(await refused(refusing, () => refusing.goTo('a1'))).toMatch(
      /^stalled DockerForbidden: .*a proxy before it, refuses that \(403.*EXEC/s,
    );
    await using absent = await sceneAtA2({ engine: 'unix:///nowhere/docker.sock' });
    expect(await refused(absent, () => absent.goTo('a1'))).toMatch(
      /^retrying DockerUnreachable: .*unix:\/\/\/nowhere\/docker\.sock does not answer \(ENOENT\).*docker version/,
    );
  });

  test('a socket that the controller may not open is told with the right that is missing', async () => {
    await chmod(dirname(docker.engine.socketPath), 0o755);
    const script = `
      import { createDockerHost } from ${JSON.stringify(new URL('../../src/adapters/docker/index.ts', import.meta.url).href)};
      await createDockerHost(${JSON.stringify(`unix://${docker.engine.socketPath}`)}).server('x').catch((e) => console.log(e.kind, e.reason, e.message));`;
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      uid: 65_534,
      gid: 65_534,
      encoding: 'utf8',
      env: {},
    });
    expect(`${stdout}${stderr}`).toMatch(/^stalled DockerForbidden .*\(EACCES\).*usermod --append --groups docker/);
  });

  test('a database whose container is restarted in the middle is tried again, and then it goes through', async () => {
    await using scene = await sceneAtA2({ history: slowly('a2') });
    const going = scene.goTo('a1');
    await migrationStarted(scene);
    await server.container.restart({ t: 0 });
    const first = await going;
    expect(said(first.outcome)).toMatch(/^(retrying|stalled) (DatabaseUnreachable|ContainerNotRunning)/);
    await server.untilItAnswers();
    expect(await scene.version()).toBe('a2');
    expect(said((await scene.reconcile()).outcome)).toMatch(/^ready (Downgraded|InSync)/);
    expect(await scene.version()).toBe('a1');
  });

  test('a database whose container is stopped is waited for', async () => {
    await using scene = await sceneAtA2();
    await server.container.stop({ t: 5 });
    const { outcome } = await scene.goTo('a1');
    expect(said(outcome)).toMatch(
      new RegExp(
        `^retrying ContainerNotRunning: The database's container ${server.name} .* is exited.*docker start ${server.name}`,
      ),
    );
    await server.container.start();
    await server.untilItAnswers();
    expect(said((await scene.reconcile()).outcome)).toMatch(/^ready Downgraded/);
  });

  test('of two databases in one container only the declared one is changed', async () => {
    await using other = await sceneAtA2();
    const before = await other.checksum();
    await using scene = await sceneAtA2();
    await scene.goTo('base');
    expect(await scene.version()).toBe('');
    expect(await other.checksum()).toBe(before);
    expect(await other.version()).toBe('a2');
  });
});

/** A history whose way down from that revision takes a while. */
const slowly = (revision: string): ContainedOptions['history'] => ({
  revisions: threeSteps.revisions.map((each) =>
    each.id === revision ? { ...each, downgrade: `${each.downgrade}\nop.execute('SELECT pg_sleep(4)')` } : each,
  ),
});

/** Until the migration has begun, and what it does has been sent. */
async function migrationStarted(scene: ContainedScene): Promise<void> {
  for (;;) {
    const [row] = await scene.query(
      `SELECT count(*)::int AS n FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%pg_sleep%' AND state = 'active' AND pid <> pg_backend_pid()`,
    );
    if (row?.['n'] === 1) return;
  }
}

async function untilRestarted(scene: ContainedScene): Promise<void> {
  for (;;) {
    const { RestartCount } = await scene.application.inspect();
    if (RestartCount > 1) return;
  }
}
