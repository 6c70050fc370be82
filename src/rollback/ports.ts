/**
 * What the procedure needs of the world. Adapters implement it; nothing here knows how.
 * Methods return expected outcomes as values and throw a `Failure` (errors.ts) for what stops an operation.
 */
import type { Reason } from '../api/reasons.ts';
import type { MigrationTarget, TargetKey, TargetSpec, TargetStatus, ValueSource } from '../api/target.ts';
import type { BackupObjects } from './backup-objects.ts';
import type { Claimed } from './claim.ts';
import type { Failure } from './errors.ts';
import type { Notification } from './notification.ts';
import type {
  BackupManifest,
  BuiltSchemas,
  ChangePlan,
  DataLoss,
  DatabaseIdentity,
  DatabaseProperties,
  DatabaseState,
  OwnDatabase,
  RecordedScripts,
  RevisionGraph,
  RowCounts,
  LogLine,
  SchemaAt,
  SchemaFacts,
  ScriptArchive,
  Snapshot,
  Step,
  VersionTable,
  WorkloadBefore,
} from './model.ts';

/**
 * For which target an adapter works. In a cluster it works in that target's namespace, with the rights of its service
 * account, and what it makes there is owned by it; elsewhere only the name counts.
 */
export interface Owner extends TargetKey {
  /** Of the object that declares it; without one, nothing in a cluster can be owned by it. */
  readonly uid?: string;
  /** spec.serviceAccountName; left out: the controller's own. */
  readonly serviceAccountName?: string;
}

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
  /** What says where the tools run; null: beside the controller. */
  readonly place: { readonly runtime: TargetSpec['runtime']; readonly owner: Owner } | null;
}

/** Another server of the same major, for copies alone. */
export interface ScratchServerSettings extends Omit<DatabaseSettings, 'adminUrl' | 'maintenanceDatabase'> {
  /** Of a maintenance database there. */
  readonly url: string;
  /** The live database that copies are made of: its name, and how it is set up. */
  readonly like: { readonly name: string; readonly properties: DatabaseProperties; readonly major: number };
}

/** What is needed of a server that only copies are on. */
export type ScratchServer = AsyncDisposable &
  Pick<
    LiveDatabase,
    | 'newDatabase'
    | 'createDatabase'
    | 'copyDatabase'
    | 'dropDatabase'
    | 'restoreInto'
    | 'contents'
    | 'canonicalSchema'
    | 'findLoss'
    | 'query'
    | 'freeBytes'
  >;

/** A server for trying migrations, with nothing live on it; the tools are beside whoever checks. */
export type CheckServerSettings = Omit<DatabaseSettings, 'adminUrl' | 'maintenanceDatabase' | 'place'>;

export interface CheckServer extends AsyncDisposable {
  /** Of an empty database of this run's own, in whose place scratch databases stand. Dropped with this. */
  readonly url: string;
  readonly root: OwnDatabase;
  readonly server: { readonly version: string; readonly major: number };
  /** Databases that a killed run had left, and that were dropped. */
  readonly cleared: readonly string[];
  readonly database: LiveDatabase;
  readonly lock: Lock;
  /** Writes down which scratch databases may exist, so that the next run drops them should this one be killed. */
  journal(scratch: readonly OwnDatabase[]): Promise<void>;
}

export interface Databases {
  /** `url`: of a database to connect to first, by a role that may create databases. Throws as `open` does, naming `--server`. */
  openCheckServer(settings: CheckServerSettings): Promise<CheckServer>;
  /** Connects once. Throws as `open` does, naming spec.policy.rehearsalServer.urlFrom; ServerNotSupported where its major is another. */
  openScratchServer(settings: ScratchServerSettings): Promise<ScratchServer>;
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
  /** What `restoreInto` takes. */
  readonly place: DumpPlace;
  readonly format: 'directory' | 'custom';
}

/** A dump on a disk that the controller sees: the folder of pg_dump's directory format, or one file. */
export interface DumpPath {
  readonly kind: 'path';
  readonly path: string;
}

/** A dump that no disk here holds: one file, read as a stream. */
export interface DumpStream {
  readonly kind: 'stream';
  /** For messages. */
  readonly name: string;
  /** From its beginning, as often as it is asked for. This, or reading on, throws StorageUnavailable (retry), and BackupInvalid where it is not what was written. */
  read(): Promise<{ readonly content: AsyncIterable<Uint8Array>; readonly bytes: number }>;
}

export type DumpPlace = DumpPath | DumpStream;

/** Where a dump is to go that no disk here is to hold. */
export interface DumpSink {
  readonly kind: 'stream';
  /**
   * Takes all of `content`; resolves once it is there whole, in place of what was written before. Where `content` throws,
   * so does this, and nothing of it stays. `bytes`: how many there may be, to choose the size of the parts by.
   */
  write(file: string, content: AsyncIterable<Uint8Array>, bytes: number): Promise<DumpStream>;
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

/** Sessions of a rehearsal that are not in its copy. */
export interface Strays extends AsyncDisposable {
  /** Looks once more, then tells of all that were seen: user, pid, database and the beginning of the query of each. Throws where it could not look on. */
  found(): Promise<readonly string[]>;
}

export interface LiveDatabase extends AsyncDisposable {
  /** Over one connection, in one read-only snapshot. */
  read(): Promise<DatabaseState>;
  /** null: another holder has it. */
  lock(): Promise<Lock | null>;
  /** Ends every other session of ours on this database and its scratch databases, then waits until they are gone. */
  endOperationSessions(): Promise<number>;
  /** From now on until it is disposed of: which sessions of this operation's rehearsal are on this server, but not in `copy`? Ends none. `as`: the id that its sessions carry, where it is not the operation's. */
  watchStrays(copy: OwnDatabase, as?: string): Promise<Strays>;
  /** Throws ToolsNotFound, naming the directories searched and the package to install. Cached. */
  tools(): Promise<{
    readonly pgDump: string;
    readonly pgRestore: string;
    readonly psql: string;
    readonly version: string;
    /** ` in the container unicorn-postgresql`; empty beside the controller. */
    readonly where: string;
  }>;

  /** The live catalogue as it renders now: comparable only with itself, before and after. */
  liveSchema(): Promise<SchemaFacts>;
  /** Of the live database, or `of`: through a schema-only dump, restored into the empty `scratch` once it is `created`. Comparable with any other of the same major. */
  canonicalSchema(scratch: OwnDatabase, created: Promise<unknown>, of?: OwnDatabase): Promise<SchemaFacts>;
  /** Sessions of others on the live database, each as a part of a sentence; at most five. */
  otherSessions(): Promise<readonly string[]>;
  /** Makes `to` (journalled, not existing yet) a copy of `from`, by template: oids of tables and numbers of columns are the same in both. */
  /** Free bytes on the disk that the server's data is on, or null where that can't be known from here. */
  freeBytes(): Promise<number | null>;
  rowCounts(): Promise<RowCounts>;
  /** What a plain dump does not carry of the live database. */
  properties(): Promise<DatabaseProperties>;
  /** In a read-only transaction, in the live database or in `database`; the first column of the first row, as text; null for NULL or no row. */
  query(sql: string, database?: OwnDatabase): Promise<string | null>;

  /** Dumps into a folder (which must not exist) or a stream, counts and revisions read in the dump's own snapshot. */
  dump(into: DumpPath | DumpSink, progress: Progress, signal?: AbortSignal): Promise<DumpResult>;
  /** What was written since the snapshot by anybody. */
  writesSince(snapshot: Snapshot): Promise<readonly TableWrites[]>;

  /** An unused oid for a database to be created, so that it can be journalled first. The name carries `id`, at most 63 bytes, and differs from the live name. */
  newDatabase(purpose: 'scratch' | 'restored' | 'old', id: string): Promise<OwnDatabase>;
  /** `CREATE DATABASE … OID = …`; PUBLIC may not connect to a scratch one. Throws PermissionDenied. */
  createDatabase(database: OwnDatabase, properties: DatabaseProperties | 'scratch'): Promise<LeftOut>;
  /** Makes `to` (journalled, not existing yet) a copy of `from`, by template: oids of tables and numbers of columns are the same in both. Ends the sessions on `from`; PUBLIC may not connect to `to`. */
  copyDatabase(from: OwnDatabase, to: OwnDatabase): Promise<void>;
  /** Drops it if, and only if, that name has that oid; says whether it existed. Ends its sessions first. */
  dropDatabase(database: OwnDatabase): Promise<boolean>;
  /** pg_restore of a dump in directory or custom format, or psql for a plain one (refusing its backslash commands). A scratch database gets no subscriptions and no user mappings. */
  restoreInto(
    database: OwnDatabase,
    dump: {
      readonly place: DumpPlace;
      readonly format: 'directory' | 'custom' | 'plain';
      /** Of a dump that is not plain: without its rows. */ readonly schemaOnly?: boolean;
    },
    progress: Progress,
    signal?: AbortSignal,
  ): Promise<void>;
  /** ANALYZE of a restored database: without it the first queries after a swap would be planned blindly. */
  analyze(database: OwnDatabase): Promise<void>;
  contents(database: OwnDatabase): Promise<Contents>;
  /**
   * What `before` has and `after` has not. `isCopy`: `after` was made by copyDatabase, and is compared by oid, so that
   * what was only renamed is no loss. `mostRows`: of one table, rows that are compared one by one, where they may differ.
   */
  findLoss(
    before: OwnDatabase,
    after: OwnDatabase,
    options: { readonly isCopy: boolean; readonly mostRows: number },
    progress: Progress,
    signal?: AbortSignal,
  ): Promise<DataLoss>;
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
  /** Where Python runs. */
  readonly runtime: TargetSpec['runtime'];
  /** null: migrations that no target declares. */
  readonly owner: Owner | null;
  readonly versionTable: { readonly schema: string; readonly name: string };
  /** spec.database's URL, libpq style; handed to env.py as spec.alembic.databaseUrl says. */
  readonly databaseUrl: string;
  readonly operationId: string;
  readonly lockTimeoutSeconds: number;
  /** Ends the process where no migration has started yet; afterwards in a rehearsal only. */
  readonly signal: AbortSignal;
  /** Resolves spec.alembic.env[].valueFrom. */
  readonly env: Readonly<Record<string, string>>;
  /** A copy that every connection of this process is led to, in place of the live database; null: none. */
  readonly copy: CopyTarget | null;
  /** Recorded migrations in place of the declared ones. */
  readonly scripts?: RunScripts;
}

/** In a container of that image (its id), or those of the archive in place of the declared folder. */
export type RunScripts =
  { readonly kind: 'image'; readonly image: string } | { readonly kind: 'archive'; readonly archive: ScriptArchive };

/** Where a rehearsal's connections are led to. */
export interface CopyTarget {
  /** What env.py must mean to reach: the live database's name. */
  readonly insteadOf: string;
  /** The scratch database's name. */
  readonly database: string;
  /** Another server's URL (libpq style), where the copy is not on the live server; null: the same server, only the database differs. */
  readonly url: string | null;
}

export interface AlembicRunner {
  /**
   * Starts one Python process, which serves a whole operation. Throws PythonNotFound, AlembicNotFound; where the graph is
   * remembered, whatever needs Python first throws them instead.
   */
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
   * `wrongDatabase`: env.py reaches another database; `escaped`: the migration reaches beyond the copy that it was
   * tried on: refused, or seen on the live server; `environment`: env.py raised before any migration;
   * `migration`: a migration raised; `nothingDone`: it returned without having run the steps; `died`: the process ended.
   */
  readonly kind:
    | 'lockTimeout'
    | 'outOfMemory'
    | 'connectionLost'
    | 'fenced'
    | 'timedOut'
    | 'wrongDatabase'
    | 'escaped'
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
  /** With `died`: what took the program away, though nothing was wrong with it, e.g. that its node was drained. */
  readonly lost?: Failure;
}

export type MigrationResult = { readonly ok: true } | { readonly ok: false; readonly error: MigrationError };

/** A lock on a relation, by its oid. */
export interface HeldLock {
  readonly relation: number;
  /** As pg_locks has it, e.g. `AccessExclusiveLock`. */
  readonly mode: string;
}

export interface AlembicSession extends AsyncDisposable {
  /** ` in the container ops-center`, or in one made like it; empty beside the controller. */
  readonly where: string;
  /** Id of the container image that Python runs in; null: in none. */
  readonly image: string | null;
  /**
   * Reads the script folder; env.py does not run. Throws AlembicConfigNotFound, AlembicFailed. Where nothing of it seems
   * to have changed, it may be what was read before.
   */
  graph(): Promise<RevisionGraph>;
  /** Has alembic itself read the script folder; false: `graph` told another one, and now tells this. Throws as it does. */
  prove(): Promise<boolean>;
  /** The script folder, to be kept; null: it is too large. Throws as `graph` does. */
  archive(): Promise<ScriptArchive | null>;
  /** Begins to import what a change needs beyond alembic, e.g. the driver, and to read the script folder. */
  warmUp(): void;
  /** Runs exactly these steps in this order, with alembic's own machinery; `from`: the version table now. */
  migrate(
    request: {
      readonly from: readonly string[];
      readonly steps: readonly Step[];
      /** env.py must reach this database, or nothing runs. */
      readonly database: { readonly name: string; readonly oid: number; readonly systemIdentifier?: string };
      /** null: a copy on another server, where nobody holds one. */
      readonly lock: LockToken | null;
    },
    onEvent: (event: MigrationEvent) => void,
    /** Also asks, at the end of each step and within its transaction, which locks it holds. */
    onLocks?: (locks: readonly HeldLock[]) => void,
  ): Promise<MigrationResult>;
  /** Runs env.py up to where its migrations would begin, and no further: does it reach this database, and its version table? */
  probe(request: { readonly database: DatabaseIdentity; readonly lock: LockToken | null }): Promise<MigrationResult>;
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
  /** Where the dump goes: a folder that does not exist yet, or a stream. */
  readonly dump: DumpPath | DumpSink;
  /** Writes the schema and, last, the manifest with the checksum of every file: from then on, and for good, it is in the catalogue. */
  commit(manifest: Omit<BackupManifest, 'files' | 'sizeBytes'>, schema: SchemaFacts | null): Promise<BackupManifest>;
  discard(): Promise<void>;
}

export interface BackupStore {
  /**
   * Newest first. What is being made or removed is not listed. A missing folder is empty, and stays missing. `mayBeOld`: as
   * this process knows it, where reading anew costs much; what it changed itself it knows. Throws StorageUnavailable.
   */
  list(options?: {
    readonly mayBeOld?: boolean;
  }): Promise<{ readonly backups: readonly BackupManifest[]; readonly broken: readonly BrokenBackup[] }>;
  /** A new id for a backup of this target: sorts by time, safe as a file name. */
  newId(at: Date): string;
  begin(id: string, operationId: string): Promise<BackupDraft>;
  /** Reads every file again and compares with the manifest; symlinks, `..` and foreign files are refused. */
  check(id: string): Promise<{ readonly ok: true } | { readonly ok: false; readonly problem: string }>;
  dumpOf(manifest: BackupManifest): DumpPlace;
  schema(id: string): Promise<SchemaFacts | null>;
  /** The canonical schema of a database at a revision that was reached, for later comparison; newest wins. */
  recordSchema(
    database: { readonly systemIdentifier: string; readonly name: string },
    revisions: readonly string[],
    facts: SchemaFacts,
  ): Promise<void>;
  /** The schema that a rehearsal led to, for the verification of the change that follows; the newest only. */
  recordRehearsed(facts: SchemaFacts): Promise<void>;
  rehearsedSchema(): Promise<SchemaFacts | null>;
  recordedSchema(
    database: { readonly systemIdentifier: string; readonly name: string },
    revisions: readonly string[],
    major: number,
  ): Promise<SchemaFacts | null>;
  /** All that were recorded of that database, of that major. Throws BackupInvalid where a file is damaged. */
  recordedSchemas(
    database: { readonly systemIdentifier: string; readonly name: string },
    major: number,
  ): Promise<readonly SchemaAt[]>;
  /** What was built from base before, by the digest of what it was built `of`; null: nothing. Throws BackupInvalid where the file is damaged. */
  builtSchemas(of: string, major: number): Promise<BuiltSchemas | null>;
  /** Kept for later, the newest few only. */
  recordBuilt(of: string, built: BuiltSchemas): Promise<void>;
  /** The migrations that led to a revision of that database; the newest few are kept. */
  recordScripts(
    database: { readonly systemIdentifier: string; readonly name: string },
    scripts: RecordedScripts,
  ): Promise<void>;
  /** Newest first; what can't be read is left out. */
  recordedScripts(database: {
    readonly systemIdentifier: string;
    readonly name: string;
  }): Promise<readonly RecordedScripts[]>;
  markVerified(id: string, at: string, schema: SchemaFacts): Promise<void>;
  remove(id: string): Promise<void>;
  /** What dead operations were making or removing. */
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
  /** `secrets`: resolves what the storage names in the owner's namespace. Throws NotSupported, StorageUnavailable, SecretNotFound. */
  open(storage: TargetSpec['backup']['storage'], owner: Owner, secrets: Pick<Home, 'resolve'>): Promise<BackupStore>;
  /** The target is gone: what is kept of its storage for the next time, and whatever serves that, is no use any more. */
  letGo(target: TargetKey): Promise<void>;
}

// --------------------------------------------------------------------------------------------- application

export type WorkloadReference = NonNullable<TargetSpec['application']>['workloads'][number];

/** How an application is: `starting` may pass, `unhealthy` too where something starts it again. */
export interface Health {
  readonly state: 'healthy' | 'starting' | 'unhealthy';
  /** As part of a sentence: `the container ops-center-direct exited with code 1`. */
  readonly what: string;
  /** How long it may be starting, as it declares itself; left out: nothing is known. */
  readonly withinSeconds?: number;
}

/** What came of starting workloads again. */
export interface Started {
  /** Names of those that are there no more. */
  readonly gone: readonly string[];
  /** Of those that others have changed meanwhile: what was found, and left as it was, a sentence each. */
  readonly notes: readonly string[];
}

/** What uses the database, and can be stopped and started. Idempotent, all of it. */
export interface Workloads {
  /**
   * As they are now, with those that have to stop with them; in the order of stopping. Throws ContainerNotFound,
   * ContainerNotRunning, DockerUnreachable (retry), DockerForbidden; WorkloadNotFound, HomeUnavailable (retry), NotAllowed.
   */
  read(references: readonly WorkloadReference[]): Promise<readonly WorkloadBefore[]>;
  /** Throws what `stop` would, as far as it can be known before; changes nothing. */
  tryStop(workloads: readonly WorkloadBefore[]): Promise<void>;
  /**
   * Stopped, and kept so by nobody else starting them, until `start` or `leave`. Throws OperationInterrupted (retry) where
   * `signal` is aborted before all are.
   */
  stop(
    workloads: readonly WorkloadBefore[],
    how: { readonly signal: AbortSignal; readonly progress: Progress },
  ): Promise<void>;
  /**
   * Puts back what `stop` changed: those that ran run again, in reverse order; each as far as it can be. Throws the first
   * failure once all were tried.
   */
  start(workloads: readonly WorkloadBefore[], signal: AbortSignal): Promise<Started>;
  /** Puts back what `stop` changed, but starts nothing. */
  leave(workloads: readonly WorkloadBefore[]): Promise<void>;
  /** Those that ran, in reverse order of stopping. */
  restart(workloads: readonly WorkloadBefore[]): Promise<void>;
  /** Of those that ran, and of any that ended in an error. */
  health(workloads: readonly WorkloadBefore[]): Promise<Health>;
  /** The last lines of each since then, at most `mostLogLines` of each. */
  log(workloads: readonly WorkloadBefore[], since: Date): Promise<readonly LogLine[]>;
}

export const mostLogLines = 20;

/** Asks a URL once; any answer but 2xx is unhealthy, none at all too. Never throws. */
export type HealthProbe = (url: string, signal: AbortSignal) => Promise<Health>;

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

/** A person's consent to one plan. */
export interface Approval {
  /** Its name in the home. */
  readonly name: string;
  /** `metadata.name` of the target, which is in the same namespace. */
  readonly target: string;
  readonly planDigest: string;
  /** null: as many as the plan said. */
  readonly maxRowLoss: number | null;
  readonly reason: string | null;
  readonly approvedBy: string;
  /** RFC 3339. */
  readonly createdAt: string;
  /** RFC 3339. */
  readonly expiresAt: string;
  /** The operation that it was used for; it counts once. */
  readonly usedBy: string | null;
}

/** What a person says who approves. */
export type Consent = Pick<Approval, 'planDigest' | 'maxRowLoss' | 'reason' | 'approvedBy'>;

/** Approvals as objects that tell what becomes of them: Kubernetes'. */
export interface ApprovalObjects {
  /** As `Home.watch`, with the target of each approval that was made, or that people changed. What is heard is kept for `tell`. */
  watch(onChange: (target: TargetKey) => void, onProblem: (problem: Error) => void, signal: AbortSignal): Promise<void>;
  /** Whether there is one of the target, as far as was heard. */
  has(target: TargetKey): boolean;
  /**
   * Says in each approval of the target, as they were last heard of, whether it counts. `plan`: what the target waits
   * with; null: there is no such target. Returns when the next of those that count expires.
   */
  tell(target: TargetKey, plan: { readonly digest: string | null } | null): Promise<Date | null>;
}

/** Who works where several controllers could: a Lease of coordination.k8s.io/v1. */
export interface LeaseRecord {
  /** '': nobody. */
  readonly holder: string;
  readonly durationSeconds: number;
  /** By the holder's clock, as `renewedAt`: for people. */
  readonly acquiredAt: Date;
  readonly renewedAt: Date;
  /** How often another one took over. */
  readonly transitions: number;
}

/** `version`: changes with each write, whoever writes. */
export type StoredLease = LeaseRecord & { readonly version: string };

export interface LeaseStore {
  /** `NAMESPACE/NAME`. */
  readonly name: string;
  /** null: there is none. Throws HomeUnavailable, NotAllowed; within seconds. */
  read(): Promise<StoredLease | null>;
  /** `version`: of what it replaces, null where there is none. Null, and nothing is written, where it is another by now. */
  write(record: LeaseRecord, version: string | null): Promise<StoredLease | null>;
  /** An event about the Lease. Never throws. */
  record(event: HomeEvent): Promise<void>;
}

/** What a home that is told of changes knows without asking: good for a look (glance.ts), never for an operation. */
export interface Known {
  /** As it was last read or written; null where the home was told of a newer one, or can't be told. */
  target(key: TargetKey): MigrationTarget | null;
  /** As `Home.resolve`; the value may have been read some minutes ago. */
  resolve(source: ValueSource, owner: Owner): Promise<string>;
}

/** Where declarations come from and status goes to. */
export interface Home {
  readonly kind: 'directory' | 'kubernetes';
  /** Every declaration now. Throws where the home can't be read. */
  list(): Promise<readonly Declaration[]>;
  get(key: TargetKey): Promise<Declaration | null>;
  /** Each declaration's key, and a text that differs once people change it; left out: `list` is as cheap. */
  readonly heads?: () => Promise<readonly { readonly key: TargetKey; readonly version: string }[]>;
  /** What is declared now of those whose status claims that database and version table. */
  claiming(claim: Claimed): Promise<readonly Declaration[]>;
  /** What is known already, where that spares questions: Kubernetes. */
  readonly known?: Known;
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
  /** In the owner's namespace, with its rights. Throws SecretNotFound, NotAllowed. One trailing newline is dropped, as `kubectl create secret --from-file` leaves one. */
  resolve(source: ValueSource, owner: Owner): Promise<string>;
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
  /**
   * Approvals that name this target, used and expired ones too, newest first. What is no valid approval is left out,
   * and told by its own status where it has one, else as a problem.
   */
  approvals(key: TargetKey): Promise<readonly Approval[]>;
  /**
   * Marks it used, durably, once: throws ApprovalUsed where another operation has used it, ApprovalNotFound (retry) where
   * it is gone. Idempotent for the same operation.
   */
  useApproval(key: TargetKey, name: string, operationId: string): Promise<void>;
  /** Makes one. Returns its name. */
  approve(key: TargetKey, consent: Consent): Promise<string>;
  /** The name by which the home knows whoever runs this: an approval's `approvedBy`. */
  userName(): Promise<string>;
  /** Where backups are objects of the home too: Kubernetes. */
  readonly backupObjects?: BackupObjects;
  /** Where approvals have a status of their own: Kubernetes. */
  readonly approvalObjects?: ApprovalObjects;
  /** The Lease of that name beside the controller, where several may run: Kubernetes. */
  readonly lease?: (name: string) => LeaseStore;
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
  /** `copy`: it runs on a copy of the database. `expected`: as it was there, where it was tried. */
  | {
      readonly kind: 'migration';
      readonly event: MigrationEvent;
      readonly copy?: boolean;
      readonly expected?: ExpectedTimes;
    }
  /** The application is up again: milliseconds since it was stopped. */
  | { readonly kind: 'downtime'; readonly ms: number }
  /** What was planned is not begun: the policy, or the database, is in the way. */
  | { readonly kind: 'refused'; readonly operation: ChangePlan['kind'] | 'restore'; readonly reason: Reason }
  | { readonly kind: 'note'; readonly level: 'info' | 'warn'; readonly message: string };

/** Milliseconds that migrations took on a copy: all of them, those before this one, and this one. */
export interface ExpectedTimes {
  readonly totalMs: number;
  readonly beforeMs: number;
  readonly stepMs: number;
}

/** Tells people elsewhere what they should know. */
export interface Notifier {
  /** Queues it. Never throws, never waits. */
  notify(notification: Notification): void;
}

/** What is the same for every home. */
export interface Adapters {
  readonly databases: Databases;
  readonly alembic: AlembicRunner;
  readonly backups: BackupStores;
  readonly workloads: (owner: Owner) => Workloads;
  readonly probe: HealthProbe;
  readonly clock: Clock;
}

export interface Ports extends Adapters {
  readonly home: Home;
  /** Left out: nobody is to be told. */
  readonly notifier?: Notifier;
  /** Never throws, never blocks. */
  readonly observe: (key: TargetKey, operationId: string, event: OperationEvent) => void;
}
