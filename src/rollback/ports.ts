/**
 * What the procedure needs of the world. Adapters implement it; nothing here knows how.
 * Methods return expected outcomes as values and throw a `Failure` (errors.ts) for what stops an operation.
 */
import type { Reason } from '../api/reasons.ts';
import type { MigrationTarget, TargetKey, TargetSpec, TargetStatus, ValueSource } from '../api/target.ts';
import type { BackupObjects, UnsupportedObjects } from './backup-objects.ts';
import type {
  BackupManifest,
  ChangePlan,
  DatabaseIdentity,
  DatabaseProperties,
  DatabaseState,
  OwnDatabase,
  RevisionGraph,
  RowCounts,
  SchemaFacts,
  Snapshot,
  Step,
  VersionTable,
} from './model.ts';

/** Long work tells how far it is; `total` is null where it can't be known. Units are the caller's to name. */
export type Progress = (done: number, total: number | null, what: string) => void;

// ---------------------------------------------------------------------------------------------- PostgreSQL

export interface DatabaseSettings {
  /** The application's URL, libpq style: no SQLAlchemy driver in its scheme. */
  readonly url: string;
  readonly adminUrl: string | null;
  readonly maintenanceDatabase: string;
  readonly versionTable: { readonly schema: string; readonly name: string };
  readonly lockTimeoutSeconds: number;
  /** Part of `application_name` on every connection: `migration-target/<operationId>`. */
  readonly operationId: string;
}

export interface Databases {
  /** Connects once, lazily adds what it needs. Throws: DatabaseUrlInvalid, DatabaseNameRefused, AuthenticationFailed, DatabaseNotFound, DatabaseUnreachable (retry), PoolerRefused, ServerNotSupported. */
  open(settings: DatabaseSettings): Promise<LiveDatabase>;
}

/** The fence: a transaction-level advisory lock in the maintenance database, held open. */
export interface Lock extends AsyncDisposable {
  /** What alembic's own connection looks for in `pg_locks` before it commits. */
  readonly token: LockToken;
  /** Throws DatabaseUnreachable (retry) if the lock's session is gone. To be called before each effect. */
  assertHeld(): Promise<void>;
}

export interface LockToken {
  /** `pg_locks.classid` and `objid`: the two halves of the 64-bit key. */
  readonly classId: number;
  readonly objId: number;
  readonly pid: number;
}

export interface DumpResult {
  readonly snapshot: Snapshot;
  /** Read in the dump's snapshot; null: no version table. */
  readonly revisions: readonly string[] | null;
  /** As `liveSchema` reads it, in the dump's snapshot. */
  readonly schema: SchemaFacts;
  readonly properties: DatabaseProperties;
  /** e.g. `pg_dump (PostgreSQL) 16.4`. */
  readonly tool: string;
}

/** A table that somebody wrote to since a snapshot. */
export interface TableWrites {
  readonly table: string;
  /** Rows inserted or updated, and the difference in the number of rows. */
  readonly written: number;
  readonly countBefore: number;
  readonly countNow: number;
}

/** What is in a database that we restored. */
export interface Contents {
  readonly schema: SchemaFacts;
  readonly rowCounts: RowCounts;
  readonly versionTable: VersionTable;
}

/** What of its properties a new database has not. */
export interface LeftOut {
  /** Roles that the server no longer has: what they had is left out, and what they owned is the worker's. */
  readonly roles: readonly string[];
  /** Settings that the worker may not make, e.g. `ALTER ROLE "reader" SET "work_mem"`; without their values. */
  readonly settings: readonly string[];
}

/** Where a swap stands, told from names, oids and `datallowconn` alone. */
export type SwapState =
  | { readonly kind: 'notSwapped'; readonly liveClosed: boolean; readonly intoExists: boolean }
  | { readonly kind: 'swapped' }
  | { readonly kind: 'unknown'; readonly found: string };

export interface LiveDatabase extends AsyncDisposable {
  /** Over one connection, in one read-only snapshot. */
  read(): Promise<DatabaseState>;
  /** null: another holder has it. */
  lock(): Promise<Lock | null>;
  /** Ends every other session of ours on this database and its scratch databases, then waits until they are gone. */
  endOperationSessions(): Promise<number>;
  /** Throws ToolsNotFound, naming the directories searched and the package to install. Cached. */
  tools(): Promise<{
    readonly pgDump: string;
    readonly pgRestore: string;
    readonly psql: string;
    readonly version: string;
  }>;

  /** The live catalogue as it renders now: comparable only with itself, before and after. */
  liveSchema(): Promise<SchemaFacts>;
  /** Through a schema-only dump, restored into the empty `scratch` once it is `created`. Comparable with any other of the same major. */
  canonicalSchema(scratch: OwnDatabase, created: Promise<unknown>): Promise<SchemaFacts>;
  rowCounts(): Promise<RowCounts>;
  /** What a plain dump does not carry of the live database. */
  properties(): Promise<DatabaseProperties>;
  /** In a read-only transaction, in the live database or in `database`; the first column of the first row, as text; null for NULL or no row. */
  query(sql: string, database?: OwnDatabase): Promise<string | null>;

  /** Dumps into `directory` (which must not exist), counts and revisions read in the dump's own snapshot. */
  dump(directory: string, progress: Progress, signal?: AbortSignal): Promise<DumpResult>;
  /** What was written since the snapshot by anybody. */
  writesSince(snapshot: Snapshot): Promise<readonly TableWrites[]>;

  /** An unused oid for a database to be created, so that it can be journalled first. The name carries `id`, at most 63 bytes, and differs from the live name. */
  newDatabase(purpose: 'scratch' | 'restored' | 'old', id: string): Promise<OwnDatabase>;
  /** `CREATE DATABASE … OID = …`; PUBLIC may not connect to a scratch one. Throws PermissionDenied. */
  createDatabase(database: OwnDatabase, properties: DatabaseProperties | 'scratch'): Promise<LeftOut>;
  /** Drops it if, and only if, that name has that oid; says whether it existed. Ends its sessions first. */
  dropDatabase(database: OwnDatabase): Promise<boolean>;
  /** pg_restore of a directory-format dump, or psql for a plain one (refusing its backslash commands). */
  restoreInto(
    database: OwnDatabase,
    dump: {
      readonly path: string;
      readonly format: 'directory' | 'plain';
      /** Of a directory-format dump: without its rows. */ readonly schemaOnly?: boolean;
    },
    progress: Progress,
    signal?: AbortSignal,
  ): Promise<void>;
  /** ANALYZE of a restored database: without it the first queries after a swap would be planned blindly. */
  analyze(database: OwnDatabase): Promise<void>;
  contents(database: OwnDatabase): Promise<Contents>;
  /** Writes the version table of a restored database, where the dump carried none. */
  stamp(database: OwnDatabase, revisions: readonly string[]): Promise<void>;

  /** Closes the live database, ends its sessions, renames both in one transaction, opens the new one. Idempotent by oid. Returns the milliseconds during which nobody could connect. */
  swap(live: OwnDatabase, into: OwnDatabase, aside: OwnDatabase): Promise<{ readonly closedMs: number }>;
  swapState(live: OwnDatabase, into: OwnDatabase, aside: OwnDatabase): Promise<SwapState>;
  /** Lets connections in again after a swap that was given up. */
  reopen(live: OwnDatabase): Promise<void>;
}

// ------------------------------------------------------------------------------------------------- alembic

export interface AlembicSettings {
  readonly spec: TargetSpec['alembic'];
  readonly versionTable: { readonly schema: string; readonly name: string };
  /** spec.database's URL, libpq style; handed to env.py as spec.alembic.databaseUrl says. */
  readonly databaseUrl: string;
  readonly operationId: string;
  readonly lockTimeoutSeconds: number;
  /** Ends the process where no migration has started yet; never afterwards. */
  readonly signal: AbortSignal;
  /** Resolves spec.alembic.env[].valueFrom. */
  readonly env: Readonly<Record<string, string>>;
}

export interface AlembicRunner {
  /** Starts one Python process, which serves a whole operation. Throws PythonNotFound, AlembicNotFound. */
  start(settings: AlembicSettings): Promise<AlembicSession>;
}

export type MigrationEvent =
  | { readonly kind: 'started'; readonly step: Step; readonly index: number; readonly total: number }
  | {
      readonly kind: 'finished';
      readonly step: Step;
      readonly index: number;
      readonly total: number;
      readonly ms: number;
    }
  /** A line that env.py or a migration printed or logged. */
  | { readonly kind: 'output'; readonly line: string };

export interface MigrationError {
  /**
   * `lockTimeout`, `outOfMemory`, `connectionLost`, `fenced` (the lock is gone), `timedOut` pass by themselves;
   * `wrongDatabase`: env.py reaches another database; `environment`: env.py raised before any migration;
   * `migration`: a migration raised; `nothingDone`: it returned without having run the steps; `died`: the process ended.
   */
  readonly kind:
    | 'lockTimeout'
    | 'outOfMemory'
    | 'connectionLost'
    | 'fenced'
    | 'timedOut'
    | 'wrongDatabase'
    | 'environment'
    | 'migration'
    | 'nothingDone'
    | 'died';
  readonly message: string;
  readonly step: Step | null;
  readonly sqlstate: string | null;
  readonly statement: string | null;
  readonly file: string | null;
  readonly line: number | null;
  /** Who held the lock, where that is known. */
  readonly blockedBy: string | null;
  /** Whether alembic's connections committed anything since the first step began; null: nobody can tell any more. */
  readonly committed: boolean | null;
}

export type MigrationResult = { readonly ok: true } | { readonly ok: false; readonly error: MigrationError };

export interface AlembicSession extends AsyncDisposable {
  /** Reads the script folder; env.py does not run. Throws AlembicConfigNotFound, AlembicFailed. */
  graph(): Promise<RevisionGraph>;
  /** Begins to import what a change needs beyond alembic, e.g. the driver; runs nothing of the application's. */
  warmUp(): void;
  /** Runs exactly these steps in this order, with alembic's own machinery; `from`: the version table now. */
  migrate(
    request: {
      readonly from: readonly string[];
      readonly steps: readonly Step[];
      /** env.py must reach this database, or nothing runs. */
      readonly database: { readonly name: string; readonly oid: number; readonly systemIdentifier?: string };
      readonly lock: LockToken;
    },
    onEvent: (event: MigrationEvent) => void,
  ): Promise<MigrationResult>;
  /** Runs env.py up to where its migrations would begin, and no further: does it reach this database, and its version table? */
  probe(request: { readonly database: DatabaseIdentity; readonly lock: LockToken }): Promise<MigrationResult>;
  /** Alembic's offline mode. */
  offlineSql(request: {
    readonly from: readonly string[];
    readonly steps: readonly Step[];
  }): Promise<
    { readonly kind: 'sql'; readonly sql: string } | { readonly kind: 'unavailable'; readonly because: string }
  >;
}

// ------------------------------------------------------------------------------------------------- backups

/** A folder of the catalogue that is not a whole backup, and why. */
export interface BrokenBackup {
  readonly id: string;
  readonly problem: string;
}

export interface BackupDraft {
  /** Where the dump goes (does not exist yet). */
  readonly dumpDirectory: string;
  /** Checksums every file, writes the manifest and the schema, fsyncs, renames: from then on it is in the catalogue. */
  commit(manifest: Omit<BackupManifest, 'files' | 'sizeBytes'>, schema: SchemaFacts | null): Promise<BackupManifest>;
  discard(): Promise<void>;
}

export interface BackupStore {
  /** Newest first. Temporary folders are not listed. A missing folder is empty, and stays missing. Throws StorageUnavailable. */
  list(): Promise<{ readonly backups: readonly BackupManifest[]; readonly broken: readonly BrokenBackup[] }>;
  /** A new id for a backup of this target: sorts by time, safe as a file name. */
  newId(at: Date): string;
  begin(id: string, operationId: string): Promise<BackupDraft>;
  /** Reads every file again and compares with the manifest; symlinks, `..` and foreign files are refused. */
  check(id: string): Promise<{ readonly ok: true } | { readonly ok: false; readonly problem: string }>;
  dumpPath(manifest: BackupManifest): string;
  schema(id: string): Promise<SchemaFacts | null>;
  /** The canonical schema of a database at a revision that was reached, for later comparison; newest wins. */
  recordSchema(
    database: { readonly systemIdentifier: string; readonly name: string },
    revisions: readonly string[],
    facts: SchemaFacts,
  ): Promise<void>;
  recordedSchema(
    database: { readonly systemIdentifier: string; readonly name: string },
    revisions: readonly string[],
    major: number,
  ): Promise<SchemaFacts | null>;
  markVerified(id: string, at: string, schema: SchemaFacts): Promise<void>;
  remove(id: string): Promise<void>;
  /** Temporary folders that dead operations left. */
  removeLeftovers(operationId: string): Promise<void>;
  /** Free bytes on the disk, or null where that can't be known. */
  freeBytes(): Promise<number | null>;
  /** What `restoreFrom` did, beside the manifest, so that a lost status repeats nothing. */
  recordRestore(
    id: string,
    database: { readonly systemIdentifier: string; readonly name: string },
    state: 'intended' | 'done',
  ): Promise<void>;
  restoreRecord(
    id: string,
    database: { readonly systemIdentifier: string; readonly name: string },
  ): Promise<'intended' | 'done' | null>;
}

export interface BackupStores {
  /** Throws NotSupported, StorageUnavailable. */
  open(storage: TargetSpec['backup']['storage'], target: TargetKey): Promise<BackupStore>;
}

// --------------------------------------------------------------------------------------------------- homes

/** What a home holds under a name: a target, or something that is none, with the reason. */
export type Declaration =
  | { readonly kind: 'target'; readonly target: MigrationTarget }
  | {
      readonly kind: 'invalid';
      readonly key: TargetKey;
      readonly generation: number;
      readonly problem: string;
      readonly status: TargetStatus | null;
    };

export interface HomeEvent {
  readonly type: 'Normal' | 'Warning';
  readonly reason: string;
  readonly message: string;
}

/** Where declarations come from and status goes to. */
export interface Home {
  readonly kind: 'directory' | 'kubernetes';
  /** Every declaration now. Throws where the home can't be read. */
  list(): Promise<readonly Declaration[]>;
  get(key: TargetKey): Promise<Declaration | null>;
  /** Calls `onChange` for each key that may have changed, until aborted; resolves when synced once. Never throws later: it reconnects, and says so by `onProblem`. */
  watch(onChange: (key: TargetKey) => void, onProblem: (problem: Error) => void, signal: AbortSignal): Promise<void>;
  /**
   * Replaces the status. The journal is in it: when this resolves it is durable. With `replaces`, the status that this
   * one was made of: throws DatabaseLocked (retry), and writes nothing, where another process has journalled an
   * operation, or ended one, meanwhile.
   */
  saveStatus(key: TargetKey, status: TargetStatus, replaces?: TargetStatus | null): Promise<void>;
  /** Keeps the object until `release`, from before an operation's first effect. */
  hold(key: TargetKey): Promise<void>;
  release(key: TargetKey): Promise<void>;
  record(key: TargetKey, event: HomeEvent): Promise<void>;
  /** Throws SecretNotFound, NotAllowed. One trailing newline is dropped, as `kubectl create secret --from-file` leaves one. */
  resolve(source: ValueSource, namespace: string): Promise<string>;
  setSuspended(key: TargetKey, suspended: boolean): Promise<void>;
  requestReconcile(key: TargetKey, at: string): Promise<void>;
  /** Adds or replaces a declaration. `dryRun`: only says what is wrong with it. */
  apply(document: unknown, options: { readonly dryRun: boolean }): Promise<Declaration>;
  /** Where a report of an operation was written, or null if this home keeps none. */
  saveReport(
    key: TargetKey,
    operationId: string,
    report: { readonly markdown: string; readonly json: string },
  ): Promise<string | null>;
  /** Where backups are objects of the home too: Kubernetes. */
  readonly backupObjects?: BackupObjects;
  /** Where there are objects that this version does not act on: Kubernetes. */
  readonly unsupported?: UnsupportedObjects;
}

// ------------------------------------------------------------------------------------------------ the rest

export interface Clock {
  now(): Date;
}

/** What one operation tells while it goes on: the terminal, the log and the metrics listen. */
export type OperationEvent =
  | {
      readonly kind: 'step';
      readonly step: string;
      readonly state: 'started' | 'finished' | 'failed' | 'skipped';
      readonly ms?: number;
      readonly message?: string;
    }
  | {
      readonly kind: 'progress';
      readonly step: string;
      readonly done: number;
      readonly total: number | null;
      readonly what: string;
    }
  | { readonly kind: 'migration'; readonly event: MigrationEvent }
  /** What was planned is not begun: the policy, or the database, is in the way. */
  | { readonly kind: 'refused'; readonly operation: ChangePlan['kind'] | 'restore'; readonly reason: Reason }
  | { readonly kind: 'note'; readonly level: 'info' | 'warn'; readonly message: string };

export interface Ports {
  readonly databases: Databases;
  readonly alembic: AlembicRunner;
  readonly backups: BackupStores;
  readonly home: Home;
  readonly clock: Clock;
  /** Never throws, never blocks. */
  readonly observe: (key: TargetKey, operationId: string, event: OperationEvent) => void;
}
