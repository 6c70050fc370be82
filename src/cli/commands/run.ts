import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import type { Context } from '../context.ts';
import { exitCodes, type ExitCode } from '../exit-codes.ts';
import type { Invoke } from '../invoke.ts';
import { permissions, type Permission } from '../../rollback/allowed.ts';

interface Options {
  readonly listen: string;
  readonly workers: number;
}

export function addRun(program: Command, invoke: Invoke): void {
  program
    .command('run')
    .summary('the controller: keeps every database at its declared revision')
    .description(
      'Watches the declarations and carries them out, several at a time, until it is told to stop (SIGTERM, Ctrl-C): then it takes nothing new on, and ends at the next safe point of what is under way. Its log is JSON, on stderr; LOG_LEVEL sets how much.',
    )
    .option('--listen <ADDRESS>', 'HOST:PORT of /metrics, /healthz and /readyz', '127.0.0.1:9464')
    .option('--workers <COUNT>', 'how many targets at the same time', parseCount, 4)
    .option(
      '--allow <LIST>',
      `what declarations may make a controller in a pod do, joined by commas: ${permissions.join(', ')}`,
      parsePermissions,
      [],
    )
    .action((options: Options, command: Command) => invoke(command, null, (context) => run(context, options)));
}

async function run(context: Context, { listen, workers }: Options): Promise<ExitCode> {
  const stop = new AbortController();
  const onSignal = (): void => {
    // The second time there is nothing to wait for: the journal makes that safe as well.
    if (stop.signal.aborted) process.exit(exitCodes.interrupted);
    stop.abort();
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  const { unfinished } = await context.wiring.serve({
    home: await context.home(),
    listen,
    workers,
    surroundings: await context.surroundings(),
    signal: stop.signal,
  });
  // Work that did not end in time would keep the process from ending.
  if (unfinished.length > 0) process.exit(exitCodes.done);
  return exitCodes.done;
}

function parseCount(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 1000)
    throw new InvalidArgumentError('write a number from 1 to 1000');
  return value;
}

function parsePermissions(text: string, before: readonly Permission[]): readonly Permission[] {
  const said = text.split(',').filter((part) => part !== '');
  const unknown = said.find((part) => !permissions.some((known) => known === part));
  if (unknown !== undefined)
    throw new InvalidArgumentError(`there is no ${unknown}; there are ${permissions.join(', ')}`);
  return [...before, ...permissions.filter((known) => said.includes(known))];
}
