/** `check`: what was typed, made into a request; the answer in every form. */
import { access } from 'node:fs/promises';
import { resolve } from 'node:path';
import { seconds, type TargetSpec } from '../api/target.ts';
import { checkMigrations, type CheckRequest } from '../rollback/check-migrations.ts';
import { Failure } from '../rollback/errors.ts';
import type { CheckOptions } from './commands/check.ts';
import type { Context } from './context.ts';
import { readDeclaration } from './declaration-file.ts';
import { exitCodes, type ExitCode } from './exit-codes.ts';
import { listenForInterrupts } from './interrupts.ts';
import { answer } from './output.ts';
import { Problem } from './problem.ts';
import { checkMarkdown, checkObject, failsWith, renderCheck } from './render-check.ts';

const serverVariable = 'MIGRATION_TARGET_CHECK_SERVER';

export async function check(context: Context, options: CheckOptions): Promise<ExitCode> {
  const { data, notes } = context.output;
  const say = (text: string): void => notes.write(`${notes.paint('dim', `  ${text}`)}\n`);
  using interrupts = listenForInterrupts(say, {
    first: 'Stopping: what was made on the server is dropped first. Ctrl-C again ends this at once.',
    second: 'Ended at once: what is left on the server is dropped by the next check there.',
  });
  const request = await requestOf(context, options, interrupts.signal, say);
  const checked = await checkMigrations(request, context.wiring.adapters).catch((thrown: unknown) => {
    if (!interrupts.signal.aborted) throw asTyped(thrown, options);
    throw new Problem('check', 'It was interrupted; what it made was dropped.', exitCodes.interrupted, {
      cause: thrown,
    });
  });
  const fails = failsWith(checked, options.strict === true ? 'warning' : 'error');
  if (options.markdown === true) data.write(checkMarkdown(checked, fails));
  else {
    await answer(context.output, {
      object: checkObject(checked, fails),
      names: checked.revisions.map(({ id }) => id),
      text: ({ screen }) => renderCheck(checked, fails, screen),
    });
  }
  return fails ? exitCodes.error : exitCodes.done;
}

/** What corrects which field: without a declaration, or over it. */
const optionOf = {
  'spec.alembic.workingDir': ['workingDir', '--working-dir'],
  'spec.alembic.config': ['config', '--config'],
  'spec.alembic.python': ['python', '--python'],
} as const;

/** A failure that names fields names the options instead, where those are what counts here. */
function asTyped(thrown: unknown, options: CheckOptions): unknown {
  if (!(thrown instanceof Failure)) return thrown;
  const message = Object.entries(optionOf).reduce(
    (text, [field, [option, typed]]) =>
      options.file === undefined || options[option] !== undefined ? text.replaceAll(field, typed) : text,
    thrown.message,
  );
  return new Failure(thrown.kind, thrown.reason, message, { cause: thrown });
}

async function requestOf(
  context: Context,
  options: CheckOptions,
  signal: AbortSignal,
  tell: (message: string) => void,
): Promise<CheckRequest> {
  const declared = options.file === undefined ? null : await readSpec(options.file);
  const alembic = await alembicOf(options, declared);
  const server = options.server ?? process.env[serverVariable];
  if (server === undefined || server === '') {
    throw new Problem(
      'No server',
      `Migrations are checked on a PostgreSQL that holds nothing live, by a role that may create databases. Say which, in the variable ${serverVariable} or by --server. For example, a throw-away one: docker run -d -p 5432:5432 -e POSTGRES_PASSWORD=check postgres:16, and then: ${serverVariable}=postgresql://postgres:check@localhost:5432/postgres ${context.command('check')}`,
    );
  }
  const timeoutSeconds = secondsOf(options.timeout ?? '30m');
  const sample = options.sample === undefined ? null : resolve(options.sample);
  if (sample !== null)
    await access(sample).catch((error: unknown) => {
      throw new Problem(`No file ${options.sample}`, `The sample can't be read: ${String(error)}.`, undefined, {
        cause: error,
      });
    });
  return {
    alembic,
    env: environmentOf(alembic),
    versionTable: {
      schema: declared?.database.versionTableSchema ?? 'public',
      name: declared?.database.versionTable ?? 'alembic_version',
    },
    server,
    since: options.since ?? null,
    sample,
    lockTimeoutSeconds: 5,
    timeoutSeconds,
    signal,
    tell,
  };
}

function secondsOf(text: string): number {
  try {
    return seconds(text);
  } catch (error) {
    throw new Problem('Usage', `--timeout: ${error instanceof Error ? error.message : String(error)}`, undefined, {
      cause: error,
    });
  }
}

/** The declaration as it stands in a repository: nothing of its database is asked for. */
async function readSpec(file: string): Promise<TargetSpec> {
  const [{ parse }, { parseTarget }] = await Promise.all([import('yaml'), import('../api/target.ts')]);
  let document: unknown;
  try {
    document = parse(await readDeclaration(file));
  } catch (error) {
    if (error instanceof Problem) throw error;
    throw new Problem('InvalidSpec', `${file} is not YAML: ${String(error)}`, undefined, { cause: error });
  }
  const parsed = parseTarget(document);
  if (parsed.ok) return parsed.target.spec;
  const problems = parsed.problems.slice(0, 3).map(({ path, message }) => `${path}: ${message}`);
  throw new Problem('InvalidSpec', `${file} declares no target: ${problems.join('; ')}`);
}

async function alembicOf(options: CheckOptions, declared: TargetSpec | null): Promise<TargetSpec['alembic']> {
  const { config, python, databaseUrlEnv, driver } = options;
  const workingDir = resolve(options.workingDir ?? declared?.alembic.workingDir ?? '.');
  const base: TargetSpec['alembic'] = declared?.alembic ?? {
    workingDir,
    config: 'alembic.ini',
    section: 'alembic',
    python: 'python3',
    xArgs: {},
    env: [],
    databaseUrl: { env: 'DATABASE_URL', driver: 'postgresql' },
  };
  if (base.databaseUrl === undefined && databaseUrlEnv === undefined) {
    throw new Problem(
      'No databaseUrl',
      `${options.file} has no spec.alembic.databaseUrl, so env.py finds a database of its own, and can't be led to a scratch one. Say in which variable it looks for the URL: --database-url-env NAME`,
    );
  }
  const handed = databaseUrlEnv === undefined ? base.databaseUrl : { env: databaseUrlEnv, driver: 'postgresql' };
  return {
    ...base,
    workingDir,
    ...(config === undefined ? {} : { config }),
    ...(python === undefined ? {} : { python }),
    ...(handed === undefined ? {} : { databaseUrl: { ...handed, ...(driver === undefined ? {} : { driver }) } }),
  };
}

/** A pipeline has no home to look a secret up in: it is to stand in the variable itself. */
function environmentOf({ env }: TargetSpec['alembic']): Readonly<Record<string, string>> {
  const values: Record<string, string> = {};
  for (const { name, value, valueFrom } of env) {
    const found = valueFrom === undefined ? (value ?? '') : process.env[name];
    if (found === undefined) {
      throw new Problem(
        `No ${name}`,
        `spec.alembic.env takes ${name} from elsewhere (valueFrom), which a check can't reach. Set it for the check: export ${name}=…`,
      );
    }
    values[name] = found;
  }
  return values;
}
