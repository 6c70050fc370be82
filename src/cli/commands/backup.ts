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
      'Dumps the database as it is, restores the dump once into a scratch database, compares, and adds it to the catalogue. Changes nothing, so it does not ask.',
    )
    .argument('[NAME]', nameHelp)
    .action((name: string | undefined, _options: unknown, command: Command) =>
      invoke(command, name ?? null, (context) => backup(context, name)),
    );
}

async function backup(context: Context, name: string | undefined): Promise<ExitCode> {
  const [{ carryOut }, { tellOutcome }, { Problem }, { statusOf }] = await Promise.all([
    import('../carry-out.ts'),
    import('../apply-here.ts'),
    import('../problem.ts'),
    import('../../rollback/status.ts'),
  ]);
  const target = await context.target(name);
  const called = target.metadata.name;
  if ((await context.home()).kind === 'kubernetes') {
    throw new Problem(
      `NotSupported ${called}`,
      'In a cluster a backup is asked for by a MigrationBackup, which this version does not act on yet; the controller takes one before every change, and when spec.backup.maxAge is over.',
    );
  }
  const first = await carryOut(context, target, { kind: 'backup', reason: 'Requested' }, null);
  const isTaken = statusOf(first.target).history[0]?.kind === 'backup' || first.outcome.kind !== 'ready';
  // An operation that had been interrupted comes first, whatever was asked for.
  return tellOutcome(
    context,
    isTaken ? first : await carryOut(context, first.target, { kind: 'backup', reason: 'Requested' }, null),
  );
}
