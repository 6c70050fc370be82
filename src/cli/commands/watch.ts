import type { Command } from 'commander';
import type { Declaration } from '../../rollback/ports.ts';
import type { Context } from '../context.ts';
import { keyOfDeclaration } from '../../rollback/declaration.ts';
import { exitCodes, type ExitCode } from '../exit-codes.ts';
import type { Invoke } from '../invoke.ts';
import { listObject, namesOf } from '../objects.ts';
import type { Format } from '../output.ts';

/** How often ages are written anew though nothing changed, in milliseconds. */
const refreshMs = 1_000;

export function addWatch(program: Command, invoke: Invoke): void {
  program
    .command('watch')
    .summary('status, written anew whenever it changes')
    .description(
      'On a terminal the screen is written over; elsewhere each change is written below the one before. With -o json a change is one line, with -o yaml a document, with -o name the names. Ends with Ctrl-C.',
    )
    .argument('[NAME]', 'the target; left out: all of them')
    .action((name: string | undefined, _options: unknown, command: Command) =>
      invoke(command, name ?? null, (context) => watch(context, name)),
    );
}

async function watch(context: Context, name: string | undefined): Promise<ExitCode> {
  const [{ renderStatus }, { renderStatuses }, { wait }] = await Promise.all([
    import('../render-status.ts'),
    import('../render-statuses.ts'),
    import('../../rollback/wait.ts'),
  ]);
  const { data, format } = context.output;
  const wanted = name === undefined ? null : await context.resolveKey(name);
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
  // Nobody reads any more.
  process.stdout.once('error', () => stop.abort());

  // What programs read is never written over.
  const isWrittenOver = data.isTerminal && (format === null || format === 'wide');
  let before = '';
  let lines = 0;
  while (!stop.signal.aborted) {
    const declarations = (await context.declarations()).filter((declaration) => {
      const key = keyOfDeclaration(declaration);
      return wanted === null || (key.name === wanted.name && key.namespace === wanted.namespace);
    });
    const [only] = declarations;
    const now = new Date();
    const state = JSON.stringify(declarations);
    const isChanged = state !== before;
    before = state;
    if (isChanged || isWrittenOver) {
      const text =
        format !== null && format !== 'wide'
          ? await written(format, declarations)
          : wanted !== null && only !== undefined
            ? renderStatus(only, {
                screen: data,
                now,
                say: (message) => context.say(message, wanted.name),
                command: context.command,
              })
            : `${renderStatuses(declarations, { screen: data, wide: format === 'wide', now })}\n`;
      // One write: up to where the last one began, and everything below away.
      data.write(isWrittenOver && lines > 0 ? `\u001b[${lines}A\r\u001b[J${text}` : text);
      lines = rows(text, process.stdout.columns ?? 80);
    }
    await wait(data.isTerminal ? refreshMs : refreshMs / 2, stop.signal);
  }
  return exitCodes.interrupted;
}

/** One change, for programs. */
async function written(format: Exclude<Format, 'wide'>, declarations: readonly Declaration[]): Promise<string> {
  switch (format) {
    case 'json':
      return `${JSON.stringify(listObject(declarations))}\n`;
    case 'yaml': {
      const { stringify } = await import('yaml');
      return `---\n${stringify(listObject(declarations), { aliasDuplicateObjects: false })}`;
    }
    case 'name':
      return namesOf(declarations)
        .map((name) => `${name}\n`)
        .join('');
  }
}

/** Lines on the screen, those counted twice that are too long for it. */
function rows(text: string, columns: number): number {
  const visible = text
    .replaceAll(/\u001b\[[0-9;]*m/g, '')
    .split('\n')
    .slice(0, -1);
  return visible.reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / columns)), 0);
}
