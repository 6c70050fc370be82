/** `backup` and `backups` in a cluster: MigrationBackup objects, which the controller answers and keeps up to date. */
import { apiVersion } from '../api/group.ts';
import { keyOf, seconds, type MigrationTarget, type TargetKey } from '../api/target.ts';
import { conditionOf, isPending, type BackupObject, type BackupObjects } from '../rollback/backup-objects.ts';
import type { BackupReason } from '../rollback/model.ts';
import { statusOf } from '../rollback/status.ts';
import type { Context } from './context.ts';
import { exitCodes, type ExitCode } from './exit-codes.ts';
import { follow, stepTeller } from './follow.ts';
import { listenForInterrupts } from './interrupts.ts';
import { answer } from './output.ts';
import { Problem } from './problem.ts';
import { showProgress } from './progress.ts';
import { renderBackups, type ListedBackup, type UnlistedBackup } from './render-backups.ts';
import { formatDuration, wrap } from './text.ts';

/** Asks for a backup, and waits until it is taken, or given up. */
export async function backupInCluster(
  context: Context,
  target: MigrationTarget,
  objects: BackupObjects,
): Promise<ExitCode> {
  const { name, namespace } = target.metadata;
  const startedAt = performance.now();
  const progress = showProgress({ screen: context.output.notes, now: () => performance.now() });
  using interrupts = listenForInterrupts(progress.say, {
    first: 'No longer waiting; the controller goes on.',
    second: 'Ended; the controller goes on.',
  });
  const { key } = await objects.request(keyOf(target));
  const look = `kubectl -n ${namespace} get migrationbackup ${key.name} -o wide`;
  progress.say(`MigrationBackup ${key.name} is created; waiting for the controller.`);
  const tell = stepTeller((text) => progress.say(text));
  let last: BackupObject | null = null;
  const followed = await follow(
    await context.home(),
    keyOf(target),
    async (now) => {
      tell(statusOf(now));
      last = await objects.get(key);
      if (last === null) throw new Problem(`No MigrationBackup ${key.name}`, 'It was deleted meanwhile.');
      return isOver(last) ? last : null;
    },
    { timeoutMs: seconds(target.spec.timeout) * 1000, signal: interrupts.signal },
  ).finally(() => progress.stop());
  if (followed.kind === 'interrupted')
    throw new Problem(
      `Interrupted ${name}`,
      `The controller goes on. To see what came of it: ${look}`,
      exitCodes.interrupted,
    );
  if (followed.kind === 'timedOut') {
    const said = messageOf(last);
    throw new Problem(
      `TimedOut ${name}`,
      `No backup was taken within spec.timeout (${target.spec.timeout})${said === null ? ', as if no controller was running' : `. Last: ${said}`} See: ${look}`,
      exitCodes.timedOut,
    );
  }
  const object = followed.value;
  const ready = object.status === null ? undefined : conditionOf(object.status, 'Ready');
  if (ready?.status !== 'True')
    throw new Problem(`${ready?.reason ?? 'Stalled'} ${name}`, ready?.message ?? '', exitCodes.stalled);
  await answer(context.output, {
    object: documentOf(object),
    names: [`migrationbackup/${key.name}`],
    text: ({ screen }) =>
      [
        `${screen.paint('green', '✓')} ${screen.paint('bold', name)}   ${screen.paint('green', `Ready ${ready.reason}`)}   ${screen.paint('dim', formatDuration(performance.now() - startedAt))}`,
        wrap(context.say(ready.message, name), '  ', screen.width),
        screen.paint('dim', `  next     ${context.command(`backups ${name}`)}`),
      ].join('\n'),
  });
  return exitCodes.done;
}

/** Nothing comes of it any more, or not before a person does something. */
const isOver = (object: BackupObject): boolean =>
  !isPending(object) || (object.status !== null && conditionOf(object.status, 'Stalled')?.status === 'True');

function messageOf(object: BackupObject | null): string | null {
  const status = object?.status ?? null;
  return status === null ? null : (conditionOf(status, 'Ready')?.message ?? null);
}

/** Lists what the objects say, newest first: the catalogue's folder is the controller's. */
export async function listInCluster(context: Context, target: TargetKey, objects: BackupObjects): Promise<ExitCode> {
  const all = await objects.list(target);
  const backups = all.flatMap(asListed).toSorted((a, b) => Date.parse(b.finishedAt) - Date.parse(a.finishedAt));
  const broken = all.filter((object) => asListed(object).length === 0).map(asUnlisted);
  await answer(context.output, {
    object: { target, backups, broken },
    names: backups.map(({ id }) => id),
    text: ({ wide, screen }) =>
      all.length === 0
        ? `No backup of ${target.name} yet. To take one: ${context.command(`backup ${target.name}`)}`
        : renderBackups(backups, broken, objectColumns, {
            screen,
            wide,
            now: new Date(),
            say: (message) => context.say(message, target.name),
          }),
  });
  return exitCodes.done;
}

interface ShownBackup extends ListedBackup {
  readonly object: string;
}

const objectColumns = { headings: ['OBJECT'], cells: ({ object }: ShownBackup) => [object] };

/** None where it shows no backup that could be restored. */
function asListed({ key, status }: BackupObject): readonly ShownBackup[] {
  const ready = status === null ? undefined : conditionOf(status, 'Ready');
  if (status === null || (ready?.status !== 'True' && ready?.reason !== 'BackupNotVerified')) return [];
  const { backupId, revisions, sizeBytes, finishedAt, verifiedAt, keptUntil, reason } = status;
  if (backupId === null || sizeBytes === null || finishedAt === null || keptUntil === null) return [];
  // Whoever wrote the status took it from a manifest.
  const why = reason as BackupReason;
  return [{ id: backupId, revisions, sizeBytes, finishedAt, verifiedAt, keptUntil, reason: why, object: key.name }];
}

function asUnlisted({ key, status }: BackupObject): UnlistedBackup {
  const ready = status === null ? undefined : conditionOf(status, 'Ready');
  return {
    id: status?.backupId ?? key.name,
    is: ready?.reason ?? 'Pending',
    problem: ready?.message ?? 'No controller has looked at it yet.',
  };
}

const documentOf = ({ key, target, status }: BackupObject) => ({
  apiVersion,
  kind: 'MigrationBackup',
  metadata: key,
  spec: { targetRef: { name: target.name } },
  status,
});
