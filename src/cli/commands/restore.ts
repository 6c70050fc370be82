import type { Command } from 'commander';
import type { Context } from '../context.ts';
import type { ExitCode } from '../exit-codes.ts';
import { yesHelp } from '../help.ts';
import type { Invoke } from '../invoke.ts';

export function addRestore(program: Command, invoke: Invoke): void {
  program
    .command('restore')
    .summary('put a backup in the place of the database')
    .description(
      'Restores a backup of the catalogue, or a plain .sql file, into a new database, verifies it, and swaps it in; the database as it was is kept aside. What was written since the backup is not in it, so it needs an approval, or spec.policy.dataLoss: Allow. Afterwards the database is at the revision of the backup; where another one is declared, the target is not ready until one of them is changed. In a cluster spec.restoreFrom is declared: the controller restores once, then goes for the declared revision.',
    )
    .argument('<NAME>', 'the target')
    .argument('<BACKUP>', 'the id of a backup (backups NAME lists them), or the path of a plain .sql file')
    .option('-y, --yes', yesHelp)
    .action((name: string, backup: string, options: { readonly yes?: boolean }, command: Command) =>
      invoke(command, name, (context) => restore(context, name, backup, options.yes === true)),
    );
}

async function restore(context: Context, name: string, backup: string, yes: boolean): Promise<ExitCode> {
  const isFile = backup.includes('/') || backup.endsWith('.sql');
  if ((await context.home()).kind === 'kubernetes') {
    const { restoreInCluster } = await import('../restore-in-cluster.ts');
    return restoreInCluster(context, name, backup, { yes, isFile });
  }
  const { restoreHere } = await import('../restore-here.ts');
  return restoreHere(context, name, backup, { yes, isFile });
}
