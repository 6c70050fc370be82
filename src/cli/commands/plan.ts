import type { Command } from 'commander';
import type { Invoke } from '../invoke.ts';
import { exitCodes, type ExitCode } from '../exit-codes.ts';
import type { Context } from '../context.ts';
import { revisionHelp } from '../help.ts';
import { Problem } from '../problem.ts';
import { tryOnCopy } from '../try-on-copy.ts';

interface Options {
  readonly file?: string;
  readonly revision?: string;
  readonly sql?: boolean;
  readonly rehearse?: boolean;
  readonly markdown?: boolean;
  readonly exitCode?: boolean;
}

export function addPlan(program: Command, invoke: Invoke): void {
  program
    .command('plan')
    .summary('show what would be done and lost; touches nothing')
    .description(
      'Shows what applying a declaration would do: the migrations in their order, the statements that may lose data with file and line, what happens if it fails, and the backups that this relies on. Reads the database, the migrations and the catalogue; writes nothing, locks nothing. With --rehearse it takes a backup, tries the change on a copy of it, and says table by table what would be lost; the database is only read. Ends with 3 where that says that an approval would be needed, with 4 where it is refused or fails on the copy.',
    )
    .argument('[NAME]', 'a target that is declared; may be left out where there is only one')
    .option('-f, --file <FILE>', 'the declaration, instead of NAME; - is the standard input')
    .option('--revision <REVISION>', revisionHelp)
    .option('--sql', 'also show the SQL of the migrations, where alembic can give it offline')
    .option('--rehearse', 'try it on a copy, and measure what would be lost')
    .option('--markdown', 'with --rehearse: write Markdown, fit for a comment on a pull request')
    .option('--exit-code', 'end with 2 where the plan would change something')
    .action((name: string | undefined, options: Options, command: Command) =>
      invoke(command, name ?? null, (context) => plan(context, name, options)),
    );
}

async function plan(context: Context, name: string | undefined, options: Options): Promise<ExitCode> {
  const [{ readDeclared }, { preview }, { planMarkdown, planObject, renderPlan }, { answer }, { listenForInterrupts }] =
    await Promise.all([
      import('../declared.ts'),
      import('../../rollback/preview.ts'),
      import('../render-plan.ts'),
      import('../output.ts'),
      import('../interrupts.ts'),
    ]);
  if (options.markdown === true && options.rehearse !== true)
    throw new Problem(
      'plan',
      `Markdown tells what a rehearsal found: ${context.command('plan NAME --rehearse --markdown')}`,
    );
  using interrupts = listenForInterrupts((text) => context.output.notes.write(`${text}\n`), {
    first: 'Stopping; a plan touches nothing.',
    second: 'Ended at once.',
  });
  const { target } = await readDeclared(context, name, options.file);
  const revision = options.revision === undefined ? {} : { revision: options.revision };
  const seen = await preview(target, await context.ports(), {
    sql: options.sql === true,
    ...revision,
    signal: interrupts.signal,
  });
  const called = target.metadata.name;
  const rehearsed = options.rehearse === true ? await tryOnCopy(context, target, seen) : null;
  if (options.markdown === true && rehearsed !== null) context.output.data.write(planMarkdown(called, seen, rehearsed));
  else
    await answer(context.output, {
      object: planObject(called, seen, rehearsed),
      names: [`plan/${called}`],
      text: ({ screen }) =>
        renderPlan(called, seen, {
          screen,
          now: new Date(),
          say: (message) => context.say(message, called),
          isRehearsing: target.spec.policy.rehearsal === 'Always',
          rehearsed,
        }),
    });
  if (seen.plan.kind === 'refuse') return exitCodes.stalled;
  if (rehearsed?.kind === 'rehearsed') {
    const { operation, verdict } = rehearsed;
    if (operation.rehearsal?.route === 'none' || verdict.kind === 'refuse') return exitCodes.stalled;
    if (verdict.kind === 'ask') return exitCodes.approvalNeeded;
  }
  return options.exitCode === true && seen.plan.kind !== 'nothing' ? exitCodes.changes : exitCodes.done;
}
