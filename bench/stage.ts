/** The sample application on a PostgreSQL of its own: empty tables, at the newest revision but for what a bench does. */
import { randomBytes } from 'node:crypto';
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { stringify } from 'yaml';
import { postgresBinaries, startPostgres } from '../scripts/lib/embedded-postgres.ts';
import { ensureVenv } from '../scripts/lib/python.ts';
import { runOrThrow } from '../scripts/lib/run.ts';

export const root = join(import.meta.dirname, '..');
const unicorn = join(root, 'examples/unicorn');
export const progress = (message: string): void => void process.stderr.write(`${message}\n`);

export interface Stage extends AsyncDisposable {
  /** What is measured: `bin/migration-target`, of the built program unless it was the sources' that was asked for. */
  readonly program: string;
  /** A folder for whatever a bench writes; removed at the end. */
  readonly dir: string;
  readonly binDir: string;
  readonly python: string;
  readonly url: string;
  /** The superuser, on the maintenance database. */
  readonly adminUrl: string;
  /** Where the server's files are. */
  readonly dataDir: string;
  readonly env: Readonly<Record<string, string>>;
  readonly unicorn: string;
  /** The program, without npx. */
  migrationTarget(...args: readonly string[]): Promise<string>;
  alembic(...args: readonly string[]): Promise<string>;
  /** Makes copies of the database, or of another, each as its owner sees it. */
  copies(count: number, of?: string): Promise<readonly string[]>;
  /** Runs statements, as the owner, on another copy of the database, which is made for it. */
  sql(text: string, copy: string): Promise<void>;
  /** A directory home with the target declared; returns its folder. */
  home(name: string, revision: string): Promise<string>;
  /** The declaration, as an object. */
  document(name: string, revision: string, backups: string): Record<string, unknown>;
}

export const targetName = 'unicorn-db';
/** The sample application's newest revision, and the one before it, to which its `downgrade()` leads. */
export const newest = '4f1c2d9ab0e7';
export const older = '17ce94a8b5d0';

/** With settings as a server has them that is used in earnest: it flushes to the disk. */
export async function setStage({ sources }: { readonly sources: boolean }): Promise<Stage> {
  const dir = await mkdtemp(join(tmpdir(), 'migration-target-bench-'));
  const program = join(sources ? root : await buildPackage(join(dir, 'package')), 'bin/migration-target');
  const requirements = join(root, 'scripts/requirements/test.txt');
  const venv = await ensureVenv({ name: 'test', requirements, onProgress: progress });
  const binDir = await postgresBinaries(16, venv, progress);
  const server = await startPostgres({ major: 16, binDir });
  const password = randomBytes(12).toString('hex');
  await sql(server.superuserUrl, `CREATE ROLE unicorn LOGIN CREATEDB PASSWORD '${password}'`);
  await sql(server.superuserUrl, 'CREATE DATABASE unicorn_db OWNER unicorn');
  const url = server.url('unicorn_db', 'unicorn', password);
  const env = {
    PATH: `${binDir}:${process.env['PATH'] ?? ''}`,
    HOME: process.env['HOME'] ?? '/',
    DATABASE_URL: url,
    MIGRATION_TARGET_PG_BIN: binDir,
    MIGRATION_TARGET_GRAPHS: join(dir, 'graphs'),
    PYTHONDONTWRITEBYTECODE: '1',
  };
  const document: Stage['document'] = (name, revision, backups) => ({
    apiVersion: 'migrationtarget.dev/v1alpha1',
    kind: 'MigrationTarget',
    metadata: { name },
    spec: {
      revision,
      database: { urlFrom: { secretKeyRef: { name, key: 'url' } } },
      alembic: {
        workingDir: unicorn,
        python: venv.python,
        databaseUrl: { env: 'DATABASE_URL', driver: 'postgresql+psycopg' },
      },
      runtime: { process: {} },
      backup: { storage: { directory: { path: backups } } },
      policy: { rehearsal: 'Never', dataLoss: 'Allow' },
    },
  });
  const alembic: Stage['alembic'] = async (...args) =>
    (await runOrThrow(venv.python, ['-m', 'alembic', ...args], { cwd: unicorn, env })).stdout;
  await alembic('upgrade', newest);
  return {
    dir,
    program,
    adminUrl: server.superuserUrl,
    dataDir: server.dataDir,
    binDir,
    python: venv.python,
    url,
    env,
    unicorn,
    document,
    alembic,
    migrationTarget: async (...args) => (await runOrThrow(process.execPath, [program, ...args], { env })).stdout,
    async copies(count, of = 'unicorn_db') {
      const names = Array.from({ length: count }, (_, index) => `${of}_${index}`);
      for (const name of names) await sql(server.superuserUrl, `CREATE DATABASE ${name} OWNER unicorn TEMPLATE ${of}`);
      return names.map((name) => server.url(name, 'unicorn', password));
    },
    async sql(text, copy) {
      await sql(server.superuserUrl, `CREATE DATABASE ${copy} OWNER unicorn TEMPLATE unicorn_db`);
      await sql(server.url(copy, 'unicorn', password), text);
    },
    async home(name, revision) {
      const home = join(dir, name);
      await mkdir(join(home, 'secrets', targetName), { recursive: true });
      await mkdir(join(home, 'targets'), { recursive: true });
      await writeFile(join(home, 'secrets', targetName, 'url'), url, { mode: 0o600 });
      const file = join(home, 'targets', `${targetName}.yaml`);
      await writeFile(file, stringify(document(targetName, revision, join(home, 'backups'))));
      return home;
    },
    async [Symbol.asyncDispose]() {
      await server.stop();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** The program as npm and the image install it; returns its folder. */
async function buildPackage(folder: string): Promise<string> {
  progress('building the program');
  await runOrThrow(process.execPath, [join(root, 'scripts/build.ts'), join(folder, 'dist')]);
  for (const part of ['bin', 'package.json']) await cp(join(root, part), join(folder, part), { recursive: true });
  return folder;
}

async function sql(url: string, text: string): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(text);
  } finally {
    await client.end();
  }
}
