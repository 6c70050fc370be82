/** What every visit ends with: where the database is now, the catalogue, and what has had its time cleared away. */
import { revisionsOf } from './compare.ts';
import { seconds, type TargetStatus } from '../api/target.ts';
import { asFailure } from './errors.ts';
import type { AsideDatabase, BackupManifest, DatabaseState, Operation } from './model.ts';
import type { BackupStore, LiveDatabase } from './ports.ts';
import { expired } from './retention.ts';
import { claim } from './claim.ts';
import type { Visit } from './visit.ts';

/** For the status. */
export interface Seen {
  readonly current: readonly string[] | null;
  /** Newest first; undefined: the catalogue could not be read. */
  readonly backups?: readonly BackupManifest[];
  readonly keptAside: readonly AsideDatabase[];
  readonly database: TargetStatus['database'];
  /** undefined: it was not asked. */
  readonly application?: TargetStatus['application'] | undefined;
}

/**
 * Removes expired backups, and drops databases that were put aside and have had their time: only under the lock, and
 * only those whose oid is in the status. A fault here is told, and is no reason to call an operation failed.
 */
export async function tidy(
  visit: Visit,
  held: { readonly database: LiveDatabase; readonly store: BackupStore; readonly isLocked: boolean },
  state: Pick<DatabaseState, 'identity' | 'versionTable'>,
  ended: { readonly aside: AsideDatabase | null; readonly operation: Operation | null },
): Promise<Seen> {
  const { database, store } = held;
  const { seen, kept } = whereItIs(visit, state, ended.aside);
  try {
    const known = await store.list({ mayBeOld: true });
    const over = whatIsOver(visit, state, { backups: known.backups, kept, operation: ended.operation });
    if (over.old.length + over.due.length === 0) return { ...seen, backups: known.backups };

    await using lock = held.isLocked ? null : await database.lock();
    if (lock === null && !held.isLocked) return { ...seen, backups: known.backups };
    // None may go for the sake of newer ones that others have removed meanwhile.
    const { backups } = await store.list();
    const { old, due } = whatIsOver(visit, state, { backups, kept, operation: ended.operation });
    for (const { id, external } of old) {
      await store.remove(id);
      if (external !== undefined) tellForgotten(visit, ended.operation, id, external.path);
    }
    for (const aside of due) await database.dropDatabase(aside);
    return {
      ...seen,
      backups: backups.filter((backup) => !old.includes(backup)),
      keptAside: kept.filter((aside) => !due.includes(aside)),
    };
  } catch (thrown) {
    visit.ports.observe(visit.key, ended.operation?.id ?? '', {
      kind: 'note',
      level: 'warn',
      message: `Old backups could not be cleared away: ${asFailure(thrown).message}`,
    });
    return seen;
  }
}

/** The same where nothing has had its time; null: something has, and `tidy` clears it away. */
export async function asTidied(
  visit: Visit,
  store: BackupStore,
  state: Pick<DatabaseState, 'identity' | 'versionTable'>,
): Promise<(Seen & { readonly backups: readonly BackupManifest[] }) | null> {
  const { seen, kept } = whereItIs(visit, state, null);
  const { backups } = await store.list({ mayBeOld: true });
  const { old, due } = whatIsOver(visit, state, { backups, kept, operation: null });
  return old.length + due.length === 0 ? { ...seen, backups } : null;
}

function whereItIs(
  visit: Visit,
  { versionTable, identity }: Pick<DatabaseState, 'identity' | 'versionTable'>,
  aside: AsideDatabase | null,
): { readonly seen: Seen; readonly kept: readonly AsideDatabase[] } {
  const kept = [...visit.status.keptAside, ...(aside === null ? [] : [aside])];
  const database = claim(visit, identity, visit.ports.clock.now());
  return { seen: { current: revisionsOf(versionTable), database, keptAside: kept }, kept };
}

function whatIsOver(
  visit: Visit,
  { identity }: Pick<DatabaseState, 'identity'>,
  held: {
    readonly backups: readonly BackupManifest[];
    readonly kept: readonly AsideDatabase[];
    readonly operation: Operation | null;
  },
): { readonly old: readonly BackupManifest[]; readonly due: readonly AsideDatabase[] } {
  const now = visit.ports.clock.now();
  return {
    old: expiredBackups(visit, held.backups, now, held.operation),
    due: held.kept.filter(
      (aside) => Date.parse(aside.keptUntil) <= now.getTime() && aside.systemIdentifier === identity.systemIdentifier,
    ),
  };
}

/** The entry has had its time. The file is somebody else's, who keeps it as long as they like. */
function tellForgotten({ ports, key }: Visit, operation: Operation | null, id: string, path: string): void {
  ports.observe(key, operation?.id ?? '', {
    kind: 'note',
    level: 'info',
    message: `Backup ${id} has had its time and is no longer in the catalogue. Its file ${path} stays as it is.`,
  });
}

function expiredBackups(
  { target }: Visit,
  backups: readonly BackupManifest[],
  now: Date,
  operation: Operation | null,
): readonly BackupManifest[] {
  const { retention } = target.spec.backup;
  const needed = [target.spec.restoreFrom?.backup, operation?.backup?.id, operation?.restore?.backup];
  const policy = { minAgeSeconds: seconds(retention.minAge), minCount: retention.minCount };
  return expired(backups, policy, now, new Set(needed.filter((id) => id !== undefined)));
}
