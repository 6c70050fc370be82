import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { exitCodes, type ExitCode } from '../exit-codes.ts';
import { nameHelp } from '../help.ts';
import type { Invoke } from '../invoke.ts';
import { Problem } from '../problem.ts';

export function addIdentify(program: Command, invoke: Invoke): void {
  program
    .command('identify')
    .summary('say which revision a schema is, where the version table does not')
    .description(
      'Compares the schema of a database with those recorded when it reached a revision, with those of its verified backups, and with those that its migrations make, run from base in scratch databases (kept for the next time). Says which revision it is, or the nearest ones with what differs, and what to type next. Reads the database, and writes nothing to it: nothing is ever stamped. Ends with 4 where no single revision has that very schema.',
    )
    .argument('[NAME]', nameHelp)
    .action((name: string | undefined, _options: unknown, command: Command) =>
      invoke(command, name ?? null, (context) => identify(context, name)),
    );
}

async function identify(context: Context, name: string | undefined): Promise<ExitCode> {
  const target = await context.target(name);
  const called = target.metadata.name;
  if ((await context.home()).kind !== 'directory') {
    throw new Problem(
      `identify ${called}`,
      `In a cluster the controller runs the migrations, and says by itself what the schema is where the version table is missing or unknown to the scripts: ${context.command(`reconcile ${called}`)}, then ${context.command(`status ${called}`)}. To have all of them built from base: where the migrations and PostgreSQL's tools are, with the same YAML in a folder: migration-target identify ${called} --dir DIR`,
    );
  }
  const [{ identify: find }, { identityObject, renderIdentity }, { answer }, { showProgress }, interrupting] =
    await Promise.all([
      import('../../rollback/identify.ts'),
      import('../render-identity.ts'),
      import('../output.ts'),
      import('../progress.ts'),
      import('../interrupts.ts'),
    ]);
  const progress = showProgress({ screen: context.output.notes, now: () => performance.now() });
  using interrupts = interrupting.listenForInterrupts(progress.say, interrupting.stopsSafely);
  const ports = await context.ports((event) => progress.observe(event));
  const identified = await find(target, ports, interrupts.signal)
    .catch((thrown: unknown) => {
      if (!interrupts.signal.aborted) throw thrown;
      const message = 'It was interrupted; the database was only read, and the scratch databases are gone.';
      throw new Problem(`identify ${called}`, message, exitCodes.interrupted, { cause: thrown });
    })
    .finally(() => progress.stop());
  const { verdict } = identified.found;
  await answer(context.output, {
    object: identityObject(target, identified),
    names: verdict.kind === 'identified' ? [verdict.revisions.join(',') || 'base'] : [],
    text: ({ screen }) =>
      renderIdentity(target, identified, { screen, say: (message) => context.say(message, called) }),
  });
  return verdict.kind === 'identified' ? exitCodes.done : exitCodes.stalled;
}
