/** Which backup a fallback takes, and which backups have had their time. Pure: the clock is an argument. */
import { revisionsOfBackup } from './compare.ts';
import type { BackupManifest } from './model.ts';

/** A database whatever its oid, which a restore changes. */
export interface DatabaseName {
  readonly systemIdentifier: string;
  readonly name: string;
}

export interface RetentionPolicy {
  readonly minAgeSeconds: number;
  readonly minCount: number;
}

export type FallbackChoice =
  | { readonly kind: 'backup'; readonly backup: BackupManifest }
  /** One reason for each backup that there is, newest first; none: there is no backup. */
  | { readonly kind: 'none'; readonly rejected: readonly { readonly id: string; readonly because: string }[] };

/** The newest verified backup of this very database at exactly the desired revisions, or why each one is none. */
export function chooseFallback(
  backups: readonly BackupManifest[],
  desired: readonly string[],
  database: DatabaseName,
  major: number,
): FallbackChoice {
  const judged = newestFirst(backups).map((backup) => ({ backup, because: unfit(backup, desired, database, major) }));
  const fit = judged.find(({ because }) => because === null);
  if (fit !== undefined) return { kind: 'backup', backup: fit.backup };
  return { kind: 'none', rejected: judged.map(({ backup, because }) => ({ id: backup.id, because: because ?? '' })) };
}

function unfit(
  backup: BackupManifest,
  desired: readonly string[],
  database: DatabaseName,
  major: number,
): string | null {
  const { name, systemIdentifier } = backup.database;
  if (systemIdentifier !== database.systemIdentifier) {
    return `it is of another server (system identifier ${systemIdentifier} and not ${database.systemIdentifier})`;
  }
  if (name !== database.name) return `it is of the database ${name} and not ${database.name}`;
  const revisions = revisionsOfBackup(backup);
  if (revisions === null) return 'it has no version table, so its revision is unknown';
  if (setKey(revisions) !== setKey(desired)) {
    return `it is at ${setName(revisions)} and not at ${setName(desired)}`;
  }
  if (backup.server.major !== major) {
    return `it is of PostgreSQL ${backup.server.major} and the server is ${major}, so its schema can't be compared`;
  }
  if (backup.verifiedAt === null) return 'it was never verified';
  return null;
}

/**
 * The backups that have had their time, oldest first. `backups`: those of one target. One is kept
 * - while it is younger than the minimal age, or its own `keptUntil` is not over, whichever is later;
 * - among the newest `minCount`, and among the newest `minCount` verified ones, so that failed attempts push no good one out;
 * - as the newest verified one at its revisions of its database: a fallback could still need it, whenever that is. So
 *   there remains one for each set of revisions that the database was ever backed up at, however many operations there were;
 * - while something names it (`protectedIds`: the operation under way, a plan, `restoreFrom`).
 */
export function expired(
  backups: readonly BackupManifest[],
  policy: RetentionPolicy,
  now: Date,
  protectedIds: ReadonlySet<string>,
): readonly BackupManifest[] {
  const sorted = newestFirst(backups);
  const verified = sorted.filter(({ verifiedAt }) => verifiedAt !== null);
  const kept = new Set([
    ...protectedIds,
    ...sorted.filter((backup) => isYoung(backup, policy, now)).map(({ id }) => id),
    ...sorted.slice(0, policy.minCount).map(({ id }) => id),
    ...verified.slice(0, policy.minCount).map(({ id }) => id),
    ...newestAtEachRevision(verified),
  ]);
  return sorted.filter(({ id }) => !kept.has(id)).toReversed();
}

function isYoung(backup: BackupManifest, policy: RetentionPolicy, now: Date): boolean {
  const promised = Date.parse(backup.keptUntil);
  const declared = Date.parse(backup.finishedAt) + policy.minAgeSeconds * 1000;
  return now.getTime() < Math.max(promised, declared);
}

function newestAtEachRevision(newestFirstVerified: readonly BackupManifest[]): Iterable<string> {
  const newest = new Map<string, string>();
  for (const backup of newestFirstVerified) {
    const { id, database, server } = backup;
    const revisions = revisionsOfBackup(backup);
    // It is at no revision that anybody could declare.
    if (revisions === null) continue;
    const place = JSON.stringify([database.systemIdentifier, database.name, server.major, setKey(revisions)]);
    if (!newest.has(place)) newest.set(place, id);
  }
  return newest.values();
}

function newestFirst(backups: readonly BackupManifest[]): readonly BackupManifest[] {
  return backups.toSorted((a, b) => Date.parse(b.startedAt) - Date.parse(a.startedAt) || (a.id < b.id ? 1 : -1));
}

const setKey = (revisions: readonly string[]): string => JSON.stringify([...new Set(revisions)].sort());

const setName = (revisions: readonly string[]): string =>
  revisions.length === 0 ? 'base' : revisions.toSorted().join(', ');
