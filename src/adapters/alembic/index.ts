import { stalled, type Failure } from '../../rollback/errors.ts';
import type { AlembicRunner, AlembicSession, AlembicSettings } from '../../rollback/ports.ts';
import { asPart } from '../../rollback/sentences.ts';
import { applicationName, applicationNameOfRehearsal } from '../postgres/identifiers.ts';
import { NotLaunched } from '../process/launcher.ts';
import { childEnvironment, type ChildEnvironment } from './child-environment.ts';
import { copyEnvironment, urlOfCopy } from './copy-environment.ts';
import { secretsOfUrl, urlForDriver, type DriverUrl } from './database-url.ts';
import { graphMemory, noMemory } from './graph-cache.ts';
import { masker } from './mask.ts';
import { onThisMachine, type PythonPlace } from './place.ts';
import { ProcessEnded, readDriver, startPython, type Message, type PythonProcess } from './python-process.ts';
import { openSession } from './session.ts';

export interface AlembicOptions {
  /** The place that `runtime` declares, or null: this machine; `image`: that one in place of the application's. Throws what makes it unusable. */
  readonly placeOf?: (settings: AlembicSettings, image: string | null) => Promise<PythonPlace | null>;
}

/** alembic in the interpreter that the target declares, on this machine or in a container. */
export function createAlembicRunner({ placeOf }: AlembicOptions = {}): AlembicRunner {
  const find = async (settings: AlembicSettings): Promise<PythonPlace> =>
    (await placeOf?.(settings, settings.scripts?.kind === 'image' ? settings.scripts.image : null)) ?? onThisMachine();
  return { start: async (settings) => start(settings, await find(settings)) };
}

/**
 * Starts Python in `spec.alembic.workingDir`. Where the graph is remembered, that is all; else it waits until alembic is
 * imported, and what would be thrown here is thrown by the first call that needs Python.
 *
 * @throws Failure PythonNotFound, AlembicNotFound, AlembicConfigNotFound (no such folder), AlembicFailed (alembic too
 *   old), DatabaseUrlInvalid (the driver can't be told what the URL says), TimedOut.
 */
async function start(settings: AlembicSettings, place: PythonPlace): Promise<AlembicSession> {
  const { spec, copy } = settings;
  const url = await place.url(copy === null ? settings.databaseUrl : urlOfCopy(settings.databaseUrl, copy));
  const handed = spec.databaseUrl === undefined ? null : urlForDriver(url, spec.databaseUrl.driver);
  const mask = masker(secretsOf(settings, handed));
  const environment = environmentOf(settings, handed);
  const driver = readDriver();
  const startedAt = Date.now();
  const remembering =
    place.isThisMachine && settings.scripts === undefined
      ? driver.then((text) =>
          graphMemory(settings, { ...place.environment, ...environment.env, ...environment.secrets }, text),
        )
      : Promise.resolve(noMemory);
  const recalling = remembering.then((memory) => memory.recall());
  recalling.catch(() => undefined); // as the driver's own failure, which is told below
  const python = await startPython({
    launcher: place.launcher,
    python: spec.python,
    workingDir: spec.workingDir,
    ...environment,
    driver,
    settings: driverSettings(settings, handed),
  }).catch((error: unknown) => {
    if (!(error instanceof NotLaunched)) throw error;
    throw error.missing === 'folder'
      ? stalled(
          'AlembicConfigNotFound',
          `The folder ${spec.workingDir}${place.where} can't be used (${error.why}). Correct spec.alembic.workingDir.`,
          error,
        )
      : notFound(spec.python + place.where, `could not be started (${error.why})`, error);
  });
  const greeting = greeted(python, settings, place, mask);
  greeting.catch(() => undefined); // told to whoever needs Python
  const recalled = await recalling;
  if (recalled === null) {
    try {
      await greeting;
    } catch (error) {
      await python[Symbol.asyncDispose]();
      throw error;
    }
  }
  return openSession(python, settings, { mask, place, greeting, recalled, startedAt, memory: await remembering });
}

function environmentOf(settings: AlembicSettings, handed: DriverUrl | null): ChildEnvironment {
  const { copy, databaseUrl, env, spec } = settings;
  const name = nameOf(settings);
  const declared = copy === null ? env : copyEnvironment(env, databaseUrl, copy);
  const harmless = {
    PGAPPNAME: name,
    ...handed?.env,
    ...(copy === null ? {} : { PGDATABASE: copy.database }),
  };
  // By its name a session of a rehearsal is known where it should not be.
  const named = copy === null ? {} : { PGAPPNAME: name };
  return childEnvironment({ ...handed?.env, ...urlVariable(settings, handed), ...declared, ...named }, spec, harmless);
}

const nameOf = ({ operationId, copy }: AlembicSettings): string =>
  copy === null ? applicationName(operationId) : applicationNameOfRehearsal(operationId, copy.insteadOf);

async function greeted(
  python: PythonProcess,
  { spec, signal }: AlembicSettings,
  place: PythonPlace,
  mask: (text: string) => string,
): Promise<void> {
  const interpreter = spec.python + place.where;
  let message: Message;
  const giveUp = (): void => python.giveUp();
  signal.addEventListener('abort', giveUp, { once: true });
  try {
    if (signal.aborted) giveUp();
    message = await python.receive(
      () => {},
      () => {},
    );
  } catch (error) {
    if (!(error instanceof ProcessEnded)) throw error;
    if (error.lost !== null) throw error.lost;
    if (signal.aborted) throw stalled('TimedOut', `${interpreter} did not import alembic in time.`, error);
    throw notFound(
      interpreter,
      mask(`is no Python that can run alembic: it ${asPart([error.how, ...error.lastOutput].join('. '))}`),
      error,
    );
  } finally {
    signal.removeEventListener('abort', giveUp);
  }
  const fatal = message['fatal'] as
    { readonly reason: 'AlembicNotFound' | 'AlembicFailed'; readonly message: string } | undefined;
  if (fatal === undefined) return;
  throw stalled(
    fatal.reason,
    `${mask(fatal.message)} (interpreter: ${interpreter}). Try: ${place.command(spec.workingDir, `${spec.python} -m pip install --upgrade alembic`)}; or correct spec.alembic.python.`,
  );
}

const notFound = (python: string, what: string, cause: unknown): Failure =>
  stalled(
    'PythonNotFound',
    `The interpreter ${python} ${what}. Correct spec.alembic.python, e.g. /app/.venv/bin/python.`,
    cause,
  );

/** env.py's variable. One that the target declares itself, by `env`, wins: both would be said of the same thing. */
function urlVariable({ spec }: AlembicSettings, handed: DriverUrl | null): Record<string, string> {
  return handed === null || spec.databaseUrl?.env === undefined ? {} : { [spec.databaseUrl.env]: handed.url };
}

function driverSettings(settings: AlembicSettings, handed: DriverUrl | null): Message {
  const { spec, versionTable, lockTimeoutSeconds, copy, scripts } = settings;
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
    applicationName: nameOf(settings),
    lockTimeoutSeconds,
    copy,
    scripts: scripts?.kind === 'archive' ? scripts.archive : null,
  };
}

/** The passwords that were handed over, and every variable whose value does not stand in the YAML. */
function secretsOf({ spec, databaseUrl, env, copy }: AlembicSettings, handed: DriverUrl | null): readonly string[] {
  const hidden = spec.env
    .filter((variable) => variable.valueFrom !== undefined)
    .flatMap(({ name }) => {
      const value = env[name] ?? '';
      return [value, ...secretsOfUrl(value)];
    });
  return [
    ...secretsOfUrl(databaseUrl),
    ...secretsOfUrl(copy?.url ?? ''),
    ...(handed === null ? [] : secretsOfUrl(handed.url)),
    ...hidden,
  ];
}
