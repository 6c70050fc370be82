import type { Command } from 'commander';
import { nameHelp } from '../help.ts';
import type { Invoke } from '../invoke.ts';

export function addResume(program: Command, invoke: Invoke): void {
  program
    .command('resume')
    .summary('have a suspended target worked on again')
    .description('Takes spec.suspend back. A running controller goes on at once; without one: reconcile.')
    .argument('[NAME]', nameHelp)
    .action((name: string | undefined, _options: unknown, command: Command) =>
      invoke(command, name ?? null, async (context) =>
        (await import('../set-suspended.ts')).setSuspended(context, name, false),
      ),
    );
}
