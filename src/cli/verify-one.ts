/** `backups verify ID`: an id tells whose backup it is. */
import { verifyBackup } from '../rollback/verify-backup.ts';
import type { MigrationTarget } from '../api/target.ts';
import { targetOf, type Context } from './context.ts';
import { keyOfDeclaration } from '../rollback/declaration.ts';
import { exitCodes, type ExitCode } from './exit-codes.ts';
import { listenForInterrupts, stopsSafely } from './interrupts.ts';
import { answer } from './output.ts';
import { Problem } from './problem.ts';
import { showProgress } from './progress.ts';
import { wrap } from './text.ts';

export async function verifyOne(context: Context, id: string): Promise<ExitCode> {
  const target = await ownerOf(context, id);
  const { name } = target.metadata;
  const progress = showProgress({ screen: context.output.notes, now: () => performance.now() });
  using interrupts = listenForInterrupts(progress.say, stopsSafely);
  const ports = await context.ports((event) => progress.observe(event));
  const verified = await verifyBackup(target, ports, id, interrupts.signal).finally(() => progress.stop());
  await answer(context.output, {
    object: {
      id,
      verified: verified.ok,
      fault: verified.ok ? null : verified.fault,
      manifest: verified.ok ? verified.manifest : null,
    },
    names: [id],
    text: ({ screen }) =>
      verified.ok
        ? `${screen.paint('green', '✓')} ${id}   restored, and equal to what was dumped: revision, rows of ${Object.keys(verified.manifest.rowCounts).length} tables, schema`
        : `${screen.paint('red', '✗')} ${id}   ${screen.paint('red', 'not usable')}\n${wrap(context.say(verified.fault, name), '  ', screen.width)}\n  Take another one: ${context.command(`backup ${name}`)}`,
  });
  return verified.ok ? exitCodes.done : exitCodes.error;
}

/** Ids begin with namespace and name of their target. */
async function ownerOf(context: Context, id: string): Promise<MigrationTarget> {
  const owners = (await context.declarations()).filter((declaration) => {
    const { namespace, name } = keyOfDeclaration(declaration);
    return id.startsWith(`${namespace}.${name}-`);
  });
  const [longest] = owners.toSorted((a, b) => keyOfDeclaration(b).name.length - keyOfDeclaration(a).name.length);
  if (longest === undefined)
    throw new Problem(
      `BackupNotFound ${id}`,
      `It is not the id of a backup of a target that is declared here. To see those that there are: ${context.command('backups NAME')}`,
    );
  return targetOf(longest);
}
