import { stat } from 'node:fs/promises';
import { stalled, type Failure } from '../../rollback/errors.ts';
import type { AlembicRunner, AlembicSession, AlembicSettings } from '../../rollback/ports.ts';
import { childEnvironment } from './child-environment.ts';
import { secretsOfUrl, urlForDriver, type DriverUrl } from './database-url.ts';
import { masker } from './mask.ts';
import { ProcessEnded, startPython, type Message, type PythonProcess } from './python-process.ts';
import { openSession } from './session.ts';

/** alembic on this machine, in the interpreter that the target declares: the runtime `process`. */
export function createAlembicRunner(): AlembicRunner {
  return { start };
}

/**
 * Starts Python in `spec.alembic.workingDir` and waits until alembic is imported.
 *
 * @throws Failure PythonNotFound, AlembicNotFound, AlembicConfigNotFound (no such folder), AlembicFailed (alembic too
 *   old), DatabaseUrlInvalid (the driver can't be told what the URL says), TimedOut.
 */
async function start(settings: AlembicSettings): Promise<AlembicSession> {
  const { spec, signal } = settings;
  await assertFolder(spec.workingDir);
  const handed = spec.databaseUrl === undefined ? null : urlForDriver(settings.databaseUrl, spec.databaseUrl.driver);
  const mask = masker(secretsOf(settings, handed));
  const python = await startPython({
    python: spec.python,
    workingDir: spec.workingDir,
    env: childEnvironment(
      process.env,
      { ...handed?.env, ...urlVariable(settings, handed), ...settings.env },
      settings.operationId,
    ),
    settings: driverSettings(settings, handed),
  }).catch((error: unknown) => {
    throw notFound(
      spec.python,
      `could not be started (${(error as NodeJS.ErrnoException).code ?? String(error)})`,
      error,
    );
  });
  const giveUp = (): void => python.giveUp();
  signal.addEventListener('abort', giveUp, { once: true });
  try {
    if (signal.aborted) giveUp();
    await greeted(python, settings, mask);
  } catch (error) {
    await python[Symbol.asyncDispose]();
    throw error;
  } finally {
    signal.removeEventListener('abort', giveUp);
  }
  return openSession(python, settings, mask);
}

async function greeted(
  python: PythonProcess,
  { spec, signal }: AlembicSettings,
  mask: (text: string) => string,
): Promise<void> {
  let message: Message;
  try {
    message = await python.receive(
      () => {},
      () => {},
    );
  } catch (error) {
    if (!(error instanceof ProcessEnded)) throw error;
    if (signal.aborted) throw stalled('TimedOut', `${spec.python} did not import alembic in time.`, error);
    throw notFound(
      spec.python,
      mask(`is no Python that can run alembic: it ${error.how}. ${error.lastOutput.join('\n')}`),
      error,
    );
  }
  const fatal = message['fatal'] as
    { readonly reason: 'AlembicNotFound' | 'AlembicFailed'; readonly message: string } | undefined;
  if (fatal === undefined) return;
  throw stalled(
    fatal.reason,
    `${mask(fatal.message)} (interpreter: ${spec.python}). Try: ${spec.python} -m pip install --upgrade alembic; or correct spec.alembic.python.`,
  );
}

const notFound = (python: string, what: string, cause: unknown): Failure =>
  stalled(
    'PythonNotFound',
    `The interpreter ${python} ${what}. Correct spec.alembic.python, e.g. /app/.venv/bin/python.`,
    cause,
  );

async function assertFolder(workingDir: string): Promise<void> {
  const useless = (why: string, cause?: unknown): Failure =>
    stalled(
      'AlembicConfigNotFound',
      `The folder ${workingDir} can't be used (${why}). Correct spec.alembic.workingDir.`,
      cause,
    );
  const found = await stat(workingDir).catch((error: unknown) => {
    throw useless((error as NodeJS.ErrnoException).code ?? String(error), error);
  });
  if (!found.isDirectory()) throw useless('it is no folder');
}

/** env.py's variable. One that the target declares itself, by `env`, wins: both would be said of the same thing. */
function urlVariable({ spec }: AlembicSettings, handed: DriverUrl | null): Record<string, string> {
  return handed === null || spec.databaseUrl?.env === undefined ? {} : { [spec.databaseUrl.env]: handed.url };
}

function driverSettings(
  { spec, versionTable, operationId, lockTimeoutSeconds }: AlembicSettings,
  handed: DriverUrl | null,
): Message {
  return {
    config: spec.config,
    section: spec.section,
    xArgs: spec.xArgs,
    flaskApp: spec.flaskApp ?? null,
    context: spec.context ?? null,
    urlOption:
      handed === null || spec.databaseUrl?.option === undefined
        ? null
        : { name: spec.databaseUrl.option, value: handed.url },
    urlIsOurs: handed !== null,
    versionTable,
    operationId,
    lockTimeoutSeconds,
  };
}

/** The passwords that were handed over, and every variable whose value does not stand in the YAML. */
function secretsOf({ spec, databaseUrl, env }: AlembicSettings, handed: DriverUrl | null): readonly string[] {
  const hidden = spec.env
    .filter((variable) => variable.valueFrom !== undefined)
    .flatMap(({ name }) => {
      const value = env[name] ?? '';
      return [value, ...secretsOfUrl(value)];
    });
  return [...secretsOfUrl(databaseUrl), ...(handed === null ? [] : secretsOfUrl(handed.url)), ...hidden];
}
