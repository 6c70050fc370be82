import type { Command } from 'commander';
import type { Context } from '../context.ts';
import type { ExitCode } from '../exit-codes.ts';
import { nameHelp, yesHelp } from '../help.ts';
import type { Invoke } from '../invoke.ts';

export function addReconcile(program: Command, invoke: Invoke): void {
  program
    .command('reconcile')
    .summary('try once more what is declared, e.g. after mending a cause')
    .description(
      'Directory home: shows the plan, asks, and carries out what is declared, though it stalled before; an operation that was interrupted is gone on with. Kubernetes: asks the controller to, and follows it.',
    )
    .argument('[NAME]', nameHelp)
    .option('-y, --yes', yesHelp)
    .action((name: string | undefined, options: { readonly yes?: boolean }, command: Command) =>
      invoke(command, name ?? null, (context) => reconcile(context, name, options.yes === true)),
    );
}

async function reconcile(context: Context, name: string | undefined, yes: boolean): Promise<ExitCode> {
  const { keyOf } = await import('../../api/target.ts');
  const target = await context.target(name);
  const key = keyOf(target);
  const home = await context.home();
  if (home.kind === 'kubernetes') {
    const { followController, requestAgain } = await import('../apply-to-cluster.ts');
    return followController(context, await requestAgain(context, target));
  }
  const { applyHere } = await import('../apply-here.ts');
  return applyHere(
    context,
    { target, text: null },
    {
      yes,
      retyped: context.command(`reconcile ${key.name} --yes`),
      asked: { kind: 'apply' },
      begin: async () => {
        await home.requestReconcile(key, new Date().toISOString());
        return context.target(`${key.namespace}/${key.name}`);
      },
    },
  );
}
