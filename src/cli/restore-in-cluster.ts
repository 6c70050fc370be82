/** `restore` in a cluster: `spec.restoreFrom` is declared, and the controller restores. */
import { confirm } from './confirm.ts';
import type { Context } from './context.ts';
import type { ExitCode } from './exit-codes.ts';
import { followController } from './apply-to-cluster.ts';
import { targetOf } from './context.ts';
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
  await confirm(context, yes, {
    title: `restore ${called}`,
    message: `The database of ${called} is replaced by backup ${backup}.`,
    word: 'yes',
    retyped: context.command(`restore ${called} ${backup} --yes`),
  });
  const { apiVersion, kind, spec } = target;
  const { name: metadataName, namespace } = target.metadata;
  const document = {
    apiVersion,
    kind,
    metadata: { name: metadataName, namespace },
    spec: { ...spec, restoreFrom: { backup } },
  };
  return followController(context, targetOf(await (await context.home()).apply(document, { dryRun: false })));
}
