import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { exitCodes, type ExitCode } from '../exit-codes.ts';
import { nameHelp } from '../help.ts';
import type { Invoke } from '../invoke.ts';

export function addHistory(program: Command, invoke: Invoke): void {
  program
    .command('history')
    .summary('the graph of revisions, and past operations')
    .description(
      'Draws the migrations with their branches and merges, newest on top, marks where the database is and where it should be, and lists the last operations. Loads the migrations with Python; runs none.',
    )
    .argument('[NAME]', nameHelp)
    .action((name: string | undefined, _options: unknown, command: Command) =>
      invoke(command, name ?? null, (context) => history(context, name)),
    );
}

async function history(context: Context, name: string | undefined): Promise<ExitCode> {
  const [
    { readGraph },
    { renderGraph },
    { describeEntry },
    { answer },
    { listenForInterrupts },
    { declaredRevisions },
    { statusOf },
    { asProblem },
    { wrap },
  ] = await Promise.all([
    import('../../rollback/preview.ts'),
    import('../render-graph.ts'),
    import('../render-status.ts'),
    import('../output.ts'),
    import('../interrupts.ts'),
    import('../../api/target.ts'),
    import('../../rollback/status.ts'),
    import('../problem.ts'),
    import('../text.ts'),
  ]);
  const target = await context.target(name);
  const called = target.metadata.name;
  const status = statusOf(target);
  const desired = declaredRevisions(target.spec);
  using interrupts = listenForInterrupts((text) => context.output.notes.write(`${text}\n`), {
    first: 'Stopping.',
    second: 'Ended at once.',
  });
  // What was done can be told even where the migrations can't be read.
  const read = await readGraph(target, await context.ports(), interrupts.signal).catch((thrown: unknown) =>
    asProblem(thrown, called),
  );
  const graph = read instanceof Error ? null : read;
  await answer(context.output, {
    object: {
      target: called,
      current: graph?.current ?? status.currentRevisions,
      desired,
      graph: graph?.graph ?? null,
      history: status.history,
    },
    names: graph?.graph.revisions.map(({ id }) => id) ?? [],
    text: ({ screen }) => {
      const { paint, width } = screen;
      const now = new Date();
      const drawn =
        graph === null
          ? []
          : [renderGraph(graph.graph, { current: graph.current, desired }, paint) || 'No migration yet.', ''];
      const missing = graph?.current === null ? [paint('yellow', 'The database has no version table.'), ''] : [];
      const past = status.history.map((entry) => wrap(describeEntry(entry, now), '  ', width));
      return [
        ...drawn,
        ...missing,
        paint('bold', past.length === 0 ? 'No operation yet.' : 'Last operations, newest first'),
        ...past,
      ].join('\n');
    },
  });
  if (read instanceof Error) throw read;
  return exitCodes.done;
}
