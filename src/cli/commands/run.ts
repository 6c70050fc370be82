import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import type { Context } from '../context.ts';
import type { ElectionFlags } from '../election.ts';
import { exitCodes, type ExitCode } from '../exit-codes.ts';
import type { Invoke } from '../invoke.ts';
import { permissions, type Permission } from '../../rollback/allowed.ts';

interface Options extends ElectionFlags {
  readonly listen: string;
  readonly workers: number;
}

export function addRun(program: Command, invoke: Invoke): void {
  program
    .command('run')
    .summary('the controller: keeps every database at its declared revision')
    .description(
      'Watches the declarations and carries them out, several at a time, until it is told to stop (SIGTERM, Ctrl-C): then it takes nothing new on, and ends at the next safe point of what is under way. Its log is JSON, on stderr; LOG_LEVEL sets how much. The variable MIGRATION_TARGET_WEBHOOK_URL, or MIGRATION_TARGET_WEBHOOK_URL_FILE, names a webhook that is told of starts, waits and ends; MIGRATION_TARGET_WEBHOOK_FORMAT: json or slack.',
    )
    .option('--listen <ADDRESS>', 'HOST:PORT of /metrics, /healthz and /readyz', '127.0.0.1:9464')
    .option('--workers <COUNT>', 'how many targets at the same time', parseCount, 4)
    .option(
      '--allow <LIST>',
      `what declarations may make a controller in a pod do, joined by commas: ${permissions.join(', ')}`,
      parsePermissions,
      [],
    )
    .option('--leader-elect', 'work only while no other controller does: the default in a pod')
    .option('--no-leader-elect', 'work though others may: the default elsewhere')
    .option(
      '--lease-name <NAME>',
      'the Lease that leaders are elected by, in the namespace of the controller',
      'migration-target',
    )
    .option('--identity <NAME>', 'who it is in the Lease, unlike any other; left out: the host, and a random part')
    .action((options: Options, command: Command) => invoke(command, null, (context) => run(context, options)));
}

async function run(context: Context, options: Options): Promise<ExitCode> {
  const { listen, workers } = options;
  const { electionOf } = await import('../election.ts');
  const election = await electionOf(context, options);
  const stop = new AbortController();
  const onSignal = (): void => {
    // The second time there is nothing to wait for: the journal makes that safe as well.
    if (stop.signal.aborted) process.exit(exitCodes.interrupted);
    stop.abort();
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  const namespace = await context.namespace();
  const { unfinished, isDeposed } = await context.wiring.serve({
    home: await context.home(),
    election,
    watches: namespace === null ? 'all namespaces' : `namespace ${namespace}`,
    listen,
    workers,
    surroundings: await context.surroundings(),
    signal: stop.signal,
  });
  // Whatever it was at is journalled, and fenced: the process that comes next goes on with it.
  if (isDeposed) process.exit(exitCodes.error);
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
