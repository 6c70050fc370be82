/** Backups that are asked for by an object: each is taken once, and the object says what came of it. */
import type { Outcome } from '../api/conditions.ts';
import type { Reason } from '../api/reasons.ts';
import { keyText, type MigrationTarget, type TargetKey } from '../api/target.ts';
import { isPending, operationIdOf, type BackupObject, type BackupObjects } from './backup-objects.ts';
import { shownStatus, withOutcome } from './backup-status.ts';
import { Failure } from './errors.ts';
import type { BackupManifest } from './model.ts';
import { openStore } from './open-store.ts';
import type { Clock, Ports } from './ports.ts';
import { reconcile } from './reconcile.ts';

/**
 * Takes every backup that is asked for of this target, one after the other. False: some has to be tried again soon.
 *
 * Nothing has to be written down before: the operation's id follows from the object (`operationIdOf`), is journalled with
 * the operation, and stands in the manifest. So each try begins by looking for the backup in the catalogue.
 */
export async function takeRequested(
  key: TargetKey,
  ports: Ports,
  objects: BackupObjects,
  signal: AbortSignal,
): Promise<boolean> {
  let done = true;
  for (const heard of objects.of(key).filter(isPending)) {
    // What was heard may be older than what we wrote.
    const object = await objects.get(heard.key);
    if (object !== null && isPending(object)) done = (await take(object, ports, objects, signal)) && done;
  }
  return done;
}

async function take(object: BackupObject, ports: Ports, objects: BackupObjects, signal: AbortSignal): Promise<boolean> {
  const declaration = await ports.home.get(object.target);
  if (declaration?.kind !== 'target') return false;
  const { target } = declaration;
  const say = async (outcome: Outcome): Promise<boolean> => {
    await objects.saveStatus(object, withOutcome(object, outcome, ports.clock.now()));
    return outcome.kind === 'stalled';
  };
  try {
    const before = await find(object, target, ports);
    if (before !== null) return await show(object, before, ports, objects);
    await say(working(target));
    const asked = { kind: 'backup', reason: 'Requested', operationId: operationIdOf(object) } as const;
    const { outcome } = await reconcile(target, ports, asked, signal);
    const taken = await find(object, target, ports);
    if (taken !== null) return await show(object, taken, ports, objects);
    // Whatever else was done: an operation that had been interrupted comes first.
    return await say(outcome.kind === 'stalled' || outcome.kind === 'retrying' ? outcome : working(target));
  } catch (thrown) {
    if (!(thrown instanceof Failure)) throw thrown;
    const { kind, reason, message } = thrown;
    return say({ kind: kind === 'retry' ? 'retrying' : 'stalled', reason, message });
  }
}

const working = ({ metadata }: MigrationTarget): Outcome => ({
  kind: 'working',
  reason: 'Progressing',
  message: `A backup of ${metadata.name} is being taken. See: migration-target status ${metadata.name}`,
});

async function show(
  object: BackupObject,
  manifest: BackupManifest,
  ports: Ports,
  objects: BackupObjects,
): Promise<true> {
  await objects.saveStatus(object, shownStatus(object, manifest, ports.clock.now()));
  return true;
}

/** The backup that was taken for this object; null: none yet. */
async function find(object: BackupObject, target: MigrationTarget, ports: Ports): Promise<BackupManifest | null> {
  const store = await openStore(target, ports);
  const operation = operationIdOf(object);
  return (await store.list()).backups.find((backup) => backup.operation === operation) ?? null;
}

/** Says why no backup is taken for a target that is not declared, or that nothing is done for. */
export async function refuseRequested(
  key: TargetKey,
  refusal: { readonly reason: Reason; readonly message: string } | null,
  objects: BackupObjects,
  clock: Clock,
): Promise<void> {
  for (const object of objects.of(key).filter(isPending)) {
    const outcome: Outcome = { kind: 'stalled', ...(refusal ?? missing(object)) };
    await objects.saveStatus(object, withOutcome(object, outcome, clock.now()));
  }
}

const missing = ({ key, target }: BackupObject): { readonly reason: Reason; readonly message: string } => ({
  reason: 'TargetNotFound',
  message: `There is no MigrationTarget ${keyText(target)}. Once it is declared the backup is taken: migration-target apply -f FILE. If another was meant: kubectl -n ${key.namespace} delete migrationbackup ${key.name}, and create one with its name`,
});
