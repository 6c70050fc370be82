import { randomBytes } from 'node:crypto';

import { keyText, seconds } from '../../api/target.ts';
import { unsupportedFields } from '../../api/unsupported.ts';
import type { Outcome } from '../../api/conditions.ts';
import { findRival, versionTableOf } from '../claim.ts';
import { asFailure, retry, stalled } from '../errors.ts';
import type { DatabaseState, Operation, Trigger } from '../model.ts';
import type { BackupStore, LiveDatabase, Lock } from '../ports.ts';
import { createScope, type Scope } from '../scope.ts';
import { isNewlyAskedFor, previousStall, settle, suspended } from '../settle.ts';
import { tidy, type Seen } from '../tidy.ts';
import type { Visit } from '../visit.ts';

export type Checked =
  | { readonly kind: 'settled'; readonly outcome: Outcome; readonly seen: Seen | null }
  | {
      readonly kind: 'due';
      readonly scope: Scope;
      readonly state: DatabaseState;
      readonly trigger: Trigger;
      /** `restoreFrom`, where it was not carried out yet. */
      readonly restoreFrom: string | null;
      /** An operation that died or was interrupted, to be gone on with. */
      readonly resume: Operation | null;
    };

/**
 * Reads, and only where something is due takes the lock: so a target that is where it should be costs one connection.
 * Behind the lock everything is read again, once the sessions of a dead operation are gone.
 */
export async function check(visit: Visit): Promise<Checked> {
  const refused = refuseDeclaration(visit);
  if (refused !== null) return { kind: 'settled', outcome: refused, seen: null };

  const asked = visit.asked.kind === 'backup' || visit.asked.kind === 'apply' ? visit.asked.operationId : undefined;
  const id = visit.journal?.id ?? asked ?? newOperationId();
  const database = await openDatabase(visit, id);
  let lock: Lock | null = null;
  try {
    if (visit.journal?.restore) {
      lock = await takeLock(visit, database);
      await reopenAfterSwap(visit.journal, database);
    }
    const seen = await database.read();
    await refuseConflict(visit, seen);
    const store = await openStore(visit);
    const found = await settleWith(visit, store, seen);
    if (found.kind === 'settled' && visit.journal === null) {
      const tidied = await tidy(visit, { database, store, isLocked: false }, seen, { aside: null, operation: null });
      await database[Symbol.asyncDispose]();
      return { ...found, seen: tidied };
    }
    lock ??= await takeLock(visit, database);
    await database.endOperationSessions();
    const scope = createScope(visit, { id, database, lock, store });
    const resume = await resumable(visit, scope);
    const state = await database.read();
    await refuseConflict(visit, state);
    const due = isDeleted(visit) ? deleted : await settleWith(visit, store, state);
    if (resume === null && due.kind === 'settled') {
      const tidied = await tidy(visit, { database, store, isLocked: true }, state, { aside: null, operation: null });
      await scope[Symbol.asyncDispose]();
      return { ...due, seen: tidied };
    }
    return {
      kind: 'due',
      scope,
      state,
      trigger: due.kind === 'due' ? due.trigger : 'generation',
      restoreFrom: (await isRestorePending(visit, store, state))
        ? (visit.target.spec.restoreFrom?.backup ?? null)
        : null,
      resume,
    };
  } catch (thrown) {
    await lock?.[Symbol.asyncDispose]();
    await database[Symbol.asyncDispose]();
    throw thrown;
  }
}

async function takeLock({ key }: Visit, database: LiveDatabase): Promise<Lock> {
  const lock = await database.lock();
  if (lock !== null) return lock;
  throw retry(
    'DatabaseLocked',
    `Another operation holds the database of ${keyText(key)}; it is waited for. See: migration-target status ${key.name}`,
  );
}

/** A swap that was cut off between closing and renaming left a live database that nobody can even read. */
async function reopenAfterSwap({ origin, restore }: Operation, database: LiveDatabase): Promise<void> {
  if (restore === null) return;
  await database.endOperationSessions();
  const state = await database.swapState(origin.identity, restore.into, restore.aside);
  if (state.kind === 'notSwapped' && state.liveClosed) await database.reopen(origin.identity);
}

/** Nothing new is begun for a declaration that is gone. */
const isDeleted = ({ target }: Visit): boolean => target.metadata.deletionTimestamp !== null;

const deleted = {
  kind: 'settled',
  outcome: { kind: 'suspended', message: 'The declaration was deleted; the database and its backups stay.' },
} as const;

/** Asked where something is declared anew, or was in conflict: a target that settled keeps its database. */
async function refuseConflict(visit: Visit, { identity }: DatabaseState): Promise<void> {
  const { status, journal } = visit;
  if (journal !== null) return;
  const wasRefused = status.conditions.some(
    ({ type, status: value, reason }) => type === 'Stalled' && value === 'True' && reason === 'TargetConflict',
  );
  if (!isNewlyAskedFor(visit) && !wasRefused) return;
  const rival = findRival(visit, identity, await visit.ports.home.list());
  if (rival === null) return;
  throw stalled(
    'TargetConflict',
    `Target ${keyText(rival)} already answers for database ${identity.name} and its version table ${versionTableOf(visit.target)}; two would fight. Delete one of them: nothing happens to the database.`,
  );
}

/** What the declaration alone forbids; no connection is made. */
function refuseDeclaration(visit: Visit): Outcome | null {
  const { target, asked, journal, status } = visit;
  const isByDeclaration = asked.kind === 'reconcile' || asked.kind === 'apply';
  if (target.spec.suspend && isByDeclaration && !hasBegunChange(journal)) {
    return suspended(target);
  }
  if (journal === null && status.operation !== null) {
    return {
      kind: 'stalled',
      reason: 'JournalUnknown',
      message: `Operation ${status.operation.id} was journalled in format ${status.operation.version}, which this version does not know; nothing is touched. Run the version that began it.`,
    };
  }
  if (journal !== null && !isNewlyAskedFor(visit)) {
    const parked = previousStall(status);
    if (parked !== null) return parked;
  }
  const fields = unsupportedFields(target.spec);
  if (fields.length === 0) return null;
  return { kind: 'stalled', reason: 'NotSupported', message: `This version does not act on ${fields.join('; ')}.` };
}

/** From the change on the database may be between two states; that is put right even where nothing new may begin. */
const hasBegunChange = (journal: Operation | null): boolean => journal !== null && !isBeforeChange(journal);

const isBeforeChange = ({ step }: Operation): boolean => step === 'check' || step === 'plan' || step === 'backup';

/** Names of connections and of databases carry it: short, lower case. */
export const newOperationId = (): string => randomBytes(5).toString('hex');

export async function openDatabase(
  visit: Pick<Visit, 'target' | 'key' | 'ports'>,
  operationId: string,
): Promise<LiveDatabase> {
  const { database } = visit.target.spec;
  const { home, databases } = visit.ports;
  const url = await home.resolve(database.urlFrom, visit.key.namespace);
  const adminUrl =
    database.adminUrlFrom === undefined ? null : await home.resolve(database.adminUrlFrom, visit.key.namespace);
  return databases.open({
    url,
    adminUrl,
    maintenanceDatabase: database.maintenanceDatabase,
    versionTable: { schema: database.versionTableSchema, name: database.versionTable },
    lockTimeoutSeconds: seconds(database.lockTimeout),
    operationId,
  });
}

const openStore = (visit: Visit): Promise<BackupStore> =>
  visit.ports.backups.open(visit.target.spec.backup.storage, visit.key);

async function settleWith(visit: Visit, store: BackupStore, state: DatabaseState): Promise<ReturnType<typeof settle>> {
  const now = visit.ports.clock.now();
  return settle(visit, state, {
    now,
    restorePending: isNewlyAskedFor(visit) && (await isRestorePending(visit, store, state)),
    backupDue: isBackupDue(visit, now),
  });
}

async function isRestorePending({ target }: Visit, store: BackupStore, { identity }: DatabaseState): Promise<boolean> {
  const { restoreFrom } = target.spec;
  if (restoreFrom === undefined) return false;
  return (await store.restoreRecord(restoreFrom.backup, identity)) !== 'done';
}

function isBackupDue({ target, status }: Visit, now: Date): boolean {
  const { maxAge } = target.spec.backup;
  if (maxAge === undefined) return false;
  const last = status.lastBackup;
  return last === null || now.getTime() - Date.parse(last.finishedAt) > seconds(maxAge) * 1000;
}

/**
 * What a dead operation left, made into something to go on with; its scratch databases go. Until its backup is verified
 * nothing of the live database has changed, so then all of it is cleared away and everything is planned anew.
 */
async function resumable({ journal }: Visit, { database, store }: Scope): Promise<Operation | null> {
  if (journal === null) return null;
  try {
    for (const scratch of journal.scratch) await database.dropDatabase(scratch);
    if (isBeforeChange(journal)) await store.removeLeftovers(journal.id);
  } catch (thrown) {
    const failure = asFailure(thrown);
    if (failure.kind === 'retry') throw failure;
    throw stalled(
      'RecoveryFailed',
      `What operation ${journal.id} left could not be cleared away: ${failure.message}`,
      thrown,
    );
  }
  return isBeforeChange(journal) ? null : journal;
}
