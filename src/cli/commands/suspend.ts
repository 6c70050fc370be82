import type { Command } from 'commander';
import { nameHelp } from '../help.ts';
import type { Invoke } from '../invoke.ts';

export function addSuspend(program: Command, invoke: Invoke): void {
  program
    .command('suspend')
    .summary('have a target left alone')
    .description('Sets spec.suspend: nothing is begun any more. A change that is under way is finished.')
    .argument('[NAME]', nameHelp)
    .action((name: string | undefined, _options: unknown, command: Command) =>
      invoke(command, name ?? null, async (context) =>
        (await import('../set-suspended.ts')).setSuspended(context, name, true),
      ),
    );
}
