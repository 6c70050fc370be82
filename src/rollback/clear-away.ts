/** What a dead operation left that is no use to anybody: scratch databases, folders of backups that were not finished. */
import { asFailure, stalled } from './errors.ts';
import type { Operation, OperationStep } from './model.ts';
import type { BackupStore, LiveDatabase } from './ports.ts';
import { connectRehearsalServer } from './scope.ts';
import { startAgain } from './start-again.ts';
import type { Visit } from './visit.ts';

const stepsBeforeChange = new Set<OperationStep>(['check', 'plan', 'backup', 'rehearse', 'gate', 'quiesce']);

/** Until its change began nothing of the live database has changed. */
export const isBeforeChange = ({ step, begun }: Operation): boolean => !begun && stepsBeforeChange.has(step);

/** Work that would have changed nothing anyway: a backup, a rehearsal by itself, a look at the schema. */
export const isScratchWork = ({ trigger, plan }: Operation): boolean =>
  plan.kind === 'backup' || trigger === 'rehearse' || trigger === 'identify';

/** To be called behind the lock. Throws RecoveryFailed where something can't be cleared away. */
export async function clearAway(
  visit: Pick<Visit, 'key' | 'target' | 'ports' | 'signal'>,
  { database, store }: { readonly database: LiveDatabase; readonly store: BackupStore },
  journal: Operation,
): Promise<void> {
  try {
    // First: nothing of the database has changed, so nobody has to wait for the rest.
    if (isBeforeChange(journal)) await startFirst(visit, journal);
    for (const scratch of journal.scratch) if (scratch.elsewhere !== true) await database.dropDatabase(scratch);
    await dropElsewhere(visit, database, journal);
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
}

async function startFirst(
  visit: Pick<Visit, 'key' | 'target' | 'ports' | 'signal'>,
  journal: Operation,
): Promise<void> {
  const { notes } = await startAgain(visit, journal);
  for (const message of notes) visit.ports.observe(visit.key, journal.id, { kind: 'note', level: 'warn', message });
}

/** What was left on the rehearsal server. Where none is declared any more, nobody can tell where that is. */
async function dropElsewhere(
  visit: Pick<Visit, 'key' | 'target' | 'ports'>,
  database: LiveDatabase,
  { id, scratch }: Operation,
): Promise<void> {
  const left = scratch.filter(({ elsewhere }) => elsewhere === true);
  if (left.length === 0) return;
  if (visit.target.spec.policy.rehearsalServer === undefined) {
    visit.ports.observe(visit.key, id, {
      kind: 'note',
      level: 'warn',
      message: `Copies on the rehearsal server, which is declared no more, were left: ${left.map(({ name }) => name).join(', ')}. Drop them there.`,
    });
    return;
  }
  const { server } = await connectRehearsalServer(visit, database, id);
  await using _ = server;
  for (const named of left) await server.dropDatabase(named);
}
