/** What npm publishes, unpacked into a folder of its own: no sources, and no libraries beside it. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../../scripts/lib/free-port.ts';
import { run, runOrThrow } from '../../../scripts/lib/run.ts';
import { createScene, said, threeSteps } from '../../support/scene.ts';

const root = join(import.meta.dirname, '../../..');
let place: string;
let installed: string;

beforeAll(async () => {
  place = await mkdtemp(join(tmpdir(), 'migration-target-build-'));
  installed = join(place, 'package');
  await runOrThrow('npm', ['pack', '--pack-destination', place], { cwd: root });
  const archive = (await readdir(place)).find((name) => name.endsWith('.tgz')) ?? '';
  await runOrThrow('tar', ['-xzf', join(place, archive), '-C', place]);
});
afterAll(() => rm(place, { recursive: true, force: true }));

const nowhere = (port: number): string => `
apiVersion: v1
kind: Config
clusters: [{ name: nowhere, cluster: { server: 'https://127.0.0.1:${port}' } }]
users: [{ name: nobody, user: {} }]
contexts: [{ name: nowhere, context: { cluster: nowhere, user: nobody } }]
current-context: nowhere
`;

const contained = `
apiVersion: migrationtarget.dev/v1alpha1
kind: MigrationTarget
metadata: { name: contained }
spec:
  revision: abc
  database: { urlFrom: { secretKeyRef: { name: contained, key: url } } }
  alembic: { workingDir: /app }
  runtime: { docker: { container: app, databaseContainer: db } }
  backup: { storage: { directory: { path: /backups } } }
`;

const migrationTarget = (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
  run(process.execPath, [join(installed, 'bin/migration-target'), ...args], {
    env: { ...process.env, NODE_OPTIONS: '', MIGRATION_TARGET_CACHE: join(place, 'cache'), ...env },
  });

/** Files below a folder whose names end so, as relative paths. */
async function list(folder: string, ending: string): Promise<readonly string[]> {
  const found = await readdir(folder, { recursive: true });
  return found.filter((name) => name.endsWith(ending)).toSorted();
}

test('it needs no other package, and knows its version', async () => {
  const { dependencies, version } = JSON.parse(await readFile(join(installed, 'package.json'), 'utf8')) as {
    readonly dependencies?: unknown;
    readonly version: string;
  };
  expect(dependencies).toBeUndefined();
  expect(await migrationTarget(['--version'])).toMatchObject({ code: 0, stdout: `${version}\n`, stderr: '' });
});

test('beside the program lies what it reads as it runs, and nothing that it was made of', async () => {
  const python = await list(join(root, 'src'), '.py');
  expect(python.length).toBeGreaterThan(0);
  expect(await list(join(installed, 'dist'), '.py')).toEqual(python);
  expect(await list(join(installed, 'dist'), '.ts')).toEqual([]);
});

test('it takes a database to another revision, driver, tools and all', async () => {
  await using scene = await createScene(16, { history: threeSteps });
  expect(said((await scene.goTo('a3')).outcome)).toMatch(/^ready Upgraded/);
  await scene.declare({ revision: 'a2' });
  const env = { MIGRATION_TARGET_PG_BIN: scene.database.server.binDir };

  expect(await migrationTarget(['--dir', scene.dir, 'plan', 'unicorn'], env)).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/↓ down +a3/),
  });
  expect(await migrationTarget(['--dir', scene.dir, 'apply', 'unicorn', '--yes'], env)).toMatchObject({ code: 0 });
  expect(await scene.version()).toBe('a2');
});

test('what is loaded only where it is needed is there: the Kubernetes client and the Docker client', async () => {
  const kubeconfig = join(place, 'kubeconfig');
  const port = await freePort();
  await writeFile(kubeconfig, nowhere(port));
  const { stderr: cluster } = await migrationTarget(['--kubeconfig', kubeconfig, 'status']);
  expect(cluster).toMatch(new RegExp(`HomeUnavailable\\n.*127\\.0\\.0\\.1:${port} does not answer`));

  const home = join(place, 'home');
  await mkdir(join(home, 'targets'), { recursive: true });
  await mkdir(join(home, 'secrets/contained'), { recursive: true });
  await writeFile(join(home, 'targets/contained.yaml'), contained);
  await writeFile(join(home, 'secrets/contained/url'), 'postgresql://a:b@localhost/c');
  const { stderr: docker } = await migrationTarget(['--dir', home, 'plan', 'contained'], {
    DOCKER_HOST: `tcp://127.0.0.1:${port}`,
  });
  expect(docker).toMatch(new RegExp(`^✗ DockerUnreachable contained\\n.*127\\.0\\.0\\.1:${port} does not answer`));
});

test('of the Kubernetes client it holds what is used, and not the models of every API', async () => {
  const files = await list(join(installed, 'dist'), '.js');
  const texts = await Promise.all(files.map((file) => readFile(join(installed, 'dist', file), 'utf8')));
  expect(texts.some((text) => text.includes('KubeConfig = class'))).toBe(true);
  expect(texts.some((text) => text.includes('V1Deployment = class'))).toBe(false);
});

test('it carries the licence of every library that it holds', async () => {
  const notices = await readFile(join(installed, 'dist/THIRD-PARTY-NOTICES.txt'), 'utf8');
  const { devDependencies } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as {
    readonly devDependencies: Readonly<Record<string, string>>;
  };
  for (const library of ['@kubernetes/client-node', 'dockerode', 'pg', 'pino', 'prom-client', 'yaml', 'zod']) {
    expect(notices).toContain(`${library} ${devDependencies[library]} (`);
  }
  expect(notices).toContain('Permission is hereby granted, free of charge');
  // Needed to build, and in nothing that is built.
  expect(notices).not.toContain('esbuild');
});
