/** What every step of one operation works with. */
import { seconds, type MigrationTarget, type TargetKey, type TargetStatus } from '../api/target.ts';
import { claim } from './claim.ts';
import { asFailure, retry, stalled } from './errors.ts';
import type {
  BackupManifest,
  DatabaseIdentity,
  Operation,
  OperationStep,
  OwnDatabase,
  RecordedScripts,
  ScriptSource,
} from './model.ts';
import type {
  AlembicSession,
  AlembicSettings,
  BackupStore,
  CopyTarget,
  LiveDatabase,
  Lock,
  Ports,
  Progress,
  RunScripts,
  ScratchServer,
} from './ports.ts';
import { createScratches, type Scratch, type Scratches } from './scratch.ts';
import { ownerOf, requestedAt, type Asked, type Visit } from './visit.ts';

export interface Scope extends AsyncDisposable {
  readonly key: TargetKey;
  readonly target: MigrationTarget;
  readonly asked: Asked;
  readonly operationId: string;
  /** The request by annotation that this visit answers. */
  readonly requestedAt: string | null;
  /** The plan that the status showed when this visit began. */
  readonly planBefore: TargetStatus['plan'];
  /** Times that the visits before this one began a rehearsal, for the same declaration, that did not end. */
  readonly rehearsalsBefore: number;
  /** Databases that earlier restores put aside. */
  readonly keptAside: TargetStatus['keptAside'];
  /** That this target answers for this database, for its status. */
  readonly claimed: (identity: DatabaseIdentity) => TargetStatus['database'];
  readonly ports: Ports;
  readonly database: LiveDatabase;
  readonly lock: Lock;
  readonly store: BackupStore;
  readonly scratch: Scratches;
  /** Where copies are tried on: the live server, or `spec.policy.rehearsalServer`, opened at the first call. */
  readonly stage: () => Promise<Stage>;
  /** Drops all scratch databases, wherever they are, and waits until they are gone. */
  readonly clearScratch: () => Promise<void>;
  /** Started once, at the first call. */
  readonly alembic: () => Promise<AlembicSession>;
  /** Ends it; the next call starts another. */
  readonly endAlembic: () => Promise<void>;
  /** From now on alembic runs these migrations; null: the declared ones. */
  readonly useScripts: (source: ScriptSource | null) => Promise<void>;
  /** What `startAlembic` has to be told of them. */
  readonly scripts: () => Promise<RunScripts | undefined>;
  /** The first journal entry: from then on the object is held until the operation is over. */
  readonly begin: (operation: Operation) => Promise<Operation>;
  /** Journals: when it resolves, the next start knows. Nothing has an effect before its intent went through here. */
  readonly save: (operation: Operation) => Promise<Operation>;
  /** What was journalled last by this visit; null: nothing yet. */
  readonly journal: () => Operation | null;
  readonly observeStep: (
    operation: Pick<Operation, 'id'>,
    step: OperationStep,
  ) => (state: 'started' | 'finished' | 'failed', message?: string, ms?: number) => void;
  /** Aborted where the controller is stopping. */
  readonly signal: AbortSignal;
  /** Aborted once `spec.timeout` is over; not for what must not be interrupted: the change and the restore. */
  readonly deadline: (operation: Operation) => AbortSignal;
  /** Throws OperationInterrupted if the controller is stopping: between steps, where nothing is half done. */
  readonly stopIfAsked: (operation: Operation) => void;
}

/** A server that copies are made and tried on. */
export interface Stage {
  readonly server: ScratchServer;
  readonly scratch: Scratches;
  /** null: the live server. */
  readonly url: string | null;
}

export function createScope(
  visit: Visit,
  parts: { readonly id: string; readonly database: LiveDatabase; readonly lock: Lock; readonly store: BackupStore },
): Scope {
  const { key, target, ports } = visit;
  let session: Promise<AlembicSession> | null = null;
  const scratch = createScratches(parts.database, parts.id);
  let opened: Promise<OtherStage> | null = null;
  let elsewhere: OtherStage | null = null;
  const { plan } = visit.journal ?? {};
  let source: ScriptSource | null = plan !== undefined && 'scripts' in plan ? (plan.scripts ?? null) : null;
  let read: Promise<RunScripts> | null = null;
  const scripts = async (): Promise<RunScripts | undefined> => {
    if (source === null) return undefined;
    read ??= runScripts(parts, source);
    return read;
  };
  const start = async (): Promise<AlembicSession> => startAlembic(visit, parts.id, null, await scripts());
  const endAlembic = async (): Promise<void> => {
    const started = await session?.catch(() => null);
    session = null;
    await started?.[Symbol.asyncDispose]();
  };
  let journal: Operation | null = null;
  const save = async (operation: Operation): Promise<Operation> => {
    journal = await visit.save({ ...operation, scratch: [...scratch.names(), ...(elsewhere?.names() ?? [])] });
    return journal;
  };
  return {
    key,
    target,
    asked: visit.asked,
    operationId: parts.id,
    requestedAt: requestedAt(target),
    planBefore: visit.status.plan,
    rehearsalsBefore: isForTheSame(visit) ? (visit.journal?.rehearsals ?? 0) : 0,
    keptAside: visit.status.keptAside,
    claimed: (identity) => claim(visit, identity, ports.clock.now()),
    ports,
    database: parts.database,
    lock: parts.lock,
    store: parts.store,
    scratch,
    stage: async () => {
      if (target.spec.policy.rehearsalServer === undefined) return { server: parts.database, scratch, url: null };
      opened ??= openRehearsalServer(visit, parts);
      elsewhere = await opened;
      return elsewhere;
    },
    clearScratch: async () => {
      await scratch.clear();
      await elsewhere?.scratch.clear();
    },
    alembic: () => (session ??= start()),
    endAlembic,
    useScripts: async (next) => {
      if (next?.kind === source?.kind && next?.digest === source?.digest) return;
      await endAlembic();
      source = next;
      read = null;
    },
    scripts,
    begin: async (operation) => {
      await ports.home.hold(key);
      return save(operation);
    },
    save,
    journal: () => journal,
    observeStep: (operation, step) => (state, message, ms) =>
      ports.observe(key, operation.id, {
        kind: 'step',
        step,
        state,
        ...(message === undefined ? {} : { message }),
        ...(ms === undefined ? {} : { ms }),
      }),
    signal: visit.signal,
    deadline: ({ startedAt }) => {
      const endsAt = Date.parse(startedAt) + seconds(target.spec.timeout) * 1000;
      return AbortSignal.timeout(Math.max(0, endsAt - ports.clock.now().getTime()));
    },
    stopIfAsked: (operation) => {
      if (!visit.signal.aborted) return;
      throw retry(
        'OperationInterrupted',
        `Operation ${operation.id} was stopped before its step ${operation.step}; the next start goes on with it.`,
      );
    },
    [Symbol.asyncDispose]: async () => {
      const started = await session?.catch(() => null);
      await Promise.all([started?.[Symbol.asyncDispose](), scratch.settled(), elsewhere?.scratch.settled()]);
      await elsewhere?.server[Symbol.asyncDispose]();
      await Promise.all([parts.lock[Symbol.asyncDispose](), parts.database[Symbol.asyncDispose]()]);
    },
  };
}

const isForTheSame = ({ journal, target }: Visit): boolean =>
  journal?.generation === target.metadata.generation && journal.requestedAt === requestedAt(target);

interface OtherStage extends Stage {
  readonly names: () => readonly OwnDatabase[];
}

async function openRehearsalServer(
  visit: Pick<Visit, 'key' | 'target' | 'ports'>,
  { database, id }: { readonly database: LiveDatabase; readonly id: string },
): Promise<OtherStage> {
  const server = await connectRehearsalServer(visit, database, id);
  const scratch = createScratches(server.server, id);
  return {
    ...server,
    scratch,
    names: () => scratch.names().map((named) => ({ ...named, elsewhere: true })),
  };
}

/** Throws a Failure that names the field; the target has to declare one. */
export async function connectRehearsalServer(
  { target, ports }: Pick<Visit, 'target' | 'ports'>,
  database: LiveDatabase,
  operationId: string,
): Promise<{ readonly server: ScratchServer; readonly url: string }> {
  const source = target.spec.policy.rehearsalServer?.urlFrom;
  if (source === undefined) throw new Error('there is no rehearsal server to connect to');
  const url = await ports.home.resolve(source, ownerOf(target));
  const { identity, server } = await database.read();
  const { versionTable, versionTableSchema, lockTimeout } = target.spec.database;
  return {
    url,
    server: await ports.databases.openScratchServer({
      url,
      like: { name: identity.name, properties: await database.properties(), major: server.major },
      versionTable: { schema: versionTableSchema, name: versionTable },
      lockTimeoutSeconds: seconds(lockTimeout),
      operationId,
      place: { runtime: target.spec.runtime, owner: ownerOf(target) },
    }),
  };
}

/** One Python process, told everything that the declaration says of alembic. */
export async function startAlembic(
  visit: Pick<Visit, 'key' | 'target' | 'ports' | 'signal'>,
  operationId: string,
  copy: CopyTarget | null = null,
  scripts?: RunScripts,
): Promise<AlembicSession> {
  const { target, ports } = visit;
  const { database, alembic } = target.spec;
  const owner = ownerOf(target);
  const env: Record<string, string> = {};
  for (const { name, value, valueFrom } of alembic.env) {
    env[name] = valueFrom === undefined ? (value ?? '') : await ports.home.resolve(valueFrom, owner);
  }
  const settings: AlembicSettings = {
    spec: alembic,
    runtime: target.spec.runtime,
    owner,
    versionTable: { schema: database.versionTableSchema, name: database.versionTable },
    databaseUrl: await ports.home.resolve(database.urlFrom, owner),
    operationId,
    lockTimeoutSeconds: seconds(database.lockTimeout),
    signal: AbortSignal.any([visit.signal, AbortSignal.timeout(seconds(target.spec.timeout) * 1000)]),
    env,
    copy,
    ...(scripts === undefined ? {} : { scripts }),
  };
  return ports.alembic.start(settings);
}

/** Throws RevisionNotFound where they are recorded no more. */
async function runScripts(
  { store, database }: { readonly store: BackupStore; readonly database: LiveDatabase },
  source: ScriptSource,
): Promise<RunScripts> {
  const { identity } = await database.read();
  const recorded = await store.recordedScripts(identity);
  const [run] = recorded.flatMap((one) => (one.digest === source.digest ? (asRun(one, source.kind) ?? []) : []));
  if (run !== undefined) return run;
  throw stalled(
    'RevisionNotFound',
    `The migrations that were recorded with database ${identity.name} are gone, though an operation was begun with them. Deploy the image that has them, then: migration-target reconcile NAME`,
  );
}

/** null: of that kind nothing was kept. */
export function asRun({ image, archive }: RecordedScripts, kind: ScriptSource['kind']): RunScripts | null {
  if (kind === 'image') return image === null ? null : { kind, image };
  return archive === null ? null : { kind, archive };
}

/** A step that is not journalled: before there is an operation, or once all of it is done. */
export async function observed<T>(scope: Scope, name: OperationStep, run: () => Promise<T>): Promise<T> {
  const observe = scope.observeStep({ id: scope.operationId }, name);
  observe('started');
  const startedAt = performance.now();
  const done = await run();
  observe('finished', undefined, Math.round(performance.now() - startedAt));
  return done;
}

/** Progress of one step, on its way to the terminal and the log. */
export const progressOf =
  (scope: Scope, operation: Operation, step: OperationStep): Progress =>
  (done, total, what) =>
    scope.ports.observe(scope.key, operation.id, { kind: 'progress', step, done, total, what });

/** A part of work that is no step of the procedure, told as one. */
export async function progressStep<T>(
  { ports, key }: Scope,
  { id }: Pick<Operation, 'id'>,
  step: string,
  run: () => Promise<T>,
): Promise<T> {
  ports.observe(key, id, { kind: 'step', step, state: 'started' });
  const startedAt = performance.now();
  try {
    const done = await run();
    ports.observe(key, id, { kind: 'step', step, state: 'finished', ms: Math.round(performance.now() - startedAt) });
    return done;
  } catch (thrown) {
    ports.observe(key, id, { kind: 'step', step, state: 'failed', message: asFailure(thrown).message });
    throw thrown;
  }
}

/** Adds a sentence to the report, and tells it at once. */
export function note(scope: Scope, operation: Operation, message: string): Operation {
  scope.ports.observe(scope.key, operation.id, { kind: 'note', level: 'warn', message });
  return { ...operation, notes: [...operation.notes, message].slice(-20) };
}

/** The same on the stage of a rehearsal. */
export async function withCopy<T>(
  scope: Scope,
  operation: Operation,
  use: (scratch: Scratch) => Promise<T>,
  make?: (named: OwnDatabase) => Promise<unknown>,
): Promise<T> {
  const { scratch } = await scope.stage();
  return scratch.use(() => scope.save(operation), use, make);
}

/** A scratch database for `use`, empty or as `make` makes it; journalled before it exists and dropped whatever happens. */
export const withScratch = <T>(
  { scratch, save }: Scope,
  operation: Operation,
  use: (scratch: Scratch) => Promise<T>,
  make?: (named: OwnDatabase) => Promise<unknown>,
): Promise<T> => scratch.use(() => save(operation), use, make);

/** The backup of that id, or undefined where it has gone. */
export async function findBackup(store: BackupStore, id: string): Promise<BackupManifest | undefined> {
  const { backups } = await store.list();
  return backups.find((backup) => backup.id === id);
}

/** Throws BackupNotFound where it has gone. */
export async function requireBackup({ store, key }: Scope, id: string): Promise<BackupManifest> {
  const manifest = await findBackup(store, id);
  if (manifest !== undefined) return manifest;
  throw stalled(
    'BackupNotFound',
    `Backup ${id} is no longer in the catalogue. See: migration-target backups ${key.name}`,
  );
}

/** The same, with every file of it read and found as it was written. Throws BackupInvalid too. */
export async function requireWholeBackup(scope: Scope, id: string): Promise<BackupManifest> {
  const manifest = await requireBackup(scope, id);
  const checked = await scope.store.check(id);
  if (checked.ok) return manifest;
  throw stalled(
    'BackupInvalid',
    `Backup ${id} can't be restored: ${checked.problem}. See: migration-target backups ${scope.key.name}`,
  );
}

/** Until when a backup taken now, or a database put aside now, is kept at the least; RFC 3339. */
export function keptUntil({ spec }: MigrationTarget, now: Date): string {
  return new Date(now.getTime() + seconds(spec.backup.retention.minAge) * 1000).toISOString();
}
