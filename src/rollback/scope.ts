/** What every step of one operation works with. */
import { seconds, type MigrationTarget, type TargetKey, type TargetStatus } from '../api/target.ts';
import { claim } from './claim.ts';
import { retry } from './errors.ts';
import type { BackupManifest, DatabaseIdentity, Operation, OperationStep } from './model.ts';
import type { AlembicSession, AlembicSettings, BackupStore, LiveDatabase, Lock, Ports, Progress } from './ports.ts';
import { createScratches, type Scratch, type Scratches } from './scratch.ts';
import { requestedAt, type Asked, type Visit } from './visit.ts';

export interface Scope extends AsyncDisposable {
  readonly key: TargetKey;
  readonly target: MigrationTarget;
  readonly asked: Asked;
  readonly operationId: string;
  /** The request by annotation that this visit answers. */
  readonly requestedAt: string | null;
  /** Databases that earlier restores put aside. */
  readonly keptAside: TargetStatus['keptAside'];
  /** That this target answers for this database, for its status. */
  readonly claimed: (identity: DatabaseIdentity) => TargetStatus['database'];
  readonly ports: Ports;
  readonly database: LiveDatabase;
  readonly lock: Lock;
  readonly store: BackupStore;
  readonly scratch: Scratches;
  /** Started once, at the first call. */
  readonly alembic: () => Promise<AlembicSession>;
  /** The first journal entry: from then on the object is held until the operation is over. */
  readonly begin: (operation: Operation) => Promise<Operation>;
  /** Journals: when it resolves, the next start knows. Nothing has an effect before its intent went through here. */
  readonly save: (operation: Operation) => Promise<Operation>;
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

export function createScope(
  visit: Visit,
  parts: { readonly id: string; readonly database: LiveDatabase; readonly lock: Lock; readonly store: BackupStore },
): Scope {
  const { key, target, ports } = visit;
  let session: Promise<AlembicSession> | null = null;
  const scratch = createScratches(parts.database, parts.id);
  const save = (operation: Operation): Promise<Operation> => visit.save({ ...operation, scratch: scratch.names() });
  return {
    key,
    target,
    asked: visit.asked,
    operationId: parts.id,
    requestedAt: requestedAt(target),
    keptAside: visit.status.keptAside,
    claimed: (identity) => claim(visit, identity, ports.clock.now()),
    ports,
    database: parts.database,
    lock: parts.lock,
    store: parts.store,
    scratch,
    alembic: () => (session ??= startAlembic(visit, parts.id)),
    begin: async (operation) => {
      await ports.home.hold(key);
      return save(operation);
    },
    save,
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
      await Promise.all([started?.[Symbol.asyncDispose](), scratch.settled()]);
      await Promise.all([parts.lock[Symbol.asyncDispose](), parts.database[Symbol.asyncDispose]()]);
    },
  };
}

/** One Python process, told everything that the declaration says of alembic. */
export async function startAlembic(
  visit: Pick<Visit, 'key' | 'target' | 'ports' | 'signal'>,
  operationId: string,
): Promise<AlembicSession> {
  const { key, target, ports } = visit;
  const { database, alembic } = target.spec;
  const env: Record<string, string> = {};
  for (const { name, value, valueFrom } of alembic.env) {
    env[name] = valueFrom === undefined ? (value ?? '') : await ports.home.resolve(valueFrom, key.namespace);
  }
  const settings: AlembicSettings = {
    spec: alembic,
    versionTable: { schema: database.versionTableSchema, name: database.versionTable },
    databaseUrl: await ports.home.resolve(database.urlFrom, key.namespace),
    operationId,
    lockTimeoutSeconds: seconds(database.lockTimeout),
    signal: AbortSignal.any([visit.signal, AbortSignal.timeout(seconds(target.spec.timeout) * 1000)]),
    env,
  };
  return ports.alembic.start(settings);
}

/** Progress of one step, on its way to the terminal and the log. */
export const progressOf =
  (scope: Scope, operation: Operation, step: OperationStep): Progress =>
  (done, total, what) =>
    scope.ports.observe(scope.key, operation.id, { kind: 'progress', step, done, total, what });

/** Adds a sentence to the report, and tells it at once. */
export function note(scope: Scope, operation: Operation, message: string): Operation {
  scope.ports.observe(scope.key, operation.id, { kind: 'note', level: 'warn', message });
  return { ...operation, notes: [...operation.notes, message].slice(-20) };
}

/** A scratch database for `use`, journalled before it exists and dropped whatever happens. */
export const withScratch = <T>(
  { scratch, save }: Scope,
  operation: Operation,
  use: (scratch: Scratch) => Promise<T>,
): Promise<T> => scratch.use(() => save(operation), use);

/** The backup of that id, or undefined where it has gone. */
export async function findBackup(store: BackupStore, id: string): Promise<BackupManifest | undefined> {
  const { backups } = await store.list();
  return backups.find((backup) => backup.id === id);
}

/** Until when a backup taken now, or a database put aside now, is kept at the least; RFC 3339. */
export function keptUntil({ spec }: MigrationTarget, now: Date): string {
  return new Date(now.getTime() + seconds(spec.backup.retention.minAge) * 1000).toISOString();
}
