/**
 * Work that needs a scratch database and changes nothing else: trying a backup, looking into a dump. It is journalled
 * as a backup is, so that the next start clears away what a dead one left.
 */
import { keyOf, type MigrationTarget, type TargetStatus } from '../api/target.ts';
import { retry, stalled } from './errors.ts';
import type { DatabaseState, Operation, OwnDatabase, Trigger } from './model.ts';
import { openStore } from './open-store.ts';
import type { Ports } from './ports.ts';
import { newOperation } from './operation.ts';
import { createScope, withScratch, type Scope } from './scope.ts';
import { journalOf, statusOf } from './status.ts';
import { clearAway, isScratchWork } from './clear-away.ts';
import { newOperationId, openDatabase } from './steps/check.ts';
import { revisionsOf } from './compare.ts';

/** What the work has at hand: the lock is held, the scratch database exists and is dropped afterwards. */
export interface ScratchWork {
  readonly scope: Scope;
  readonly operation: Operation;
  readonly state: DatabaseState;
  readonly scratch: OwnDatabase;
}

/** One that the next start clears away should this die: nothing of the declaration's status says that it went on. */
export async function workInScratch<T>(
  target: MigrationTarget,
  ports: Ports,
  signal: AbortSignal,
  use: (work: ScratchWork) => Promise<T>,
): Promise<T> {
  return workUnderLock(target, ports, signal, async ({ scope, state }) => {
    const operation = await scope.begin(idleOperation(scope, state));
    return withScratch(scope, operation, async ({ database: scratch, created }) => {
      await created;
      return use({ scope, operation, state, scratch });
    });
  });
}

/**
 * Work that may journal an operation of its own, and leaves the status as it was. Throws DatabaseLocked (retry) where
 * another operation is under way, RecoveryFailed where one was begun and not ended: its journal is never written over.
 */
export async function workUnderLock<T>(
  target: MigrationTarget,
  ports: Ports,
  signal: AbortSignal,
  use: (work: Omit<ScratchWork, 'operation' | 'scratch'>) => Promise<T>,
): Promise<T> {
  const key = keyOf(target);
  const id = newOperationId();
  await using database = await openDatabase({ key, target, ports }, id);
  const { identity } = await database.read();
  const store = await openStore(target, ports);
  await using lock = await database.lock();
  if (lock === null) {
    throw retry(
      'DatabaseLocked',
      `Another operation holds database ${identity.name}. See: migration-target status ${key.name}`,
    );
  }
  // Behind the lock: nobody else writes it now.
  const found = await readStatus(target, ports);
  const dead = journalOf(found);
  if (dead !== null && isScratchWork(dead)) {
    await database.endOperationSessions();
    await clearAway({ key, target, ports, signal }, { database, store }, dead);
  } else if (found.operation !== null) {
    throw stalled(
      'RecoveryFailed',
      `Operation ${found.operation.id} was begun and not ended; it has to be finished first: migration-target reconcile ${key.name}`,
    );
  }
  const before: TargetStatus = { ...found, operation: null };
  const save = journalTo(target, before, found, ports);
  const asked = { kind: 'backup', reason: 'Requested' } as const;
  await using scope = createScope(
    { key, target, status: before, journal: null, asked, ports, signal, save },
    { id, database, lock, store },
  );
  try {
    return await use({ scope, state: await database.read() });
  } finally {
    await scope.clearScratch();
    await ports.home.saveStatus(key, before);
    await ports.home.release(key);
  }
}

async function readStatus(target: MigrationTarget, { home }: Ports): Promise<TargetStatus> {
  const declaration = await home.get(keyOf(target));
  return statusOf(declaration?.kind === 'target' ? declaration.target : target);
}

/** The journal alone: what was said of the target, and what it waits for, goes on to hold. */
function journalTo(target: MigrationTarget, before: TargetStatus, found: TargetStatus, { home }: Ports) {
  let saved = found;
  return async (operation: Operation): Promise<Operation> => {
    const next = { ...before, operation };
    await home.saveStatus(keyOf(target), next, saved);
    saved = next;
    return operation;
  };
}

/** A journal for scratch databases alone. */
export function idleOperation(
  { operationId: id, target, ports }: Pick<Scope, 'operationId' | 'target' | 'ports'>,
  state: DatabaseState,
  trigger: Trigger = 'backup',
): Operation {
  const current = revisionsOf(state.versionTable);
  const plan = { kind: 'backup', current, desired: current ?? [], reason: 'Requested', digest: '' } as const;
  const { generation } = target.metadata;
  return newOperation(state, { id, trigger, generation, requestedAt: null, plan }, ports.clock.now());
}
