/** The status of a MigrationBackup, made from the catalogue or from what came of taking one. Pure. */
import { migrationBackupStatus, type MigrationBackupStatus } from '../api/backup.ts';
import { summarizeBriefly, type Outcome } from '../api/conditions.ts';
import type { BackupObject } from './backup-objects.ts';
import { backupRevisionText, formatRevisions } from './compare.ts';
import type { BackupManifest } from './model.ts';

const empty: MigrationBackupStatus = migrationBackupStatus.parse({});

/** What is known of the backup stays; only what is the matter is said anew. */
export function withOutcome(object: BackupObject, outcome: Outcome, now: Date): MigrationBackupStatus {
  const before = object.status ?? empty;
  const conditions = summarizeBriefly(outcome, { generation: object.generation, previous: before.conditions, now });
  return { ...before, conditions };
}

export function shownStatus(object: BackupObject, manifest: BackupManifest, now: Date): MigrationBackupStatus {
  const { id, revisions, reason, sizeBytes, startedAt, finishedAt, verifiedAt, keptUntil, database } = manifest;
  const { conditions } = withOutcome(object, outcomeOf(manifest), now);
  const revision = backupRevisionText(manifest);
  const times = { startedAt, finishedAt, verifiedAt, keptUntil };
  return { backupId: id, revisions, revision, reason, sizeBytes, ...times, conditions };

  function outcomeOf({ verifiedAt: verified }: BackupManifest): Outcome {
    const what = `Backup ${id} of database ${database.name}, at ${formatRevisions(revisions)},`;
    return verified === null
      ? {
          kind: 'stalled',
          reason: 'BackupNotVerified',
          message: `${what} was never restored; to try it: migration-target backups verify ${id}`,
        }
      : {
          kind: 'ready',
          reason: 'BackupVerified',
          message: `${what} was taken, restored once and found equal.`,
        };
  }
}

/** Its folder is there, and is no whole backup. */
export const brokenStatus = (object: BackupObject, problem: string, now: Date): MigrationBackupStatus =>
  withOutcome(object, { kind: 'stalled', reason: 'BackupInvalid', message: problem }, now);

/** It was taken as this object asked for, and is in the catalogue no longer. */
export const goneStatus = (object: BackupObject, id: string, now: Date): MigrationBackupStatus =>
  withOutcome(
    object,
    {
      kind: 'stalled',
      reason: 'BackupNotFound',
      message: `Backup ${id} had its time, or was removed: the catalogue has it no longer. Delete this object: kubectl -n ${object.key.namespace} delete migrationbackup ${object.key.name}`,
    },
    now,
  );
