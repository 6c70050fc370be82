/**
 * Work that needs a scratch database and changes nothing else: trying a backup, looking into a dump. It is journalled
 * as a backup is, so that the next start clears away what a dead one left.
 */
import { keyOf, type MigrationTarget, type TargetStatus } from '../api/target.ts';
import { retry, stalled } from './errors.ts';
import type { DatabaseState, Operation, OwnDatabase } from './model.ts';
import type { Ports } from './ports.ts';
import { newOperation } from './operation.ts';
import { createScope, withScratch, type Scope } from './scope.ts';
import { statusOf, workingStatus } from './status.ts';
import { newOperationId, openDatabase } from './steps/check.ts';
import { revisionsOf } from './compare.ts';

/** What the work has at hand: the lock is held, the scratch database exists and is dropped afterwards. */
export interface ScratchWork {
  readonly scope: Scope;
  readonly operation: Operation;
  readonly state: DatabaseState;
  readonly scratch: OwnDatabase;
}

/**
 * Throws DatabaseLocked (retry) where another operation is under way, RecoveryFailed where one was begun and not ended:
 * its journal is never written over.
 */
export async function workInScratch<T>(
  target: MigrationTarget,
  ports: Ports,
  signal: AbortSignal,
  use: (work: ScratchWork) => Promise<T>,
): Promise<T> {
  const key = keyOf(target);
  const id = newOperationId();
  await using database = await openDatabase({ key, target, ports }, id);
  const state = await database.read();
  const store = await ports.backups.open(target.spec.backup.storage, key);
  await using lock = await database.lock();
  if (lock === null) {
    throw retry(
      'DatabaseLocked',
      `Another operation holds database ${state.identity.name}. See: migration-target status ${key.name}`,
    );
  }
  // Behind the lock: nobody else writes it now.
  const before = await readStatus(target, ports);
  if (before.operation !== null) {
    throw stalled(
      'RecoveryFailed',
      `Operation ${before.operation.id} was begun and not ended; it has to be finished first: migration-target reconcile ${key.name}`,
    );
  }
  const save = journalTo(target, before, ports);
  const asked = { kind: 'backup', reason: 'Requested' } as const;
  const scope = createScope(
    { key, target, status: before, journal: null, asked, ports, signal, save },
    { id, database, lock, store },
  );
  const operation = await scope.begin(idleOperation(id, target, state, ports.clock.now()));
  try {
    return await withScratch(scope, operation, async ({ database: scratch, created }) => {
      await created;
      return use({ scope, operation, state, scratch });
    });
  } finally {
    await scope.scratch.clear();
    await ports.home.saveStatus(key, before);
    await ports.home.release(key);
  }
}

async function readStatus(target: MigrationTarget, { home }: Ports): Promise<TargetStatus> {
  const declaration = await home.get(keyOf(target));
  return statusOf(declaration?.kind === 'target' ? declaration.target : target);
}

function journalTo(target: MigrationTarget, before: TargetStatus, { home, clock }: Ports) {
  let saved = before;
  return async (operation: Operation): Promise<Operation> => {
    const next = workingStatus(target, before, operation, clock.now());
    await home.saveStatus(keyOf(target), next, saved);
    saved = next;
    return operation;
  };
}

function idleOperation(id: string, target: MigrationTarget, state: DatabaseState, now: Date): Operation {
  const current = revisionsOf(state.versionTable);
  const plan = { kind: 'backup', current, desired: current ?? [], reason: 'Requested', digest: '' } as const;
  const { generation } = target.metadata;
  return newOperation(state, { id, trigger: 'backup', generation, requestedAt: null, plan }, now);
}
