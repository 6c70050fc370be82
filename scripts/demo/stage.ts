import { randomBytes } from 'node:crypto';
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';

import { Client } from 'pg';

import type { PostgresServer } from '../lib/embedded-postgres.ts';
import type { Venv } from '../lib/python.ts';
import type { Command } from './screen.ts';

const ROOT = join(import.meta.dirname, '../..');
const UNICORN = join(ROOT, 'examples/unicorn');

/** Everything that the story plays with: a database, the sample application, and a directory home. */
export interface Stage {
  /** The superuser's URL of the application's database; only for looking at it. */
  readonly adminUrl: string;
  readonly server: PostgresServer;
  /** The directory home, as it is typed at the top of the clone. */
  readonly dir: string;
  /** The declaration's file, as it is typed. */
  readonly targetFile: string;
  /** A command of this project, with `--dir`. */
  migrationTarget(...args: readonly string[]): Command;
  /** What a shell is told first, so that the commands find the server's pg_dump. */
  readonly exportTools: string;
  /** A path as it is typed at the top of the clone. */
  asTyped(path: string): string;
  /** Alembic itself, in the application's folder. */
  alembic(...args: readonly string[]): Command;
  /** A module of the application: `unicorn.seed`. */
  python(module: string, ...args: readonly string[]): Command;
  /** Shows what is declared. */
  grepRevision(): Command;
  readTarget(): Promise<string>;
}

export const TARGET = 'unicorn-db';
export const DATABASE = 'unicorn_db';

/** Makes the application's role and empty database, and the home with its declaration and secrets. */
export async function setStage(options: {
  readonly server: PostgresServer;
  readonly venv: Venv;
  readonly home: string;
  readonly revision: string;
}): Promise<Stage> {
  const { server, venv, home } = options;
  const password = randomBytes(12).toString('hex');
  await createDatabase(server, password);
  const url = server.url(DATABASE, 'unicorn', password);
  const adminUrl = server.url(DATABASE);

  const secrets = join(home, 'secrets', TARGET);
  const targetPath = join(home, 'targets', `${TARGET}.yaml`);
  await mkdir(secrets, { recursive: true, mode: 0o700 });
  await mkdir(join(home, 'targets'), { recursive: true });
  await writeFile(join(secrets, 'url'), `${url}\n`, { mode: 0o600 });
  await writeFile(join(secrets, 'admin-url'), `${adminUrl}\n`, { mode: 0o600 });
  await writeFile(
    targetPath,
    declaration({ revision: options.revision, python: venv.python, backups: join(home, 'backups') }),
  );

  const dir = relative(ROOT, home);
  const targetFile = relative(ROOT, targetPath);
  const pgBin = join(home, 'pg-bin');
  await symlink(server.binDir, pgBin);
  // As npx sets it, which is how the commands are shown; and no .pyc files in the clone.
  const env = { ...process.env, npm_command: 'exec', MIGRATION_TARGET_PG_BIN: pgBin, PYTHONDONTWRITEBYTECODE: '1' };
  const inApplication = { cwd: UNICORN, env: { ...env, DATABASE_URL: url } };
  return {
    adminUrl,
    server,
    dir,
    targetFile,
    migrationTarget: (...args) => ({
      typed: ['npx migration-target', ...args, '--dir', dir].join(' '),
      program: join(ROOT, 'bin/migration-target'),
      args: [...args, '--dir', dir],
      cwd: ROOT,
      env,
    }),
    exportTools: `export MIGRATION_TARGET_PG_BIN=${join(dir, 'pg-bin')}`,
    asTyped: (path) => relative(ROOT, path),
    alembic: (...args) => ({
      typed: ['alembic', ...args].join(' '),
      program: venv.python,
      args: ['-m', 'alembic', ...args],
      ...inApplication,
    }),
    python: (module, ...args) => ({
      typed: ['python -m', module, ...args].join(' '),
      program: venv.python,
      args: ['-m', module, ...args],
      ...inApplication,
    }),
    grepRevision: () => ({
      typed: `grep revision: ${targetFile}`,
      program: 'grep',
      args: ['revision:', targetFile],
      cwd: ROOT,
      env,
    }),
    readTarget: () => readFile(targetPath, 'utf8'),
  };
}

async function createDatabase(server: PostgresServer, password: string): Promise<void> {
  const client = new Client({ connectionString: server.superuserUrl });
  await client.connect();
  try {
    await client.query(`CREATE ROLE unicorn LOGIN PASSWORD ${client.escapeLiteral(password)}`);
    await client.query(`CREATE DATABASE ${DATABASE} OWNER unicorn`);
  } finally {
    await client.end();
  }
}

/** Paths are quoted as JSON strings, which YAML reads as they are. */
const declaration = (values: {
  readonly revision: string;
  readonly python: string;
  readonly backups: string;
}): string =>
  `apiVersion: migrationtarget.dev/v1alpha1
kind: MigrationTarget
metadata:
  name: ${TARGET}
spec:
  revision: "${values.revision}"
  database:
    urlFrom: {secretKeyRef: {name: ${TARGET}, key: url}}
    adminUrlFrom: {secretKeyRef: {name: ${TARGET}, key: admin-url}}
  alembic:
    workingDir: ${JSON.stringify(UNICORN)}
    python: ${JSON.stringify(values.python)}
    databaseUrl: {env: DATABASE_URL, driver: postgresql+psycopg}
  runtime:
    process: {}
  backup:
    storage: {directory: {path: ${JSON.stringify(values.backups)}}}
  policy:
    dataLoss: RequireApproval    # the default: what would lose data waits until somebody approves it
  verify:
    queries:
      - {name: organizations, sql: "SELECT count(*) FROM organizations", expect: "200"}
`;
