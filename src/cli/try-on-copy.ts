/** `plan --rehearse`: what was planned, tried on a copy here, with its progress. */
import type { MigrationTarget } from '../api/target.ts';
import type { Preview } from '../rollback/preview.ts';
import type { Rehearsed } from '../rollback/rehearse-only.ts';
import type { Context } from './context.ts';
import { exitCodes } from './exit-codes.ts';
import { Problem } from './problem.ts';

/** Throws a Problem in a cluster, where only the controller runs migrations. */
export async function tryOnCopy(
  context: Context,
  target: MigrationTarget,
  { plan, graph }: Preview,
): Promise<Rehearsed> {
  const { name } = target.metadata;
  if ((await context.home()).kind !== 'directory') {
    throw new Problem(
      `plan ${name}`,
      `In a cluster the controller rehearses. Declare it with spec.policy.dataLoss: RequireApproval: then nothing that loses data is done before it is approved, and the status says what that is: ${context.command(`status ${name}`)}`,
    );
  }
  const [{ rehearseOnly }, { showProgress }, { listenForInterrupts, stopsSafely }] = await Promise.all([
    import('../rollback/rehearse-only.ts'),
    import('./progress.ts'),
    import('./interrupts.ts'),
  ]);
  const messages = new Map(graph?.revisions.map(({ id, message }) => [id, message]));
  const progress = showProgress({
    screen: context.output.notes,
    now: () => performance.now(),
    describe: (revision) => messages.get(revision) ?? null,
  });
  using interrupts = listenForInterrupts(progress.say, stopsSafely);
  try {
    const ports = await context.ports((event) => progress.observe(event));
    return await rehearseOnly(target, ports, plan, interrupts.signal);
  } catch (thrown) {
    if (!interrupts.signal.aborted) throw thrown;
    throw new Problem(`Interrupted ${name}`, 'Nothing was done, and no copy is left.', exitCodes.interrupted, {
      cause: thrown,
    });
  } finally {
    progress.stop();
  }
}
