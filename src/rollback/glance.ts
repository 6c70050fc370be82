/**
 * A look at a target that was in sync, by what the home knows already: one connection to its database, and no question
 * to where it is declared. It begins nothing and writes nothing: whatever has changed, or may have, is for `reconcile`,
 * which reads everything anew. So nothing is ever done for what may be old.
 */
import { keyOf, type MigrationTarget } from '../api/target.ts';
import type { BackupManifest } from './model.ts';
import { openStore } from './open-store.ts';
import type { Known, Ports } from './ports.ts';
import { isNewlyAskedFor } from './settle.ts';
import { concludedStatus, statusOf } from './status.ts';
import { newOperationId, openDatabase, refuseDeclaration, settleWith, withHealth } from './steps/check.ts';
import { asTidied } from './tidy.ts';
import type { Visit } from './visit.ts';

/** The backups, newest first, where all is as the status says; null: it has to be looked at in earnest. */
export async function glance(
  target: MigrationTarget,
  { home, ...ports }: Ports,
  known: Known,
  signal: AbortSignal,
): Promise<readonly BackupManifest[] | null> {
  const status = statusOf(target);
  const visit: Visit = {
    key: keyOf(target),
    target,
    status,
    journal: null,
    asked: { kind: 'reconcile' },
    ports: { ...ports, home: { ...home, resolve: (source, owner) => known.resolve(source, owner) } },
    signal,
    save: () => Promise.reject(new Error('a glance begins nothing')),
  };
  if (!isInSync(visit) || refuseDeclaration(visit) !== null) return null;
  await using database = await openDatabase(visit, newOperationId());
  const state = await database.read();
  const store = await openStore(target, visit.ports);
  const settled = await settleWith(visit, store, state);
  const seen = settled.kind === 'settled' ? await asTidied(visit, store, state) : null;
  if (settled.kind === 'due' || seen === null) return null;
  const looked = await withHealth(visit, settled.outcome, seen);
  const facts = { outcome: looked.outcome, now: ports.clock.now(), ...looked.seen, answers: true, journal: null };
  return JSON.stringify(concludedStatus(target, status, facts)) === JSON.stringify(status) ? seen.backups : null;
}

/** What anybody waits for, or has to mend, is looked at in earnest. */
function isInSync(visit: Visit): boolean {
  const { target, status } = visit;
  const ready = status.conditions.find(({ type }) => type === 'Ready');
  return (
    ready?.status === 'True' &&
    ready.observedGeneration === target.metadata.generation &&
    status.operation === null &&
    target.metadata.deletionTimestamp === null &&
    !isNewlyAskedFor(visit)
  );
}
