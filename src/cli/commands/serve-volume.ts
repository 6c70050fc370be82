import type { Command } from 'commander';
import { exitCodes } from '../exit-codes.ts';
import type { Invoke } from '../invoke.ts';

/** Of the controller's own Jobs; for no person. */
export function addServeVolume(program: Command, invoke: Invoke): void {
  program
    .command('serve-volume', { hidden: true })
    .summary('serve a folder with backups over the standard streams')
    .argument('<DIR>', 'the folder')
    .action((folder: string, _options: object, command: Command) =>
      invoke(command, null, async ({ wiring }) => {
        await wiring.serveVolume(folder);
        return exitCodes.done;
      }),
    );
}
