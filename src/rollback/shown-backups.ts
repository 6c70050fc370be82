/** The catalogue of a target, shown as objects: the manifests are the truth, the objects follow them. */
import { backupsShownAnnotation } from '../api/group.ts';
import { keyOf, type MigrationTarget } from '../api/target.ts';
import { operationIdOf, type BackupObject, type BackupObjects } from './backup-objects.ts';
import { brokenStatus, goneStatus, shownStatus } from './backup-status.ts';
import type { BackupManifest } from './model.ts';
import type { BackupStore, Clock } from './ports.ts';

/**
 * Makes an object for each backup that is newer than the newest one of last time: an older one without an object had
 * one, and somebody deleted it. Brings the others up to date; the object of a backup that is in the catalogue no longer
 * goes, unless somebody else made it, who is told.
 */
export async function showBackups(
  target: MigrationTarget,
  { backups, broken }: Awaited<ReturnType<BackupStore['list']>>,
  objects: BackupObjects,
  clock: Clock,
): Promise<void> {
  const key = keyOf(target);
  const known = objects.of(key);
  for (const object of known) {
    const manifest = backups.find((backup) => isOf(object, backup));
    if (manifest !== undefined) {
      await objects.saveStatus(object, shownStatus(object, manifest, clock.now()));
      continue;
    }
    const id = object.shows ?? object.status?.backupId ?? null;
    if (id === null) continue;
    const fault = broken.find((backup) => backup.id === id);
    if (fault !== undefined) await objects.saveStatus(object, brokenStatus(object, fault.problem, clock.now()));
    else if (object.shows === null) await objects.saveStatus(object, goneStatus(object, id, clock.now()));
    else await objects.remove(object);
  }

  const inOrder = backups.toSorted((a, b) => Date.parse(a.finishedAt) - Date.parse(b.finishedAt));
  const until = target.metadata.annotations[backupsShownAnnotation] ?? '';
  for (const manifest of inOrder) {
    const wasShown = Date.parse(manifest.finishedAt) <= Date.parse(until);
    if (wasShown || known.some((object) => isOf(object, manifest))) continue;
    const object = await objects.show(key, manifest.id);
    await objects.saveStatus(object, shownStatus(object, manifest, clock.now()));
  }
  // Only once they are all there: a crash before leaves none out. A catalogue that is empty for a while, since its
  // volume is not mounted, is shown anew when it is back.
  const newest = inOrder.at(-1)?.finishedAt ?? '';
  if (newest !== until) await objects.markShown(key, newest);
}

/** Whether it was made for this backup, or asked for it. */
const isOf = (object: BackupObject, { id, operation }: BackupManifest): boolean =>
  object.shows === null ? object.status?.backupId === id || operation === operationIdOf(object) : object.shows === id;
