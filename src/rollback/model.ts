/**
 * The nouns of the procedure, as plain data: nothing here does anything.
 * All of it survives JSON, since plans and operations are journalled.
 */
import type { Reason } from '../api/reasons.ts';
import type { TargetSpec } from '../api/target.ts';

/** One function of a migration file, as far as it can be judged without running it. */
export interface MigrationBody {
  /** `missing`: not defined; `pass`: does nothing; `raises`: its first statement raises; `code`: anything else. */
  readonly shape: 'missing' | 'pass' | 'raises' | 'code';
  /**
   * Each call that may lose data or that can't be judged. Empty means: every statement is known to lose nothing.
   * A `missing` or `raises` body loses nothing, since it changes nothing.
   */
  readonly risks: readonly Risk[];
}

/** A statement of a migration that may lose data, e.g. `drop_column('users', 'email')`. */
export interface Risk {
  readonly revision: string;
  readonly file: string;
  readonly line: number;
  readonly what: string;
}

/** One alembic revision. Ids are absolute, never short. */
export interface Revision {
  readonly id: string;
  readonly down: readonly string[];
  /** Resolved to ids (alembic allows labels). */
  readonly dependsOn: readonly string[];
  readonly labels: readonly string[];
  readonly message: string;
  /** Relative to `alembic.workingDir`. */
  readonly file: string;
  readonly upgrade: MigrationBody;
  readonly downgrade: MigrationBody;
}

/** The whole script folder, ancestors before descendants. */
export interface RevisionGraph {
  readonly revisions: readonly Revision[];
  /** sha256 over the ids and the contents of all migration files, hex. */
  readonly digest: string;
  readonly tools: { readonly python: string; readonly alembic: string; readonly sqlalchemy: string };
}

/** One migration, run in one direction. */
export interface Step {
  readonly direction: 'up' | 'down';
  readonly revision: string;
}

/** Which database, so that no other of the same name is taken for it. */
export interface DatabaseIdentity {
  readonly systemIdentifier: string;
  readonly name: string;
  readonly oid: number;
}

/** A database that this project created, or put aside: the only ones that it may ever drop. */
export interface OwnDatabase {
  readonly name: string;
  readonly oid: number;
  /** True where it is on the rehearsal server. */
  readonly elsewhere?: boolean;
}

/** The version table as it is. A missing table is not an empty one: empty means base. */
export type VersionTable =
  { readonly kind: 'missing' } | { readonly kind: 'present'; readonly revisions: readonly string[] };

/** What one connection tells of the live database; no Python, no dump. */
export interface DatabaseState {
  readonly identity: DatabaseIdentity;
  /** e.g. `16.4` and 16. */
  readonly server: { readonly version: string; readonly major: number };
  readonly versionTable: VersionTable;
  /** `schema.table` of every table that looks like an alembic version table, the declared one too. */
  readonly versionTables: readonly string[];
  /** True where no schema holds a table, view, sequence or function of the user's (the version table aside). */
  readonly empty: boolean;
  /** Rights and facts that an operation depends on. */
  readonly role: { readonly name: string; readonly createDatabase: boolean; readonly superuser: boolean };
  /** What makes an operation impossible now, e.g. a read replica or a prepared transaction. */
  readonly blockers: readonly Blocker[];
  /** Bytes on the server's disk. */
  readonly sizeBytes: number;
}

/** Something in the database that an operation can't go through with, with the next command in its message. */
export interface Blocker {
  readonly reason: Reason;
  readonly message: string;
  /** `change`: nothing may be run; `restore`: only a swap is impossible. */
  readonly blocks: 'change' | 'restore';
}

/** Rows by `schema.table`, all tables with storage of their own (partitions, not their parents). */
export type RowCounts = Readonly<Record<string, number>>;

/**
 * A schema as a sorted list of facts, one line an object or attribute, e.g.
 * `column public.users.email text not null`. Independent of the order of columns, without the version table.
 */
export interface SchemaFacts {
  readonly major: number;
  readonly lines: readonly string[];
  /** sha256 of the lines, hex. */
  readonly digest: string;
}

/** The schema at a set of revisions. */
export interface SchemaAt {
  /** The version table's; none for base. */
  readonly revisions: readonly string[];
  readonly schema: SchemaFacts;
}

/** What came of running the migrations from base in scratch databases. */
export interface BuiltSchemas {
  readonly major: number;
  readonly schemas: readonly SchemaAt[];
  /** Sets of revisions that base does not lead to, each with why. */
  readonly unbuilt: readonly { readonly revisions: readonly string[]; readonly because: string }[];
}

/** Why a backup was taken. */
export type BackupReason = 'BeforeChange' | 'Requested' | 'MaxAge' | 'BeforeRestore' | 'Imported';

/** What lies beside every dump, and is enough to restore it with nothing but the folder. */
export interface BackupManifest {
  readonly version: 1;
  readonly id: string;
  readonly target: { readonly namespace: string; readonly name: string };
  readonly operation: string | null;
  readonly database: DatabaseIdentity;
  readonly server: { readonly version: string; readonly major: number };
  readonly tools: { readonly pgDump: string };
  /** `directory`: of pg_dump beside the controller; `custom`: one file, of pg_dump in a container; `plain`: one .sql file, perhaps compressed by gzip. */
  readonly format: 'directory' | 'custom' | 'plain';
  /** As read in the dump's own snapshot; null where there was no version table. */
  readonly revisions: readonly string[] | null;
  /** Of a dump without a version table: the revisions that its schema is that of, and no other's; left out: nobody can tell. */
  readonly identified?: readonly string[] | undefined;
  readonly versionTable: { readonly schema: string; readonly name: string };
  /** After one restore, so that it can be compared; null where it was never restored. */
  readonly schema: { readonly digest: string; readonly major: number } | null;
  readonly rowCounts: RowCounts;
  /** What `CREATE DATABASE` needs to make the same database again. */
  readonly properties: DatabaseProperties;
  /** The digest of the scripts that were about to change it; null for a backup that no change follows. */
  readonly scripts: string | null;
  /** A dump that lies where somebody else put it, and stays theirs; left out: it is among `files`. */
  readonly external?: ExternalDump | undefined;
  /** Relative paths below the backup's folder. */
  readonly files: readonly { readonly path: string; readonly bytes: number; readonly sha256: string }[];
  readonly sizeBytes: number;
  /** RFC 3339, UTC. */
  readonly startedAt: string;
  readonly finishedAt: string;
  readonly reason: BackupReason;
  /** When a restore of it was last compared and found equal; null: never. */
  readonly verifiedAt: string | null;
  readonly keptUntil: string;
}

/** A file outside the catalogue, which only reads it: nothing here ever writes, moves or removes it. */
export interface ExternalDump {
  /** Absolute. */
  readonly path: string;
  readonly bytes: number;
  /** Hex. */
  readonly sha256: string;
}

/** What a plain dump does not carry of a database. */
export interface DatabaseProperties {
  readonly owner: string;
  readonly encoding: string;
  readonly collate: string;
  readonly ctype: string;
  readonly localeProvider: 'c' | 'i' | 'b';
  readonly icuLocale: string | null;
  readonly icuRules: string | null;
  readonly tablespace: string;
  readonly connectionLimit: number;
  readonly comment: string | null;
  /** SQL-ready: each `GRANT … ON DATABASE`, `ALTER DATABASE … SET` or `IS_TEMPLATE`, with `%DATABASE%` for the quoted name. */
  readonly statements: readonly string[];
}

/** Transaction ids and counts at a dump's snapshot: enough to tell whether anybody wrote since. */
export interface Snapshot {
  /** `pg_snapshot_xmax`, as a decimal string. */
  readonly xmax: string;
  /** Transactions and subtransactions under way at the snapshot, decimal strings. */
  readonly inProgress: readonly string[];
  readonly rowCounts: RowCounts;
}

/** What of one table is in the database before, and not in the one after. */
export interface TableLoss {
  /** `schema.table`, as it was called before. */
  readonly table: string;
  readonly rowsBefore: number;
  /** Whether the table itself goes. */
  readonly gone: boolean;
  /** Rows that go; null: they could not be told apart. */
  readonly rowsGone: number | null;
  /** Rows that stay, with other values in columns that stay; null: could not be told apart. */
  readonly rowsChanged: number | null;
  /** Columns that stay and hold other values than before. */
  readonly columnsChanged: readonly string[];
  /** Columns that go from a table that stays, each with the number of values (not NULL) in it. */
  readonly columnsGone: readonly { readonly column: string; readonly values: number }[];
  /** Why it was not compared row by row, as part of a sentence; null: it was. What is not compared counts as lost. */
  readonly notCompared: string | null;
}

/** What a change, or a restore, takes away: one state of the data against another. */
export interface DataLoss {
  /** Only those that lose something, or could not be compared; most rows first; bounded by `mostTablesTold`. */
  readonly tables: readonly TableLoss[];
  /** How many more tables lose something. */
  readonly moreTables: number;
  /**
   * Rows that go, or have values that go or change, over all tables; each row once. null: at least one table could not
   * be compared, so nobody can tell.
   */
  readonly rows: number | null;
}

/** How many tables a loss report names; its sums are of all of them. */
export const mostTablesTold = 256;

/** What the fallback would restore, decided with the plan and bound to its digest. */
export type Fallback =
  | { readonly kind: 'restore'; readonly backup: string; readonly takenAt: string }
  | { readonly kind: 'origin'; readonly because: string };

/** Migrations as they were when they led to a revision: enough to run them again, whatever is deployed by now. */
export interface RecordedScripts {
  /** The graph's. */
  readonly digest: string;
  /** Every revision of that graph. */
  readonly revisions: readonly string[];
  /** What they led to. */
  readonly reached: readonly string[];
  /** Id of the container image that they were run in; null: in none. */
  readonly image: string | null;
  /** RFC 3339. */
  readonly at: string;
  /** null: too large to be kept. */
  readonly archive: ScriptArchive | null;
}

/** alembic's script folder. */
export interface ScriptArchive {
  /** Contents in base64, by the path below the folder. */
  readonly files: Readonly<Record<string, string>>;
  /** Where the migrations are in it, relative. */
  readonly versionLocations: readonly string[];
}

/** Recorded migrations that are run in place of the declared ones: in the image that had them, or as they were kept. */
export interface ScriptSource {
  readonly kind: 'image' | 'archive';
  readonly digest: string;
  /** For people: whose they are, and why, as one sentence. */
  readonly because: string;
}

export type PlanKind = 'nothing' | 'upgrade' | 'downgrade' | 'switch' | 'restore' | 'backup' | 'refuse';

export type ChangePlan = {
  readonly kind: 'upgrade' | 'downgrade' | 'switch';
  readonly current: readonly string[];
  readonly desired: readonly string[];
  readonly steps: readonly Step[];
  /** What may lose data; unknown counts. */
  readonly risks: readonly Risk[];
  readonly fallback: Fallback;
  /** Where the migrations are from; left out: from where they are declared to be. */
  readonly scripts?: ScriptSource;
  /** sha256 of what an approval covers, first 16 hex digits. */
  readonly digest: string;
};

export type RestorePlan = {
  readonly kind: 'restore';
  readonly current: readonly string[] | null;
  readonly desired: readonly string[];
  readonly backup: string;
  readonly takenAt: string;
  readonly because: string;
  readonly digest: string;
};

/** A backup asked for by itself: nothing else is done. */
export type BackupPlan = {
  readonly kind: 'backup';
  readonly current: readonly string[] | null;
  readonly desired: readonly string[];
  readonly reason: BackupReason;
  readonly digest: string;
};

export type Plan =
  | { readonly kind: 'nothing'; readonly current: readonly string[]; readonly desired: readonly string[] }
  | ChangePlan
  | RestorePlan
  | BackupPlan
  | {
      readonly kind: 'refuse';
      readonly current: readonly string[] | null;
      readonly desired: readonly string[];
      readonly reason: Reason;
      readonly message: string;
      /** The change that the policy forbids, to be shown; null: there is none to speak of. */
      readonly change: ChangePlan | null;
    };

/** The steps of an operation in their order. Tests kill the process around each of them. */
export const operationSteps = [
  'check',
  'plan',
  'backup',
  'rehearse',
  'gate',
  'quiesce',
  'change',
  'verify',
  'restore',
  'resume',
  'report',
] as const;
export type OperationStep = (typeof operationSteps)[number];

/** What an operation was asked for by. */
export type Trigger =
  | 'generation'
  | 'reconcile'
  | 'apply'
  | 'approval'
  | 'drift'
  | 'backup'
  | 'restore'
  /** Nothing is changed: scratch databases are needed to see where a database is, or what would be lost. */
  | 'identify'
  | 'rehearse';

/**
 * The journal: what is being done, written before each effect, so that the next start can finish or undo it.
 * Kept in `status.operation`. An unknown version is never touched.
 */
export interface Operation {
  readonly version: 1;
  /** Short and unique; in every connection's `application_name`. */
  readonly id: string;
  readonly trigger: Trigger;
  readonly generation: number;
  /** The reconcile request that this answers, if one was made. */
  readonly requestedAt: string | null;
  readonly startedAt: string;
  /** The step to be done next, or being done. */
  readonly step: OperationStep;
  readonly plan: ChangePlan | RestorePlan | BackupPlan;
  readonly origin: Origin;
  /** The backup of the origin, once it is verified; its transaction ids tell who wrote since. */
  readonly backup: { readonly id: string; readonly xmax: string; readonly inProgress: readonly string[] } | null;
  /** What came of trying it on a copy; null: not tried (yet). */
  readonly rehearsal: Rehearsal | null;
  /** What the gate said; null: it was not asked yet. */
  readonly gate: GateRecord | null;
  /** The application, from before it is stopped; null: it was left alone (so far). */
  readonly application: ApplicationRecord | null;
  /** Times that the change was tried: bounded, whatever kills it. */
  readonly attempts: number;
  /** Times that its rehearsal was begun and did not end: bounded alike, though all of it is planned anew each time. */
  readonly rehearsals: number;
  /** Whether alembic may have committed anything since the backup: what moved before is somebody else's. */
  readonly begun: boolean;
  /** Since when something keeps its step from being done, and when people were told; null: nothing does, or nobody waits. */
  readonly hindered: { readonly since: string; readonly toldAt: string | null } | null;
  /** Scratch databases that may exist; dropped by oid. */
  readonly scratch: readonly OwnDatabase[];
  /** The swap, from before its first effect. */
  readonly restore: RestoreIntent | null;
  /** True once the restored database is the live one. */
  readonly swapped: boolean;
  /** Why the desired state was given up, once it was. */
  readonly failure: OperationFailure | null;
  /** Tables whose number of rows is another than before, the first hundred; null: no such table. */
  readonly rowChanges: readonly RowChange[];
  /** What people should know of it, in order. */
  readonly notes: readonly string[];
  /** Milliseconds that each step took, summed over its tries. */
  readonly durations: Readonly<Partial<Record<OperationStep, number>>>;
}

/** What came of trying the planned change, or a restore, on copies. */
export interface Rehearsal {
  /** The backup that the copy was made of, and its snapshot: what was written since is not in the numbers. */
  readonly backup: string;
  readonly xmax: string;
  readonly inProgress: readonly string[];
  /** Digest of the canonical schema of that backup: where it moves, the rehearsal says nothing any more. */
  readonly origin: string;
  readonly finishedAt: string;
  /** The way that is left: what is planned; the fallback's restore; none. */
  readonly route: 'planned' | 'fallback' | 'none';
  /** Why the change can't be trusted; null: it went through. */
  readonly fault: string | null;
  /** Why nothing could be tried, as part of a sentence, so that the loss is unknown; null: it was. */
  readonly notTried: string | null;
  /** What the route takes away; null: unknown. */
  readonly loss: DataLoss | null;
  /** What goes besides data, a line of the schema each, the first hundred. */
  readonly objectsGone: readonly string[];
  readonly moreObjects: number;
  /**
   * Tables that go, or lose a column, even where nothing is in it yet: what is written there meanwhile goes as well.
   * null: too many to keep, so all tables count.
   */
  readonly atRisk: readonly string[] | null;
  /** Digest of the canonical schema that the change led to. */
  readonly schema: string | null;
  /** Tables with another number of rows afterwards; null: too many to keep. */
  readonly rowChanges: readonly RowChange[] | null;
  /** Whether back and again ends where it should. */
  readonly wayBack: WayBack;
  /** Milliseconds that each of the planned steps took, in their order, and all of it. */
  readonly stepMs: readonly number[];
  /** Milliseconds that restoring the backup took, where one is what is left or what is asked for; null: none is. */
  readonly restoreMs: number | null;
  readonly tookMs: number;
}

export type WayBack =
  | { readonly kind: 'reversible' }
  | { readonly kind: 'irreversible'; readonly because: string }
  | { readonly kind: 'notTried'; readonly because: string };

/** What the gate said of an operation. */
export interface GateRecord {
  /** What an approval is bound to. */
  readonly digest: string;
  /** The approval that was used; null: none was needed. */
  readonly approval: string | null;
  /** Set where it is waited for one: the message of the condition. */
  readonly waitsFor: string | null;
  /** Rows that may be lost, as approved, or 0 where nothing was to be; null: as many as it takes. */
  readonly rowsCovered: number | null;
  /** Whether the fallback may be restored where the live change falls short, though the rehearsal did not. */
  readonly coversFallback: boolean;
}

/** A container or the like, as it was before anything was done to it. */
export interface WorkloadBefore {
  readonly kind: NonNullable<TargetSpec['application']>['workloads'][number]['kind'];
  readonly name: string;
  /** What it is known by, whatever it is called meanwhile. */
  readonly id: string;
  readonly running: boolean;
  /** Ids of those that have to be healthy before this one is started. */
  readonly startsAfter: readonly string[];
  /** What else it takes to put it back, in the terms of whoever runs it. */
  readonly settings: Readonly<Record<string, string | number>>;
}

/** What was done to the application, and how it is. */
export interface ApplicationRecord {
  /** In the order in which they are stopped. */
  readonly workloads: readonly WorkloadBefore[];
  /** RFC 3339; null: they were kept running. */
  readonly stoppedAt: string | null;
  /** When they were started again, or left stopped as declared; null: they are stopped, or were kept running. */
  readonly resumedAt: string | null;
  /** Milliseconds from the stop until all were up again; null: not stopped, or not up (yet). */
  readonly downMs: number | null;
  /** null: not asked. */
  readonly health: { readonly healthy: boolean; readonly message: string } | null;
  /** Its last lines since the start. */
  readonly log: readonly LogLine[];
}

export interface LogLine {
  readonly workload: string;
  readonly text: string;
}

/** How many tables with another number of rows a rehearsal keeps, to compare the database with. */
export const mostRowChangesKept = 1_000;

export interface RowChange {
  readonly table: string;
  readonly before: number | null;
  readonly after: number | null;
}

/** The database as the operation found it. */
export interface Origin {
  readonly identity: DatabaseIdentity;
  readonly server: { readonly version: string; readonly major: number };
  /** null: no version table. */
  readonly revisions: readonly string[] | null;
  /** Digest of the live schema as it rendered then: comparable with itself only. */
  readonly schema: string;
}

export interface OperationFailure {
  readonly reason: Reason;
  readonly message: string;
  /** It passes by itself: no reason to restore something older. */
  readonly passing: boolean;
  /** Whether the change committed anything; null: nobody can tell. */
  readonly committed: boolean | null;
}

/** A restore under way: which backup, into what, and what the live database will be called. */
export interface RestoreIntent {
  readonly backup: string;
  /** `desired`: the fallback or a declared restore; `origin`: undoing. */
  readonly goal: 'desired' | 'origin';
  readonly into: OwnDatabase;
  readonly aside: OwnDatabase;
}

/** A database put aside by a restore, kept for inspection until its time is over. */
export interface AsideDatabase extends OwnDatabase {
  readonly systemIdentifier: string;
  readonly keptUntil: string;
}
