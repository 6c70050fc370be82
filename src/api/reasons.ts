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
  MigrationsChanged: 'The migrations changed since they were planned; nothing was changed.',
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
  TargetNotFound: 'A MigrationBackup or a MigrationApproval names a MigrationTarget that is not declared.',
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
  // Stalled, or tried again: the Docker host
  ContainerNotFound: 'The declared container does not exist.',
  ImageNotFound: 'An image does not exist: the declared one, or that which a revision was reached with.',
  ContainerNotRunning: 'The declared container is in a state in which nothing can run in it.',
  DockerForbidden: 'The controller may not use the Docker Engine, or not for what it has to do.',
  DockerUnreachable: 'The Docker Engine does not answer; it is tried again.',
  // Stalled, or tried again: a cluster
  WorkloadNotFound: 'The cluster has no such Deployment, StatefulSet or CronJob.',
  WorkloadNotStopped: 'A workload can not be stopped, does not stop, or is started by somebody else meanwhile.',
  ImageNotPulled: 'A node could not pull the image; it is tried again.',
  JobRefused: 'The cluster refuses the Job or its pod: a quota, an admission policy, a missing right.',
  JobNotStarted:
    'The pod of a Job does not come to run: no node has a place for it, what it needs is missing, or it has too large variables.',
  JobLost: 'The pod of a Job was taken away before its program had ended, or the connection to it was cut.',
  // Stalled: the application
  ApplicationUnhealthy:
    'The database is as declared; the application did not come up healthy, or its declared health check fails.',
  // Stalled: policy
  DataLossForbidden: 'The change may lose data, and policy.dataLoss forbids that.',
  DowngradeForbidden: 'policy.downgrade forbids it.',
  RestoreForbidden: 'policy.restore forbids it.',
  // Stalled: what went wrong
  RehearsalFailed: 'The change failed on a copy of the database; the database itself was not touched.',
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
  RehearsalPassed: 'The last change that was planned went through on a copy of the database.',
  NotRehearsed: 'Nothing was rehearsed yet, or it could not be.',
  NotDeclared: 'The target declares no application.',
  ApplicationHealthy: 'The application was started, and its health checks passed.',
  ApplicationStopped: 'The application is stopped, until the database is verified, or by spec.application.after: None.',
  HealthNotChecked: 'The application was not asked yet for this generation.',
  // ApprovalRequired
  ApprovalRequired: 'Something would be lost; an approval of this very plan is waited for.',
  ApprovalNotRequired: 'Nothing waits for an approval.',
  // A MigrationApproval's
  Approved: 'The plan may be carried out once, until the approval expires.',
  ApprovalUsed: 'An operation used the approval; it counts once.',
  ApprovalExpired: 'The approval is older than 24 hours and was never used.',
  ApprovalOfOtherPlan: 'The target has another plan than the one that was approved, or none.',
  ApprovalNotFound: 'The approval was taken back before it was used; another one is waited for.',
} as const;

export type Reason = keyof typeof reasons;

/** A reason as a status has it, which another version may have written. */
export const asReason = (text: string): Reason => (Object.hasOwn(reasons, text) ? (text as Reason) : 'InternalError');
