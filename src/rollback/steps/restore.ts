import {
  compareCounts,
  findRestoreFault,
  formatRevisions,
  maxRowChanges,
  revisionsOf,
  sameRevisions,
} from '../compare.ts';
import { asFailure, type Failure, retry, stalled } from '../errors.ts';
import type { BackupManifest, DatabaseProperties, Operation, OperationFailure, RestoreIntent } from '../model.ts';
import type { LeftOut } from '../ports.ts';
import { findBackup, note, progressOf, requireWholeBackup, type Scope } from '../scope.ts';
import { describeSetUp, setUpAs } from '../set-up.ts';
import { writesSinceBackup } from './change.ts';
import { writtenSince } from './gate.ts';
import { findQueryFault } from './verify.ts';

/**
 * Into a NEW database, verified there, swapped in by rename; the old one is kept aside. To the desired revision
 * where the plan has a backup at it, else back to the origin; and nothing at all where the origin is as it was.
 */
export async function restore(scope: Scope, operation: Operation): Promise<Operation> {
  await scope.clearScratch();
  await scope.lock.assertHeld();
  await scope.database.endOperationSessions();
  let aimed = operation;

  if (aimed.restore === null) {
    const toDesired = desiredBackup(aimed);
    if (toDesired !== null) aimed = await aim(scope, aimed, toDesired, 'desired');
    else if (await isAtOrigin(scope, aimed)) return untouched(aimed);
    else aimed = await aim(scope, aimed, originBackup(aimed), 'origin');
  }
  try {
    return await carryOut(scope, aimed, intentOf(aimed));
  } catch (thrown) {
    const failure = asFailure(thrown);
    if (failure.kind === 'retry') throw failure;
    return afterFailure(scope, aimed, intentOf(aimed), failure);
  }
}

/** The backup that reaches the desired revision, if the plan has one and nothing passing is in the way. */
function desiredBackup({ plan, failure, gate }: Operation): string | null {
  switch (plan.kind) {
    case 'restore':
      return plan.backup;
    case 'upgrade':
    case 'downgrade':
    case 'switch':
      if (failure?.passing === true || plan.fallback.kind === 'origin') return null;
      // What nobody approved, and the policy does not allow, is not restored: it would lose what was written since.
      return gate?.coversFallback === true ? plan.fallback.backup : null;
    case 'backup':
      throw new Error('a backup restores nothing');
  }
}

function originBackup({ backup, origin }: Operation): string {
  if (backup === null) throw stalled('RestoreFailed', `There is no backup of ${origin.identity.name} to go back to.`);
  return backup.id;
}

/** Names and oids of both databases, journalled before either exists. */
async function aim(
  scope: Scope,
  operation: Operation,
  backup: string,
  goal: RestoreIntent['goal'],
): Promise<Operation> {
  const live = operation.origin.identity;
  const into = await scope.database.newDatabase('restored', operation.id);
  const aside = await scope.database.newDatabase('old', operation.id);
  return scope.save({ ...operation, restore: { backup, goal, into, aside: { name: aside.name, oid: live.oid } } });
}

async function carryOut(scope: Scope, operation: Operation, intent: RestoreIntent): Promise<Operation> {
  const { database, store } = scope;
  const live = operation.origin.identity;
  const state = await database.swapState(live, intent.into, intent.aside);
  switch (state.kind) {
    case 'unknown':
      throw stalled(
        'RecoveryFailed',
        `The databases are in no state that a swap leaves behind: ${state.found}. Nothing is renamed or dropped; a person must decide which one is ${live.name}.`,
      );
    case 'swapped':
      return finish(scope, operation, intent);
    case 'notSwapped':
      if (state.liveClosed) await database.reopen(live);
      await database.dropDatabase(intent.into);
  }

  const manifest = await requireWholeBackup(scope, intent.backup);
  await store.recordRestore(manifest.id, live, 'intended');

  const present = await presentProperties(scope, operation);
  const leftOut = await database.createDatabase(intent.into, setUpAs(present, manifest.properties));
  const told = tellSetUp(scope, operation, manifest, { present, leftOut });
  const progress = progressOf(scope, operation, 'restore');
  await database.restoreInto(intent.into, { place: store.dumpOf(manifest), format: manifest.format }, progress);
  await database.analyze(intent.into);
  await assertRestored(scope, told, intent, manifest);

  // What is told is of a database that is here once it is swapped, whoever finishes then.
  if (told !== operation) await scope.save(told);
  await refuseUncovered(scope, operation, intent);
  await scope.lock.assertHeld();
  const { closedMs } = await database.swap(live, intent.into, intent.aside);
  scope.ports.observe(scope.key, operation.id, { kind: 'step', step: 'swap', state: 'finished', ms: closedMs });
  return finish(scope, told, intent);
}

/** While it was restored others may have written more than anybody agreed to lose. Nothing of the live database was touched yet. */
async function refuseUncovered(scope: Scope, operation: Operation, { goal, backup }: RestoreIntent): Promise<void> {
  const { gate, rehearsal, origin } = operation;
  const covered = gate?.rowsCovered ?? null;
  if (goal === 'origin' || covered === null || rehearsal === null) return;
  const written = await writtenSince(scope, operation);
  const lost = (rehearsal.loss?.rows ?? 0) + written;
  if (lost <= covered) return;
  throw stalled(
    'WritersActive',
    `Others wrote ${written} rows while backup ${backup} was restored beside ${origin.identity.name}: ${lost} rows would be lost, and ${covered} may be. Nothing was swapped in. Stop the application, then: migration-target reconcile ${scope.key.name}`,
  );
}

/**
 * As the operation found the database, which the backup that it began with tells: neither a change that failed half-way nor
 * a restart makes a difference. Without one (what can't be dumped may still be restored over) as it is now.
 */
async function presentProperties({ store, database }: Scope, { backup }: Operation): Promise<DatabaseProperties> {
  const before = backup === null ? undefined : await findBackup(store, backup.id);
  return before?.properties ?? database.properties();
}

/** What of the backup's own set-up the restored database has not, and what of the present one could not be given to it. */
function tellSetUp(
  scope: Scope,
  operation: Operation,
  { id, properties }: BackupManifest,
  { present, leftOut }: { readonly present: DatabaseProperties; readonly leftOut: LeftOut },
): Operation {
  const { name } = operation.origin.identity;
  const differences = describeSetUp(present, properties);
  const messages = [
    ...(differences === null
      ? []
      : [
          `Database ${name} is set up as it was when this operation began, and not as in backup ${id}: ${differences}. What a migration had set up is for you to set again: see "properties" in the backup's manifest.json.`,
        ]),
    ...leftOut.settings.map(
      (setting) =>
        `The role that restored database ${name} may not run ${setting}, so that is not set. As a superuser, set it again: see "properties" in the backup's manifest.json.`,
    ),
    ...leftOut.roles.map(
      (role) =>
        `The server has no role "${role}" any more, so database ${name} was restored without what that role had on it. To give it back: CREATE ROLE, then what "properties" in the backup's manifest.json says.`,
    ),
  ];
  // One that was killed here has told them before.
  return messages
    .filter((message) => !operation.notes.includes(message))
    .reduce((so, message) => note(scope, so, message), operation);
}

/** Equal to what was dumped, at the right revision (stamped where the dump has no version table), and fit for the user's queries. */
async function assertRestored(
  scope: Scope,
  operation: Operation,
  intent: RestoreIntent,
  manifest: BackupManifest,
): Promise<void> {
  const { database, store } = scope;
  const restored = await database.contents(intent.into);
  const fault = findRestoreFault(manifest, await store.schema(manifest.id), restored);
  if (fault !== null)
    throw stalled(
      'BackupInvalid',
      `Backup ${manifest.id}, restored, is not what was dumped: ${fault}. See: migration-target backups verify ${manifest.id}`,
    );

  const wanted = intent.goal === 'desired' ? operation.plan.desired : operation.origin.revisions;
  if (wanted !== null && !sameRevisions(manifest.revisions, wanted)) {
    if (manifest.revisions !== null) {
      throw stalled(
        'BackupInvalid',
        `Backup ${manifest.id} is at ${formatRevisions(manifest.revisions)}, not at ${formatRevisions(wanted)}.`,
      );
    }
    if (wanted.length > 0) await database.stamp(intent.into, wanted);
  }
  const queryFault = intent.goal === 'desired' ? await findQueryFault(scope, database, intent.into) : null;
  if (queryFault !== null)
    throw stalled('VerificationFailed', `Backup ${manifest.id} was restored, but ${queryFault}.`);
}

async function finish(scope: Scope, operation: Operation, intent: RestoreIntent): Promise<Operation> {
  await scope.store.recordRestore(intent.backup, operation.origin.identity, 'done');
  const before = operation.backup === null ? undefined : await findBackup(scope.store, operation.backup.id);
  const now = await findBackup(scope.store, intent.backup);
  const changes = before === undefined || now === undefined ? [] : compareCounts(before.rowCounts, now.rowCounts);
  return { ...operation, step: 'report', swapped: true, rowChanges: changes.slice(0, maxRowChanges) };
}

/** A restore that failed before its swap has touched nothing live; the origin is what is left to reach. */
async function afterFailure(
  scope: Scope,
  operation: Operation,
  intent: RestoreIntent,
  failure: Failure,
): Promise<Operation> {
  await scope.database.dropDatabase(intent.into);
  if (intent.goal === 'origin') throw failure;
  const told = note(scope, operation, `The restore of ${intent.backup} failed: ${failure.message}`);
  const given: Operation = {
    ...told,
    restore: null,
    failure:
      operation.failure === null
        ? asOperationFailure(failure)
        : {
            ...operation.failure,
            passing: true,
            message: `${operation.failure.message} The restore failed too: ${failure.message}`,
          },
  };
  if (await isAtOrigin(scope, given)) return untouched(given);
  return restore(
    scope,
    await scope.save({ ...given, failure: { ...(given.failure ?? asOperationFailure(failure)), passing: true } }),
  );
}

const asOperationFailure = ({ reason, message }: Failure): OperationFailure => ({
  reason,
  message,
  passing: true,
  committed: false,
});

const untouched = (operation: Operation): Operation => ({ ...operation, step: 'report', restore: null });

/** Whether the live database is still what the operation found, so that there is nothing to undo. */
async function isAtOrigin(scope: Scope, operation: Operation): Promise<boolean> {
  if (operation.plan.kind === 'restore') return true; // nothing live changes before the swap
  // Where nothing of ours was committed, whatever moved is somebody else's.
  if (operation.failure?.committed === false) return true;
  const { versionTable } = await scope.database.read();
  const now = revisionsOf(versionTable);
  if (!sameRevisions(now ?? [], operation.origin.revisions ?? [])) return false;
  if ((await scope.database.liveSchema()).digest !== operation.origin.schema) return false;
  if ((await writesSinceBackup(scope, operation)) === null) return true;
  // At the origin's revision and schema, and somebody wrote. Other sessions' rows are theirs, and stay; the change's
  // own have to go.
  return operation.failure !== null && !mayHaveWritten(operation.failure);
}

/** Where nobody can tell, a change that failed for good is taken to have written, and one that was cut off not. */
const mayHaveWritten = ({ committed, passing }: OperationFailure): boolean => committed ?? !passing;

function intentOf({ restore: intent }: Operation): RestoreIntent {
  if (intent === null) throw retry('Recovering', 'The restore has no intent yet; it is planned again.');
  return intent;
}
