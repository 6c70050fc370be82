/** Backups as objects of their own, in a home that has such: MigrationBackup in Kubernetes. */
import { createHash } from 'node:crypto';
import type { MigrationBackupStatus } from '../api/backup.ts';
import type { Condition, TargetKey } from '../api/target.ts';

export interface BackupObject {
  readonly key: TargetKey;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly generation: number;
  /** Whose database it is about. */
  readonly target: TargetKey;
  /** The id of the backup that the controller made it for; null: somebody asks for a backup by it. */
  readonly shows: string | null;
  /** Being deleted, and kept by somebody's finalizer. */
  readonly isGoing: boolean;
  readonly status: MigrationBackupStatus | null;
}

export interface BackupObjects {
  /** As `Home.watch`, with each object that was made, or that people changed. What is heard is kept for `of`. */
  watch(
    onChange: (object: BackupObject) => void,
    onProblem: (problem: Error) => void,
    signal: AbortSignal,
  ): Promise<void>;
  /** Those of a target, as they were last heard of. */
  of(target: TargetKey): readonly BackupObject[];
  /** Those of a target now. */
  list(target: TargetKey): Promise<readonly BackupObject[]>;
  get(key: TargetKey): Promise<BackupObject | null>;
  /** Asks for a backup of the target. */
  request(target: TargetKey): Promise<BackupObject>;
  /** Makes the object that shows a backup of the catalogue, or returns the one that there is. */
  show(target: TargetKey, id: string): Promise<BackupObject>;
  /** Writes nothing where it says that already, or where the object is gone. */
  saveStatus(object: BackupObject, status: MigrationBackupStatus): Promise<void>;
  /** The object; never the backup. */
  remove(object: BackupObject): Promise<void>;
  /** Notes on the target until when (a `finishedAt`; empty: none) its backups were shown: what is missing of them was deleted. */
  markShown(target: TargetKey, until: string): Promise<void>;
}

/** Why a request waits for its target, and is looked at again whenever that is. */
const waiting: ReadonlySet<string> = new Set(['TargetNotFound', 'InvalidSpec', 'NotAllowed']);

/** Whether a backup is asked for that was neither taken nor given up. */
export function isPending({ shows, isGoing, status }: BackupObject): boolean {
  if (shows !== null || isGoing) return false;
  if (status === null) return true;
  const stalled = conditionOf(status, 'Stalled');
  return status.backupId === null && (stalled?.status !== 'True' || waiting.has(stalled.reason));
}

export const conditionOf = (
  { conditions }: MigrationBackupStatus,
  type: 'Ready' | 'Reconciling' | 'Stalled',
): Condition | undefined => conditions.find((condition) => condition.type === type);

/**
 * The id of the operation that takes the backup which an object asks for. It is told by the object alone, and stands in the
 * backup's manifest: whoever died between taking the backup and saying so finds it again, and takes no second one.
 */
export const operationIdOf = ({ uid }: BackupObject): string =>
  createHash('sha256').update(uid).digest('hex').slice(0, 10);
