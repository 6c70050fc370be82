/** examples/docker-host as it stands there, its images built by our Dockerfiles, on a real engine. */
import { randomBytes } from 'node:crypto';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { ContainerInspectInfo } from 'dockerode';
import { stringify } from 'yaml';

import { ensureDockerCompose } from '../../scripts/lib/docker-compose.ts';
import { run, runOrThrow, type Ran } from '../../scripts/lib/run.ts';
import { testEngine } from '../support/docker.ts';
import { importMachine, importNode } from '../support/images.ts';
import { testServer } from '../support/postgres.ts';
import { fromTestBed } from '../support/testbed.ts';

const engine = await testEngine();
const root = join(import.meta.dirname, '../..');
const newest = '5e2a9c41d7b0';
/** Lacks an index: nothing is lost, and the application works with it. */
const before = 'c83f0b6d19e4';
/** Lacks a column, and the application can't do without it. */
const older = '7b05e9d4f261';

interface Plan {
  readonly digest: string;
}

/** Of a target as the command shows it. */
interface Shown {
  readonly spec: { readonly revision: string };
  readonly status: {
    readonly currentRevision: string | null;
    readonly conditions: readonly { readonly type: string; readonly status: string; readonly reason: string }[];
    readonly plan: Plan | null;
  };
}

(engine === null ? describe.skip : describe)('the Docker host of the example', () => {
  const id = randomBytes(4).toString('hex');
  const images = ['machine', 'node', 'ops-center', 'controller'] as const;
  const image = (name: (typeof images)[number]): string => `migration-target-test-${name}:${id}`;
  let dir: string;
  let env: NodeJS.ProcessEnv;
  let program: readonly string[];

  const compose = async (...args: string[]): Promise<Ran> => {
    const [command = '', ...first] = program;
    const project = ['--file', 'compose.yaml', '--file', 'test.yaml', '--project-name', `mt${id}`];
    return run(command, [...first, ...project, ...args], { cwd: dir, env });
  };
  const composed = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await compose(...args);
    if (code === 0) return stdout;
    const { stdout: log } = await compose('logs', '--no-color', '--tail', '20');
    throw new Error(`compose ${args.join(' ')} ended with ${code}: ${stderr}\n${stdout}\n${log}`);
  };
  /** -T: a test has no terminal. */
  const inController = (...command: string[]): Promise<Ran> => compose('exec', '-T', 'controller', ...command);
  const targetStatus = async (): Promise<{
    readonly reason: string | undefined;
    readonly stalled: string | undefined;
    readonly plan: Plan | null;
  }> => {
    const said = await composed('exec', '-T', 'controller', 'migration-target', '-o', 'json', 'status', 'unicorn-db');
    const { spec, status } = JSON.parse(said) as Shown;
    const isDone = status.currentRevision === spec.revision;
    const is = (wanted: string): string | undefined =>
      status.conditions.find(({ type, status: value }) => type === wanted && value === 'True')?.reason;
    return { reason: isDone ? is('Ready') : undefined, stalled: isDone ? is('Stalled') : undefined, plan: status.plan };
  };
  const inspect = async (name: string): Promise<ContainerInspectInfo> => {
    const found = (await composed('ps', '--quiet', name)).trim();
    if (engine === null || found === '') throw new Error(`no container of ${name}`);
    return engine.docker.getContainer(found).inspect();
  };
  const page = async (path: string, body?: object): Promise<Response> => {
    const { NetworkSettings } = await inspect('ops-center');
    const address = Object.values(NetworkSettings.Networks)[0]?.IPAddress;
    const options = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) };
    return fetch(`http://${address}:8084${path}`, options);
  };
  const edit = async (file: string, change: (text: string) => string): Promise<void> => {
    const path = join(dir, file);
    const text = await readFile(path, 'utf8');
    const changed = change(text);
    if (changed === text) throw new Error(`${file} does not have what is to be edited`);
    await writeFile(path, changed);
  };
  const declare = (revision: string): Promise<void> =>
    edit('targets/unicorn-db.yaml', (text) => text.replace(/revision: '\w+'/, `revision: '${revision}'`));
  const until = async (what: string, holds: () => Promise<boolean>): Promise<void> => {
    const deadline = Date.now() + 300_000;
    while (!(await holds())) {
      if (Date.now() > deadline) throw new Error(`not within five minutes: ${what}`);
      await delay(100);
    }
  };
  const untilHealth = (name: string, health: string): Promise<void> =>
    until(`${name} is ${health}`, async () => (await inspect(name)).State.Health?.Status === health);

  beforeAll(async () => {
    if (engine === null) return;
    program = await ensureDockerCompose();
    dir = await mkdtemp(join(tmpdir(), 'mt-docker-host-'));
    await cp(join(root, 'examples/docker-host'), dir, { recursive: true });
    // Containers of these names belong to other tests.
    for (const file of ['compose.yaml', 'prepare', 'targets/unicorn-db.yaml'])
      await edit(file, (text) => text.replaceAll(/ops-center-direct|unicorn-postgresql/g, `$&-${id}`));
    const { docker, socketPath } = engine;
    const machine = { venv: await fromTestBed('venv', 'test'), binDir: (await testServer(16)).binDir };
    await Promise.all([importNode(docker, image('node')), importMachine(docker, image('machine'), machine)]);
    env = {
      ...process.env,
      DOCKER_HOST: `unix://${socketPath}`,
      DOCKER_SOCKET: socketPath,
      // The engine builds by itself: it has neither BuildKit's plugin nor a registry.
      DOCKER_BUILDKIT: '0',
      COMPOSE_DOCKER_CLI_BUILD: '0',
      MIGRATION_TARGET_IMAGE: image('controller'),
      OPS_CENTER_IMAGE: image('ops-center'),
      OPS_CENTER_PORT: '0',
      POSTGRES_IMAGE: image('machine'),
    };
    const build = (context: string, args: Record<string, string>) => ({ build: { context, args, network: 'host' } });
    const services = {
      controller: build(root, { BUILD_IMAGE: image('machine'), RUNTIME_IMAGE: image('node') }),
      'ops-center': build(join(dir, 'ops-center'), { PYTHON_IMAGE: image('machine') }),
    };
    await writeFile(join(dir, 'test.yaml'), stringify({ services }));
    await runOrThrow('sh', ['prepare'], { cwd: dir, env });
    await composed('build', 'ops-center', 'controller');
  }, 900_000);
  afterAll(async () => {
    if (engine === null) return;
    await composed('down', '--volumes');
    for (const one of images) await engine.docker.getImage(image(one)).remove({ force: true });
    await rm(dir, { recursive: true, force: true });
  });

  test('comes up, and goes back by an edit of one line: nobody types another command', async () => {
    await composed('up', '--detach', '--no-build');
    await composed('exec', '-T', 'controller', 'migration-target', 'wait', '--for', 'Ready', '--revision', newest);
    await untilHealth('controller', 'healthy');
    await untilHealth('ops-center', 'healthy');

    await declare(before);
    await composed('exec', '-T', 'controller', 'migration-target', 'wait', '--for', 'Ready', '--revision', before);
    expect(await (await page('/api/v1/system/status')).json()).toMatchObject({ status: 'ok', revision: before });
    // In the volume, since nothing else can be written to.
    const { code, stdout } = await inController('env', 'node', '-p', 'fs.readdirSync("/var/backups/database").join()');
    expect({ code, stdout }).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('default.unicorn-db-') as unknown,
    });
    const backups = await composed('exec', '-T', 'controller', 'migration-target', 'backups', 'unicorn-db');
    expect(backups).toMatch(new RegExp(`${newest}.*BeforeChange`));
  }, 600_000);

  test('waits for an approval where something would be lost, and takes it from the same container', async () => {
    expect((await page('/api/v1/incidents', { site: 'north', title: 'door open', severity: 'high' })).status).toBe(201);
    await edit('targets/unicorn-db.yaml', (text) => text.replace('timeout: 60s', 'timeout: 5s'));
    await declare(older);
    const waited = await inController('migration-target', 'wait', '--for', 'Ready', '--revision', older);
    expect(waited).toMatchObject({ code: 3 });
    expect((await page('/api/v1/system/status')).status).toBe(200);
    const { plan } = await targetStatus();
    expect(plan).not.toBeNull();
    const approval = ['approve', 'unicorn-db', '--plan', plan?.digest ?? ''];
    await composed('exec', '-T', 'controller', 'migration-target', ...approval);
    // Its code needs the column: it says so, and nothing of the database is undone.
    await until(
      `ops-center is told to be unhealthy`,
      async () => (await targetStatus()).stalled === 'ApplicationUnhealthy',
    );
    const answer = await page('/api/v1/system/status');
    expect([answer.status, await answer.json()]).toEqual([503, expect.objectContaining({ revision: older })]);
    await untilHealth('ops-center', 'unhealthy');
  }, 600_000);

  test('runs the controller with no right but that of the socket, and ends it when it is told to', async () => {
    const { Config, HostConfig } = await inspect('controller');
    expect(Config.User).toBe('10001:10001');
    expect(HostConfig).toMatchObject({
      ReadonlyRootfs: true,
      CapDrop: ['ALL'],
      SecurityOpt: ['no-new-privileges:true'],
    });
    expect(await inController('sh', '-c', 'true')).not.toMatchObject({ code: 0 });
    const { stderr } = await inController('node', '-e', 'fs.writeFileSync("/opt/migration-target/dist/main.js", "")');
    expect(stderr).toMatch(/EROFS|EACCES/);
    const { Id } = await inspect('controller');
    await composed('stop', 'controller');
    expect((await engine?.docker.getContainer(Id).inspect())?.State.ExitCode).toBe(0);
  });
});
