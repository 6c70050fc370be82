import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { keyOfDeclaration } from '../../rollback/declaration.ts';
import { exitCodes, type ExitCode } from '../exit-codes.ts';
import type { Invoke } from '../invoke.ts';

export function addStatus(program: Command, invoke: Invoke): void {
  program
    .command('status')
    .summary('where databases are, and where they should be')
    .description(
      'Without NAME: one line a target. With NAME: all there is to know of one. Reads what was last written down; asks no database.',
    )
    .argument('[NAME]', 'the target; left out: all of them')
    .action((name: string | undefined, _options: unknown, command: Command) =>
      invoke(command, name ?? null, (context) => status(context, name)),
    );
}

async function status(context: Context, name: string | undefined): Promise<ExitCode> {
  const [
    { renderStatus },
    { renderStatuses },
    { declarationObject, listObject, namesOf },
    { answer },
    { unattendedText },
  ] = await Promise.all([
    import('../render-status.ts'),
    import('../render-statuses.ts'),
    import('../objects.ts'),
    import('../output.ts'),
    import('../unattended.ts'),
  ]);
  const now = new Date();
  const { kind } = await context.home();
  const isList = name === undefined || context.output.format === 'wide';
  const wanted = name === undefined ? null : await context.resolveKey(name);
  const declarations = (await context.declarations()).filter((declaration) => {
    const key = keyOfDeclaration(declaration);
    return wanted === null || (key.name === wanted.name && key.namespace === wanted.namespace);
  });
  const say = (message: string, of: string): string => context.say(message, of);
  const [only] = declarations;
  await answer(context.output, {
    object: name === undefined || only === undefined ? listObject(declarations) : declarationObject(only),
    names: namesOf(declarations),
    text: ({ wide, screen }) => {
      if (only === undefined)
        return `Nothing is declared here. To declare a target: ${context.command('apply -f FILE')}`;
      return isList
        ? renderStatuses(declarations, { screen, wide, now })
        : renderStatus(only, {
            screen,
            now,
            say: (message) => say(message, keyOfDeclaration(only).name),
            command: context.command,
            // Whoever asks in a folder can act in it as well.
            ...(kind === 'kubernetes' ? { unattended: unattendedText(keyOfDeclaration(only)) } : { inFolder: true }),
          });
    },
  });
  return exitCodes.done;
}
