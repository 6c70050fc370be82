import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { exitCodes, type ExitCode } from '../exit-codes.ts';
import { nameHelp } from '../help.ts';
import type { Invoke } from '../invoke.ts';

export function addBackups(program: Command, invoke: Invoke): void {
  const backups = program
    .command('backups')
    .summary('the catalogue of backups; verify one')
    .description(
      'Lists the backups of a target, newest first: of which revision, how big, verified or not, kept until when, and why each was taken. Broken ones are listed with what is wrong. Kubernetes: reads the MigrationBackups, not the folder.',
    )
    .argument('[NAME]', nameHelp)
    .action((name: string | undefined, _options: unknown, command: Command) =>
      invoke(command, name ?? null, (context) => list(context, name)),
    );
  backups
    .command('list')
    .description('The same as backups NAME.')
    .argument('[NAME]', nameHelp)
    .action((name: string | undefined, _options: unknown, command: Command) =>
      invoke(command, name ?? null, (context) => list(context, name)),
    );
  backups
    .command('verify')
    .description(
      'Reads every file of a backup again, restores it into a scratch database, and compares revision, row counts and schema with what was dumped. Ends with 1 where they differ.',
    )
    .argument('<ID>', 'the id of the backup')
    .action((id: string, _options: unknown, command: Command) => invoke(command, id, (context) => verify(context, id)));
}

async function list(context: Context, name: string | undefined): Promise<ExitCode> {
  const [{ catalogueColumns, renderBackups }, { answer }, { keyOf }] = await Promise.all([
    import('../render-backups.ts'),
    import('../output.ts'),
    import('../../api/target.ts'),
  ]);
  const target = await context.target(name);
  const { backupObjects } = await context.home();
  if (backupObjects !== undefined) {
    const { listInCluster } = await import('../backup-in-cluster.ts');
    return listInCluster(context, keyOf(target), backupObjects);
  }
  const { backups: stores } = await context.ports();
  const store = await stores.open(target.spec.backup.storage, keyOf(target));
  const { backups, broken } = await store.list();
  const called = target.metadata.name;
  await answer(context.output, {
    object: { target: keyOf(target), backups, broken },
    names: backups.map(({ id }) => id),
    text: ({ wide, screen }) =>
      backups.length + broken.length === 0
        ? `No backup of ${called} yet. To take one: ${context.command(`backup ${called}`)}`
        : renderBackups(backups, broken, catalogueColumns, {
            screen,
            wide,
            now: new Date(),
            say: (message) => context.say(message, called),
          }),
  });
  return exitCodes.done;
}

async function verify(context: Context, id: string): Promise<ExitCode> {
  const { verifyOne } = await import('../verify-one.ts');
  return verifyOne(context, id);
}
