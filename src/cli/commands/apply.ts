import type { Command } from 'commander';
import type { Context } from '../context.ts';
import type { ExitCode } from '../exit-codes.ts';
import { revisionHelp, yesHelp } from '../help.ts';
import type { Invoke } from '../invoke.ts';

interface Options {
  readonly file?: string;
  readonly revision?: string;
  readonly yes?: boolean;
}

export function addApply(program: Command, invoke: Invoke): void {
  program
    .command('apply')
    .summary('declare a target, and take its database there')
    .description(
      'Directory home: checks the declaration, shows the plan, asks, copies the declaration to targets/ unless it is there, and carries it out with live progress; where another process does so already, that one is followed. Kubernetes: applies the declaration on the server, then follows the controller until the target is ready or stalled.',
    )
    .argument('[NAME]', 'a target that is declared already, e.g. with --revision')
    .option('-f, --file <FILE>', 'the declaration; - is the standard input')
    .option('--revision <REVISION>', revisionHelp)
    .option('-y, --yes', yesHelp)
    .action((name: string | undefined, options: Options, command: Command) =>
      invoke(command, name ?? null, (context) => apply(context, name, options)),
    );
}

async function apply(context: Context, name: string | undefined, options: Options): Promise<ExitCode> {
  const { Problem } = await import('../problem.ts');
  if (options.file === undefined && name === undefined && options.revision === undefined) {
    throw new Problem(
      'apply what?',
      `Say which declaration: ${context.command('apply -f FILE')}; or, of a target that is declared: ${context.command('apply NAME --revision REVISION')}`,
    );
  }
  const home = await context.home();
  const { readDeclared } = await import('../declared.ts');
  const declared = await readDeclared(context, name, options.file);
  const retyped = context.command(
    `apply ${options.file === undefined ? declared.target.metadata.name : `-f ${options.file}`}${options.revision === undefined ? '' : ` --revision ${options.revision}`} --yes`,
  );
  const yes = options.yes === true;
  const revision = options.revision === undefined ? {} : { revision: options.revision };
  if (home.kind === 'kubernetes') {
    const { applyToCluster } = await import('../apply-to-cluster.ts');
    return applyToCluster(context, declared, { yes, retyped, ...revision });
  }
  const { applyHere } = await import('../apply-here.ts');
  return applyHere(context, declared, { yes, retyped, ...revision, asked: { kind: 'apply' } });
}
