import { randomBytes } from 'node:crypto';

import { keyText, seconds } from '../../api/target.ts';
import { unsupportedFields } from '../../api/unsupported.ts';
import type { Outcome } from '../../api/conditions.ts';
import { findApproval } from '../approval.ts';
import { isStopped } from '../application.ts';
import { clearAway, isBeforeChange, isScratchWork } from '../clear-away.ts';
import { claimOf, findRival, versionTableOf } from '../claim.ts';
import { retry, stalled } from '../errors.ts';
import { openStore } from '../open-store.ts';
import type { DatabaseState, Operation, Trigger } from '../model.ts';
import type { BackupStore, LiveDatabase, Lock } from '../ports.ts';
import { createScope, type Scope } from '../scope.ts';
import { lookAtHealth, unlessUnhealthy } from '../health.ts';
import { isNewlyAskedFor, previousStall, previousWait, settle, suspended } from '../settle.ts';
import { tidy, type Seen } from '../tidy.ts';
import type { Visit } from '../visit.ts';
import { ownerOf } from '../visit.ts';

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
    const store = await openStore(visit.target, visit.ports);
    const found = await settleWith(visit, store, seen);
    if (found.kind === 'settled' && visit.journal === null) {
      const tidied = await tidy(visit, { database, store, isLocked: false }, seen, { aside: null, operation: null });
      await database[Symbol.asyncDispose]();
      return await withHealth(visit, found.outcome, tidied);
    }
    lock ??= await takeLock(visit, database);
    await database.endOperationSessions();
    const scope = createScope(visit, { id, database, lock, store });
    const resume = await resumable(visit, scope);
    const state = await database.read();
    await refuseConflict(visit, state);
    const due = isDeleted(visit)
      ? deleted
      : (resume === null && refusedNow(visit)) || (await settleWith(visit, store, state));
    // Two that began to answer for it at the same moment would correct each other for ever.
    if (resume === null && due.kind === 'due' && due.trigger === 'drift') await refuseRival(visit, state);
    if (resume === null && due.kind === 'settled') {
      const tidied = await tidy(visit, { database, store, isLocked: true }, state, { aside: null, operation: null });
      await scope[Symbol.asyncDispose]();
      return await withHealth(visit, due.outcome, tidied);
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

/** Ready says that the application's declared health check passed as well. */
export async function withHealth(
  visit: Visit,
  outcome: Outcome,
  seen: Seen,
): Promise<Extract<Checked, { readonly kind: 'settled' }>> {
  if (outcome.kind !== 'ready') return { kind: 'settled', outcome, seen };
  const application = await lookAtHealth(visit, visit.ports.clock.now());
  const judged = unlessUnhealthy(visit.target, application ?? null, outcome);
  return { kind: 'settled', outcome: judged, seen: { ...seen, application } };
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
async function refuseConflict(visit: Visit, state: DatabaseState): Promise<void> {
  const { status, journal } = visit;
  if (journal !== null) return;
  const wasRefused = status.conditions.some(
    ({ type, status: value, reason }) => type === 'Stalled' && value === 'True' && reason === 'TargetConflict',
  );
  if (isNewlyAskedFor(visit) || wasRefused) await refuseRival(visit, state);
}

async function refuseRival(visit: Visit, { identity }: DatabaseState): Promise<void> {
  const rival = findRival(visit, identity, await visit.ports.home.claiming(claimOf(visit.target, identity)));
  if (rival === null) return;
  throw stalled(
    'TargetConflict',
    `Target ${keyText(rival)} already answers for database ${identity.name} and its version table ${versionTableOf(visit.target)}; two would fight. Delete one of them: nothing happens to the database.`,
  );
}

/** Suspended, but for what a person asks for beyond the declaration. */
const isHeldBack = ({ target, asked }: Visit): boolean =>
  target.spec.suspend && (asked.kind === 'reconcile' || asked.kind === 'apply');

/** What the declaration alone forbids; no connection is made. */
export function refuseDeclaration(visit: Visit): Outcome | null {
  const { target, journal, status } = visit;
  if (isHeldBack(visit) && !hasBegunChange(journal) && !(journal !== null && isStopped(journal))) {
    return suspended(target);
  }
  if (journal === null && status.operation !== null) {
    return {
      kind: 'stalled',
      reason: 'JournalUnknown',
      message: `Operation ${status.operation.id} was journalled in format ${status.operation.version}, which this version does not know; nothing is touched. Run the version that began it.`,
    };
  }
  // What only needs clearing away waits for nobody.
  if (journal !== null && !isScratchWork(journal) && !isNewlyAskedFor(visit)) {
    const parked = previousStall(status);
    if (parked !== null) return parked;
  }
  // An application that is stopped is started first, whatever is declared by now.
  return journal !== null && isStopped(journal) ? null : notSupported(visit);
}

function notSupported({ target, ports }: Visit): Outcome | null {
  const fields = unsupportedFields(target.spec, ports.home.kind);
  if (fields.length === 0) return null;
  return { kind: 'stalled', reason: 'NotSupported', message: `This version does not act on ${fields.join('; ')}.` };
}

/** Asked once nothing is left to be gone on with. */
function refusedNow(visit: Visit): { readonly kind: 'settled'; readonly outcome: Outcome } | null {
  const outcome = isHeldBack(visit) ? suspended(visit.target) : notSupported(visit);
  return outcome === null ? null : { kind: 'settled', outcome };
}

/** From the change on the database may be between two states; that is put right even where nothing new may begin. */
const hasBegunChange = (journal: Operation | null): boolean => journal !== null && !isBeforeChange(journal);

/** Names of connections and of databases carry it: short, lower case. */
export const newOperationId = (): string => randomBytes(5).toString('hex');

export async function openDatabase(
  visit: Pick<Visit, 'target' | 'key' | 'ports'>,
  operationId: string,
): Promise<LiveDatabase> {
  const { database } = visit.target.spec;
  const { home, databases } = visit.ports;
  const owner = ownerOf(visit.target);
  const url = await home.resolve(database.urlFrom, owner);
  const adminUrl = database.adminUrlFrom === undefined ? null : await home.resolve(database.adminUrlFrom, owner);
  return databases.open({
    url,
    adminUrl,
    maintenanceDatabase: database.maintenanceDatabase,
    versionTable: { schema: database.versionTableSchema, name: database.versionTable },
    lockTimeoutSeconds: seconds(database.lockTimeout),
    operationId,
    place: { runtime: visit.target.spec.runtime, owner },
  });
}

export async function settleWith(
  visit: Visit,
  store: BackupStore,
  state: DatabaseState,
): Promise<ReturnType<typeof settle>> {
  const now = visit.ports.clock.now();
  return settle(visit, state, {
    now,
    restorePending: isNewlyAskedFor(visit) && (await isRestorePending(visit, store, state)),
    backupDue: isBackupDue(visit, now),
    approval: await lookForApproval(visit, now),
  });
}

/** Asked only where the target waits. */
async function lookForApproval(
  { status, key, ports }: Visit,
  now: Date,
): Promise<{ readonly isApproved: boolean; readonly because: string | null } | null> {
  const { plan } = status;
  if (previousWait(status) === null || plan?.digest == null) return null;
  const rows = plan.loss?.rows ?? null;
  const wanted = { digest: plan.digest, rows, rowsAsked: rows, operationId: '', now };
  const found = findApproval(await ports.home.approvals(key), wanted);
  return found.kind === 'approved'
    ? { isApproved: true, because: null }
    : { isApproved: false, because: found.because };
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
async function resumable(visit: Visit, { database, store }: Scope): Promise<Operation | null> {
  const { journal } = visit;
  if (journal === null) return null;
  await clearAway(visit, { database, store }, journal);
  return isBeforeChange(journal) ? null : journal;
}
