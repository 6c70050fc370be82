/**
 * The nouns of the procedure, as plain data: nothing here does anything.
 * All of it survives JSON, since plans and operations are journalled.
 */
import type { Reason } from '../api/reasons.ts';

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
  readonly format: 'directory' | 'plain';
  /** As read in the dump's own snapshot; null where there was no version table. */
  readonly revisions: readonly string[] | null;
  readonly versionTable: { readonly schema: string; readonly name: string };
  /** After one restore, so that it can be compared; null where it was never restored. */
  readonly schema: { readonly digest: string; readonly major: number } | null;
  readonly rowCounts: RowCounts;
  /** What `CREATE DATABASE` needs to make the same database again. */
  readonly properties: DatabaseProperties;
  /** The digest of the scripts that were about to change it; null for a backup that no change follows. */
  readonly scripts: string | null;
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

/** What the fallback would restore, decided with the plan and bound to its digest. */
export type Fallback =
  | { readonly kind: 'restore'; readonly backup: string; readonly takenAt: string }
  | { readonly kind: 'origin'; readonly because: string };

export type PlanKind = 'nothing' | 'upgrade' | 'downgrade' | 'switch' | 'restore' | 'backup' | 'refuse';

export type ChangePlan = {
  readonly kind: 'upgrade' | 'downgrade' | 'switch';
  readonly current: readonly string[];
  readonly desired: readonly string[];
  readonly steps: readonly Step[];
  /** What may lose data; unknown counts. */
  readonly risks: readonly Risk[];
  readonly fallback: Fallback;
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
export const operationSteps = ['check', 'plan', 'backup', 'change', 'verify', 'restore', 'report'] as const;
export type OperationStep = (typeof operationSteps)[number];

/** What an operation was asked for by. */
export type Trigger = 'generation' | 'reconcile' | 'apply' | 'drift' | 'backup' | 'restore';

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
  /** Times that the change was tried: bounded, whatever kills it. */
  readonly attempts: number;
  /** Whether alembic may have committed anything since the backup: what moved before is somebody else's. */
  readonly begun: boolean;
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
