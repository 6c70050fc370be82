import { isStopped, untouched } from '../application.ts';
import { changedSincePlanned, stalled } from '../errors.ts';
import { isRestore } from '../gate.ts';
import { hasSameScripts } from '../same-scripts.ts';
import type { Operation } from '../model.ts';
import { startAgain } from '../start-again.ts';
import { note, progressOf, type Scope } from '../scope.ts';
import { ownerOf } from '../visit.ts';
import { wait } from '../wait.ts';
import { writesSinceBackup } from './change.ts';

/** How long the sessions of what was stopped are waited for: a server sees within a moment that they have gone. */
const sessionsMs = 5_000;
const pollMs = 50;

/**
 * The application is stopped, once nothing is left to ask, and stays stopped while the database changes. Where anybody
 * wrote since the backup, it is taken again, of the database as it is now; a restore, which needs none, is judged again.
 */
export async function quiesce(scope: Scope, operation: Operation): Promise<Operation> {
  const { ports, target } = scope;
  const own = ports.workloads(ownerOf(target));
  const workloads = await own.read(target.spec.application?.workloads ?? []);
  const stopping = await scope.save({
    ...operation,
    application: { ...untouched(workloads), stoppedAt: ports.clock.now().toISOString() },
  });
  await scope.lock.assertHeld();
  // What runs in a container that is stopped would die with it.
  await scope.endAlembic();
  await own.stop(workloads, { signal: scope.signal, progress: progressOf(scope, stopping, 'quiesce') });
  const quiet = await untilQuiet(scope, stopping);
  const isBehind = (await writesSinceBackup(scope, quiet)) !== null;
  if (isRestore(quiet)) return { ...quiet, step: isBehind ? 'gate' : 'restore' };
  await assertSameScripts(scope, quiet);
  if (isBehind) return { ...quiet, step: 'backup' };
  return { ...quiet, step: 'change' };
}

/** Who is connected still is somebody else: told, and met by whatever guards against writers. */
async function untilQuiet(scope: Scope, operation: Operation): Promise<Operation> {
  const { database } = scope;
  const endsAt = performance.now() + sessionsMs;
  for (;;) {
    const others = await database.otherSessions();
    if (others.length === 0) return operation;
    if (performance.now() >= endsAt)
      return note(
        scope,
        operation,
        `With the application stopped, others are still connected to ${operation.origin.identity.name}: ${others.join(', ')}.`,
      );
    await wait(pollMs, scope.signal);
  }
}

/** Alembic runs elsewhere by now: in a container made like the one that was stopped, which may hold other scripts. */
async function assertSameScripts(scope: Scope, operation: Operation): Promise<void> {
  if (await hasSameScripts(scope, operation)) return;
  const { where } = await scope.alembic();
  throw scope.target.spec.runtime.docker === undefined
    ? changedSincePlanned(scope.target.spec.alembic.workingDir)
    : stalled(
        'MigrationsChanged',
        `With the application stopped, alembic runs${where}, and ${scope.target.spec.alembic.workingDir} holds other migrations there than in the running container: somebody put them into it by hand. Build them into the image or mount them, then: migration-target reconcile ${scope.key.name}`,
      );
}

/** Where it is given up before its change, for now or for good, the application does not wait for whatever comes next. */
export async function letGo(scope: Scope, operation: Operation): Promise<void> {
  if (!isStopped(operation)) return;
  const { notes } = await startAgain(scope, operation);
  const told = notes.reduce((so, message) => note(scope, so, message), operation);
  await scope.save({ ...told, application: null });
}
