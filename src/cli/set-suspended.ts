/** What `suspend` and `resume` share. */
import type { Context } from './context.ts';
import { exitCodes, type ExitCode } from './exit-codes.ts';
import { answer } from './output.ts';

export async function setSuspended(context: Context, name: string | undefined, suspended: boolean): Promise<ExitCode> {
  const key = await context.resolveKey(name);
  const home = await context.home();
  await home.setSuspended(key, suspended);
  const next = suspended
    ? `resume ${key.name}`
    : home.kind === 'directory'
      ? `reconcile ${key.name}`
      : `wait ${key.name}`;
  await answer(context.output, {
    object: await context.target(key.name),
    names: [`migrationtarget/${key.name}`],
    text: ({ screen }) =>
      `${screen.paint('green', '✓')} ${key.name} is ${suspended ? 'suspended: nothing is begun any more' : 'no longer suspended'}. Next: ${context.command(next)}`,
  });
  return exitCodes.done;
}
