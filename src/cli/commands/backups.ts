import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { exitCodes, type ExitCode } from '../exit-codes.ts';
import { nameHelp } from '../help.ts';
import type { Invoke } from '../invoke.ts';

export function addBackups(program: Command, invoke: Invoke): void {
  const backups = program
    .command('backups')
    .summary('the catalogue of backups; verify one; import old ones')
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
  backups
    .command('import')
    .summary('take a folder of old dumps into the catalogue, where they lie')
    .description(
      "Restores each dump of a folder (.sql, .sql.gz, or pg_dump's custom format) once into a scratch database, and enters it into the catalogue with its revision, row counts, schema and checksum. Nothing is copied, moved or written there, and the files are never removed. A name like unicorn_db_20240131_235900.sql tells the database, and the time by this host's clock; else the time is when the file was last written. What is there already is passed over, so it may be run again. Ends with 1 where a file can't be used. Kubernetes: not supported.",
    )
    .argument('<NAME>', 'the target')
    .argument('<DIR>', 'the folder with the dumps; it may be read-only')
    .option('--prefix <TEXT>', "what the files' names begin with, before the time; left out: the database's name")
    .action((name: string, dir: string, options: { readonly prefix?: string }, command: Command) =>
      invoke(command, name, (context) => importOld(context, name, dir, options.prefix ?? null)),
    );
}

async function list(context: Context, name: string | undefined): Promise<ExitCode> {
  const [{ catalogueColumns, renderBackups }, { answer }, { keyOf }, { openStore }] = await Promise.all([
    import('../render-backups.ts'),
    import('../output.ts'),
    import('../../api/target.ts'),
    import('../../rollback/open-store.ts'),
  ]);
  const target = await context.target(name);
  const { backupObjects } = await context.home();
  if (backupObjects !== undefined) {
    const { listInCluster } = await import('../backup-in-cluster.ts');
    return listInCluster(context, keyOf(target), backupObjects);
  }
  const store = await openStore(target, await context.ports());
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

async function importOld(context: Context, name: string, dir: string, prefix: string | null): Promise<ExitCode> {
  const target = await context.target(name);
  const called = target.metadata.name;
  if ((await context.home()).kind === 'kubernetes') {
    const { Problem } = await import('../problem.ts');
    throw new Problem(
      `NotSupported ${called}`,
      `In a cluster the catalogue is the controller's, and a folder of old dumps is not where it runs. Put them back where a restore by hand finds them, or import them where the same YAML is in a folder: migration-target backups import ${called} ${dir} --dir DIR`,
    );
  }
  const { importHere } = await import('../import-here.ts');
  return importHere(context, target, dir, prefix);
}
