/**
 * Every reason that a condition can carry, once, with what it means. Reasons are part of the API:
 * alerts and scripts match on them.
 */
export const reasons = {
  // Ready
  InSync: 'The database is at the desired revision, verified.',
  Upgraded: 'The upgrade went through and was verified.',
  Downgraded: 'The downgrade went through and was verified.',
  BranchSwitched: 'The database was taken down to the common ancestor and up another branch, and verified.',
  RestoredFromBackup: 'A backup was restored into a new database, verified, and swapped in.',
  Suspended: 'spec.suspend is true: nothing is done.',
  // Reconciling
  Progressing: 'An operation is under way.',
  Recovering: 'An operation that died is being finished or undone.',
  DatabaseUnreachable: 'The server refused or dropped the connection; it is tried again.',
  DatabaseLocked: 'Another operation holds this database; it is waited for.',
  LockTimedOut: 'A table was locked by another session for longer than lockTimeout; nothing was changed.',
  WritersActive: 'Somebody wrote between the backup and the change; nothing was changed.',
  OperationInterrupted: 'The controller was stopped; the next start goes on.',
  HomeUnavailable: 'The Kubernetes API could not be read or written; it is tried again.',
  StorageUnavailable: 'The backup storage could not be read or written.',
  // Stalled: the declaration
  InvalidSpec: 'The declaration breaks a rule of the API.',
  NotSupported: 'The declaration uses a field that this version does not act on.',
  NotAllowed: 'The controller was not started with the permission that this field needs.',
  SecretNotFound: 'A Secret, a key of it, a file or a variable is missing.',
  DatabaseUrlInvalid: 'The database URL cannot be read as one.',
  DatabaseNameRefused: 'A name that no migration target may have.',
  TargetNotFound: 'A MigrationBackup names a MigrationTarget that is not declared.',
  TargetConflict: 'Another target declares the same database and version table.',
  // Stalled: the database and its surroundings
  AuthenticationFailed: 'The server refused the user or the password.',
  DatabaseNotFound: 'The server has no such database.',
  DatabaseReadOnly: 'The server is a replica or read-only.',
  PoolerRefused: 'The URL leads to a connection pooler; a session of its own is needed.',
  ServerNotSupported: 'The server is older than the oldest that is supported.',
  PermissionDenied: 'The role lacks a right that the operation needs.',
  RowsHidden: 'Row-level security hides rows from the role, so no backup would be whole.',
  SwapBlocked: 'Prepared transactions, replication slots, subscriptions or other targets block the swap.',
  ToolsNotFound: 'pg_dump and pg_restore of the server’s major version were not found.',
  VersionTableMissing: 'There is no version table, yet there are tables: the revision is unknown.',
  RevisionNotFound: 'A revision is not in the scripts, and no backup reaches it.',
  RevisionUnreachable: 'No sequence of steps leads to exactly the declared heads.',
  ChangedOutside: 'Somebody else moved the revision after it was reached.',
  Flapping: 'The same correction was needed three times within an hour.',
  // Stalled: alembic
  PythonNotFound: 'The declared interpreter could not be started.',
  AlembicNotFound: 'The interpreter has no alembic.',
  AlembicConfigNotFound: 'alembic.ini (or pyproject.toml, or the section in it) was not found.',
  AlembicFailed: 'alembic or env.py raised an error before any migration ran.',
  WrongDatabase: 'env.py reaches another database than the declared one.',
  TimedOut: 'The operation did not finish in time; nothing was changed.',
  // Stalled: policy
  DataLossForbidden: 'The change may lose data, and policy.dataLoss forbids that.',
  DowngradeForbidden: 'policy.downgrade forbids it.',
  RestoreForbidden: 'policy.restore forbids it.',
  // Stalled: what went wrong
  BackupFailed: 'No verified backup could be taken, so nothing was changed.',
  BackupInvalid: 'The backup is incomplete, damaged, or of another database.',
  BackupNotFound: 'The catalogue has no such backup, or has it no longer.',
  UpgradeFailed: 'The upgrade failed; the database is back at the origin.',
  DowngradeFailed: 'The downgrade failed; the database is back at the origin.',
  VerificationFailed:
    'The change went through, but the result is not what it should be; the database is back at the origin.',
  RestoreFailed: 'The restore failed; the live database was not touched by it.',
  JournalUnknown: 'The journal was written by a version that this one does not know.',
  RecoveryFailed: 'What a dead operation left is none of the states that can be repaired by themselves.',
  InternalError: 'Something unexpected happened; nothing goes on by itself.',
  // BackupReady, Rehearsed, ApplicationHealthy
  BackupVerified: 'The backup, of a target the newest one, was restored once and found equal.',
  NoBackup: 'No backup yet.',
  BackupNotVerified: 'The backup, of a target the newest one, was never restored and compared.',
  RehearsalDisabled: 'policy.rehearsal is Never.',
  NotDeclared: 'The target declares no application.',
  // ApprovalRequired
  ApprovalRequired: 'Something would be lost; an approval of this very plan is waited for.',
  ApprovalNotRequired: 'Nothing waits for an approval.',
} as const;

export type Reason = keyof typeof reasons;
