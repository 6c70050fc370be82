import type { Command } from 'commander';
import type { Context } from '../context.ts';
import type { ExitCode } from '../exit-codes.ts';
import { nameHelp } from '../help.ts';
import type { Invoke } from '../invoke.ts';

export function addBackup(program: Command, invoke: Invoke): void {
  program
    .command('backup')
    .summary('take a backup now, restored once and compared')
    .description(
      'Dumps the database as it is, restores the dump once into a scratch database, compares, and adds it to the catalogue. Changes nothing, so it does not ask. Kubernetes: creates a MigrationBackup, and waits until the controller has taken it.',
    )
    .argument('[NAME]', nameHelp)
    .action((name: string | undefined, _options: unknown, command: Command) =>
      invoke(command, name ?? null, (context) => backup(context, name)),
    );
}

async function backup(context: Context, name: string | undefined): Promise<ExitCode> {
  const target = await context.target(name);
  const { backupObjects } = await context.home();
  if (backupObjects !== undefined) {
    const { backupInCluster } = await import('../backup-in-cluster.ts');
    return backupInCluster(context, target, backupObjects);
  }
  const [{ carryOut }, { tellOutcome }, { statusOf }] = await Promise.all([
    import('../carry-out.ts'),
    import('../apply-here.ts'),
    import('../../rollback/status.ts'),
  ]);
  const first = await carryOut(context, target, { kind: 'backup', reason: 'Requested' }, null);
  const isTaken = statusOf(first.target).history[0]?.kind === 'backup' || first.outcome.kind !== 'ready';
  // An operation that had been interrupted comes first, whatever was asked for.
  return tellOutcome(
    context,
    isTaken ? first : await carryOut(context, first.target, { kind: 'backup', reason: 'Requested' }, null),
  );
}
