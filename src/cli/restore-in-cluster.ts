/** `restore` in a cluster: `spec.restoreFrom` is declared, and the controller restores. */
import { keyOf, keyText } from '../api/target.ts';
import { statusOf } from '../rollback/status.ts';
import { confirm } from './confirm.ts';
import type { Context } from './context.ts';
import type { ExitCode } from './exit-codes.ts';
import { followController } from './apply-to-cluster.ts';
import { Problem } from './problem.ts';

export async function restoreInCluster(
  context: Context,
  name: string,
  backup: string,
  { yes, isFile }: { readonly yes: boolean; readonly isFile: boolean },
): Promise<ExitCode> {
  const target = await context.target(name);
  const called = target.metadata.name;
  if (isFile) {
    throw new Problem(
      `NotSupported ${called}`,
      `A file of this machine is out of the controller's reach. Restore it where the backup folder is: migration-target restore ${called} FILE --dir DIR`,
    );
  }
  if (target.spec.policy.restore === 'Forbid') {
    throw new Problem(
      `RestoreForbidden ${called}`,
      `Its policy.restore is Forbid. Declare policy.restore: Allow, then: ${context.command(`restore ${called} ${backup}`)}`,
    );
  }
  await confirm(context, yes, {
    title: `restore ${called}`,
    message: `The database of ${called} is replaced by backup ${backup}.`,
    word: 'yes',
    retyped: context.command(`restore ${called} ${backup} --yes`),
  });
  const key = keyOf(target);
  await context.declareRestore(key, backup);
  const before = new Set(statusOf(target).history.map(({ operationId }) => operationId));
  return followController(context, await context.target(keyText(key)), (now, outcome) => {
    const isRestored = statusOf(now).history.some(
      ({ operationId, kind }) => kind === 'restore' && !before.has(operationId),
    );
    if (outcome.kind !== 'ready' || isRestored) return;
    // What restoreFrom did is written down beside the backup, so that it is never done twice.
    throw new Problem(
      `NotRestored ${called}`,
      `spec.restoreFrom is carried out once, and backup ${backup} was restored before, so nothing was done. Restore it again where the backup folder is: migration-target restore NAME BACKUP --dir DIR`,
    );
  });
}
