/** The program as people start it: a child process of its own, on a real database with a real history. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

import { python, type AlembicProject, type HistorySpec, writeHistory, writeTarget } from '../../support/alembic.ts';
import { createDatabase, type DatabaseOptions, type TestDatabase } from '../../support/postgres.ts';
import { program } from '../../support/program.ts';

/** What the command line does does not depend on the server's major, so it is tried on one. */
export const major = 16;

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A program that is running; what it printed so far can be looked at. */
export interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  readonly printed: () => string;
}

export interface Bench extends AsyncDisposable {
  /** The directory home. */
  readonly dir: string;
  readonly backups: string;
  readonly database: TestDatabase;
  readonly project: AlembicProject;
  /** Writes the declaration to a file outside of the home, and returns its path. */
  declaration(revision: string, spec?: Readonly<Record<string, unknown>>): Promise<string>;
  /** Writes it into the home itself, secrets and all. */
  declare(revision: string, spec?: Readonly<Record<string, unknown>>): Promise<string>;
  run(...args: readonly string[]): Promise<Ended>;
  start(...args: readonly string[]): Running;
  /** The text that declares the target in the home. */
  declared(): Promise<string>;
}

const name = 'unicorn';

export async function createBench(
  history: HistorySpec,
  options: DatabaseOptions & { readonly admin?: boolean } = {},
): Promise<Bench> {
  const root = await mkdtemp(join(tmpdir(), 'mt-cli-'));
  const dir = join(root, 'home');
  const backups = join(root, 'backups');
  await mkdir(dir);
  const database = await createDatabase(major, options);
  const project = await writeHistory(join(root, 'app'), history);
  const env = {
    PATH: [database.server.binDir, process.env['PATH']].join(delimiter),
    MIGRATION_TARGET_DIR: dir,
    PYTHONDONTWRITEBYTECODE: '1',
  };
  const write = async (into: string, revision: string, spec: Readonly<Record<string, unknown>> = {}): Promise<string> =>
    writeTarget(into, {
      name,
      database,
      project,
      python: await python(),
      revision,
      backups,
      admin: options.admin ?? false,
      spec: { policy: { dataLoss: 'Allow' }, ...spec },
    });
  const started: Running[] = [];
  const start = (...args: readonly string[]): Running => {
    const running = startProgram(args, { ...process.env, ...env });
    started.push(running);
    return running;
  };
  await write(join(root, 'elsewhere'), 'base');
  await mkdir(join(dir, 'secrets', name), { recursive: true });
  for (const [key, url] of [
    ['url', database.url],
    ['adminUrl', database.adminUrl],
  ] as const)
    await writeFile(join(dir, 'secrets', name, key), url, { mode: 0o600 });
  return {
    dir,
    backups,
    database,
    project,
    declaration: (revision, spec) => write(join(root, 'elsewhere'), revision, spec),
    declare: (revision, spec) => write(dir, revision, spec),
    run: (...args) => start(...args).ended,
    start,
    declared: () => readFile(join(dir, 'targets', `${name}.yaml`), 'utf8'),
    async [Symbol.asyncDispose]() {
      // A test that failed half-way stops nothing itself.
      for (const { child } of started) child.kill('SIGKILL');
      await Promise.all(started.map(({ ended }) => ended));
      await database.drop();
      await rm(root, { recursive: true, force: true });
    },
  };
}

/** Runs the program with no terminal anywhere. */
export function startProgram(args: readonly string[], env: NodeJS.ProcessEnv, from = program): Running {
  const child = spawn(process.execPath, [from, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) =>
      resolve({ code, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() }),
    );
  });
  return { child, ended, printed: () => Buffer.concat([...out, ...err]).toString() };
}

/** Every folder and file below a folder, with its content: what was written shows up as a difference. */
export async function contentOf(folder: string): Promise<Record<string, string>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const read = entries.map(async (entry) => {
    const path = join(entry.parentPath, entry.name);
    return [path, entry.isFile() ? await readFile(path, 'utf8') : ''] as const;
  });
  return Object.fromEntries((await Promise.all(read)).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

/** Looks until it holds; throws with what the program printed where it ends before that, or a minute is over. */
export async function until(running: Running, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!(await holds())) {
    if (running.child.exitCode !== null || performance.now() > deadline)
      throw new Error(`it never came to that; printed:\n${running.printed()}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** What alembic makes of `twoSteps`, for tests that are about something else: a Python for each of them takes its time. */
export const atB200 = `CREATE TABLE users (id SERIAL PRIMARY KEY, name TEXT, email TEXT);
  CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL CONSTRAINT alembic_version_pkc PRIMARY KEY);
  INSERT INTO alembic_version VALUES ('b200');`;

/** Users and their e-mail addresses; the last migration drops nothing on its way up. */
export const twoSteps: HistorySpec = {
  revisions: [
    {
      id: 'a100',
      up: `op.create_table("users", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.Text))`,
      downgrade: 'op.drop_table("users")',
    },
    {
      id: 'b200',
      up: 'op.add_column("users", sa.Column("email", sa.Text))',
      downgrade: 'op.drop_column("users", "email")',
      labels: ['mail'],
    },
  ],
};
