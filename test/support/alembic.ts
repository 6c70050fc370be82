import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { stringify } from 'yaml';

import { run } from '../../scripts/lib/run.ts';
import type { Ran } from '../../scripts/lib/run.ts';
import { APPCONTEXT, envPy, environments, FLASK_APP } from './env-py.ts';
import type { Environment } from './env-py.ts';
import type { TestDatabase } from './postgres.ts';
import { fromTestBed } from './testbed.ts';

export { environments };
export type { Environment };

export interface Revision {
  readonly id: string;
  /** Left out: the revision before it in the list, and none for the first. */
  readonly down?: string | readonly string[] | null;
  readonly dependsOn?: string | readonly string[];
  readonly labels?: readonly string[];
  /** Bodies of `upgrade()` and `downgrade()` in Python, where `op` and `sa` are imported; default: `pass`. See `sql`. */
  readonly up?: string;
  readonly downgrade?: string;
}

export interface HistorySpec {
  readonly revisions: readonly Revision[];
  /** Default: `psycopg`. */
  readonly env?: Environment;
  readonly transactionPerMigration?: boolean;
  readonly versionTable?: string;
  readonly versionTableSchema?: string;
  /** Replaces env.py. */
  readonly envPy?: string;
}

/** An alembic project on disk. */
export interface AlembicProject {
  readonly dir: string;
  readonly env: Environment;
  /** Where the revisions' files are. */
  readonly versionsDir: string;
  readonly envPyPath: string;
  /** `spec.alembic` for it, without `python`. */
  readonly alembic: Readonly<Record<string, unknown>>;
  /** `spec.database`'s part for it: the version table, where it is not the usual one. */
  readonly database: { readonly versionTable?: string; readonly versionTableSchema?: string };
}

/** A Python with alembic, psycopg, psycopg2, asyncpg, pg8000 and Flask-Migrate. */
export async function python(): Promise<string> {
  return (await fromTestBed('venv', 'test')).python;
}

/** A Python with that Buildbot and its migrations. */
export async function buildbotPython(version: '4.2.1' | '4.3.0'): Promise<string> {
  return (await fromTestBed('venv', `buildbot-${version}`)).python;
}

/** A revision's body that runs SQL (one statement or several). */
export function sql(text: string): string {
  // SQLAlchemy takes `:name` for a parameter, but not `::type`.
  return `op.execute(${JSON.stringify(text.replace(/(?<![:\w\\]):(?=\w)/g, '\\:'))})`;
}

/** Writes an alembic project into `dir` (made if it is missing). */
export async function writeHistory(dir: string, spec: HistorySpec): Promise<AlembicProject> {
  const env = spec.env ?? 'psycopg';
  const versionTableSchema = spec.versionTableSchema ?? (env === 'versionTableSchema' ? 'ops' : undefined);
  const configure = [
    spec.transactionPerMigration ? ', transaction_per_migration=True' : '',
    spec.versionTable === undefined ? '' : `, version_table=${pythonValue(spec.versionTable)}`,
    versionTableSchema === undefined ? '' : `, version_table_schema=${pythonValue(versionTableSchema)}`,
  ].join('');

  const scripts = join(dir, 'migrations');
  const files: Record<string, string> = {};
  spec.revisions.forEach((revision, index) => {
    const before = spec.revisions[index - 1]?.id ?? null;
    const name = `${String(index + 1).padStart(4, '0')}_${revision.id.replace(/\W/g, '_')}.py`;
    files[join(scripts, 'versions', name)] = revisionPy(revision, before, env === 'noisy');
  });
  files[join(scripts, 'env.py')] = env === 'flask' ? await flaskTemplate('env.py') : envPy(env, configure);
  if (spec.envPy !== undefined) files[join(scripts, 'env.py')] = spec.envPy;

  const settings: Record<string, unknown> = { workingDir: dir, databaseUrl: { env: 'DATABASE_URL' } };
  switch (env) {
    case 'pyproject':
      files[join(dir, 'pyproject.toml')] =
        '[project]\nname = "unicorn"\n\n[tool.alembic]\nscript_location = "%(here)s/migrations"\nprepend_sys_path = ["."]\n';
      settings['config'] = 'pyproject.toml';
      break;
    case 'sections':
      files[join(dir, 'alembic.ini')] = `[alembic]\nscript_location = another\n\n${ini('unicorn')}`;
      settings['section'] = 'unicorn';
      break;
    case 'flask':
      // As `flask db init` leaves it: without script_location, which Flask-Migrate sets itself.
      files[join(scripts, 'alembic.ini')] = await flaskTemplate('alembic.ini.mako');
      files[join(dir, 'app.py')] = FLASK_APP(configure);
      settings['config'] = 'migrations/alembic.ini';
      settings['flaskApp'] = 'app:create_app';
      break;
    case 'context':
      files[join(dir, 'appcontext.py')] = APPCONTEXT;
      files[join(dir, 'alembic.ini')] = ini('alembic');
      settings['context'] = 'appcontext:entered';
      break;
    default:
      files[join(dir, 'alembic.ini')] = ini('alembic');
  }
  if (env === 'asyncpg' || env === 'psycopg2')
    settings['databaseUrl'] = { env: 'DATABASE_URL', driver: `postgresql+${env}` };

  await mkdir(join(scripts, 'versions'), { recursive: true });
  for (const [path, text] of Object.entries(files)) await writeFile(path, text);
  const database = {
    ...(spec.versionTable === undefined ? {} : { versionTable: spec.versionTable }),
    ...(versionTableSchema === undefined ? {} : { versionTableSchema }),
  };
  return {
    dir,
    env,
    versionsDir: join(scripts, 'versions'),
    envPyPath: join(scripts, 'env.py'),
    alembic: settings,
    database,
  };
}

/** Runs the real alembic (with Flask-Migrate or the context manager around it where the project needs it), to set a scene. */
export async function runAlembic(project: AlembicProject, url: string, args: readonly string[]): Promise<Ran> {
  const env = { ...process.env, DATABASE_URL: url, PYTHONDONTWRITEBYTECODE: '1' };
  return run(await python(), [...entryPoint(project), ...args], { cwd: project.dir, env });
}

/** As `runAlembic`, for what must work: throws with what alembic said. */
export async function alembic(project: AlembicProject, url: string, ...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await runAlembic(project, url, args);
  if (code !== 0) throw new Error(`alembic ${args.join(' ')} exited with ${code}:\n${stderr}`);
  return stdout;
}

function entryPoint(project: AlembicProject): string[] {
  switch (project.env) {
    case 'flask':
      return ['-m', 'flask', '--app', 'app:create_app', 'db'];
    case 'context':
      return [
        '-c',
        'import sys\nfrom appcontext import entered\nfrom alembic.config import main\nwith entered(): main(argv=sys.argv[1:], prog="alembic")',
      ];
    case 'pyproject':
      return ['-m', 'alembic', '-c', 'pyproject.toml'];
    case 'sections':
      return ['-m', 'alembic', '-n', 'unicorn'];
    default:
      return ['-m', 'alembic'];
  }
}

export interface TargetOptions {
  readonly name: string;
  readonly database: TestDatabase;
  readonly project: AlembicProject;
  /** The interpreter; left out: `python()`. */
  readonly python?: string;
  readonly revision: string;
  /** The folder of the backups. */
  readonly backups: string;
  /** Also gives `adminUrlFrom`. */
  readonly admin?: boolean;
  /** Merged over the defaults, object by object; lists are replaced, and null takes a field away. */
  readonly spec?: Readonly<Record<string, unknown>>;
}

/** A MigrationTarget for a test database and project, as a plain object: its secret has the target's name, and the keys `url`, `adminUrl`. */
export async function targetDocument(options: TargetOptions): Promise<Record<string, unknown>> {
  const { name, project } = options;
  const key = (of: string): unknown => ({ secretKeyRef: { name, key: of } });
  const spec = {
    revision: options.revision,
    database: { urlFrom: key('url'), ...(options.admin ? { adminUrlFrom: key('adminUrl') } : {}), ...project.database },
    alembic: { ...project.alembic, python: options.python ?? (await python()) },
    runtime: { process: {} },
    backup: { storage: { directory: { path: options.backups } } },
    // Where a rehearsal is what a test is about, it says so; elsewhere it would only take time.
    policy: { rehearsal: 'Never' },
  };
  return {
    apiVersion: 'migrationtarget.dev/v1alpha1',
    kind: 'MigrationTarget',
    metadata: { name },
    spec: merge(spec, options.spec ?? {}),
  };
}

/** Writes `DIR/targets/NAME.yaml` and its secret, `DIR/secrets/NAME/url` and `adminUrl`; returns the path of the former. */
export async function writeTarget(dir: string, options: TargetOptions): Promise<string> {
  const secrets = join(dir, 'secrets', options.name);
  await mkdir(secrets, { recursive: true });
  await writeFile(join(secrets, 'url'), options.database.url, { mode: 0o600 });
  await writeFile(join(secrets, 'adminUrl'), options.database.adminUrl, { mode: 0o600 });
  const path = join(dir, 'targets', `${options.name}.yaml`);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, stringify(await targetDocument(options)));
  return path;
}

function merge(base: Record<string, unknown>, over: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const merged = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const below = merged[key];
    if (value === null) delete merged[key];
    else merged[key] = isObject(below) && isObject(value) ? merge(below, value) : value;
  }
  return merged;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const ini = (section: string): string =>
  `[${section}]\nscript_location = %(here)s/migrations\nprepend_sys_path = .\npath_separator = os\n`;

async function flaskTemplate(name: string): Promise<string> {
  const { sitePackages } = await fromTestBed('venv', 'test');
  return readFile(join(sitePackages, 'flask_migrate', 'templates', 'flask', name), 'utf8');
}

function revisionPy(revision: Revision, before: string | null, noisy: boolean): string {
  const body = (text = 'pass'): string => {
    const lines = text.split('\n').filter((line) => line.trim() !== '');
    const indent = Math.min(...lines.map((line) => line.search(/\S/)));
    return lines.map((line) => `    ${line.slice(indent)}`).join('\n') || '    pass';
  };
  const noise = noisy ? `    print("running ${revision.id}")\n` : '';
  return `"""${revision.id}"""
from alembic import op
import sqlalchemy as sa

revision = ${pythonValue(revision.id)}
down_revision = ${pythonValue(revision.down === undefined ? before : revision.down)}
branch_labels = ${pythonValue(revision.labels ?? null)}
depends_on = ${pythonValue(revision.dependsOn ?? null)}


def upgrade():
${noise}${body(revision.up)}


def downgrade():
${noise}${body(revision.downgrade)}
`;
}

/** Texts, lists of them and null are written in Python as in JSON, but for the latter. */
function pythonValue(value: string | readonly string[] | null): string {
  return value === null ? 'None' : JSON.stringify(value);
}
