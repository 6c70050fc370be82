/** `apply` in a cluster: the API server is told, the controller does it, and its status is followed. */
import { keyOf, seconds, type MigrationTarget } from '../api/target.ts';
import type { Outcome } from '../api/conditions.ts';
import { statusOf } from '../rollback/status.ts';
import { requestedAt } from '../rollback/visit.ts';
import { confirm } from './confirm.ts';
import type { Context } from './context.ts';
import { declare, type Declared } from './declared.ts';
import { exitCodes, type ExitCode } from './exit-codes.ts';
import { follow, outcomeOf, stepTeller } from './follow.ts';
import { listenForInterrupts } from './interrupts.ts';
import { Problem } from './problem.ts';
import { showProgress } from './progress.ts';
import { tellOutcome } from './apply-here.ts';
import { isUnattended, unattendedTeller, unattendedText } from './unattended.ts';

export async function applyToCluster(
  context: Context,
  declared: Declared,
  options: { readonly yes: boolean; readonly retyped: string; readonly revision?: string },
): Promise<ExitCode> {
  const { name } = declared.target.metadata;
  if (options.revision !== undefined) {
    throw new Problem(
      `NotSupported ${name}`,
      `In a cluster the migrations are out of reach from here, so --revision ${options.revision} can't be made absolute. Write the id into the declaration, then: ${context.command('apply -f FILE')}`,
    );
  }
  await confirm(context, options.yes, {
    title: `apply ${name}`,
    message: `Declare ${declared.target.spec.revision ?? declared.target.spec.revisions?.join(', ') ?? ''} for ${name} in the cluster? Its controller carries it out.`,
    retyped: options.retyped,
  });
  const home = await context.home();
  const key = keyOf(declared.target);
  const before = await home.get(key);
  const target = await declare(context, declared);
  const isAsBefore = before?.kind === 'target' && before.target.metadata.generation === target.metadata.generation;
  // Nothing new to answer, so what stalled would stay as it is.
  return followController(context, isAsBefore ? await requestAgain(context, target) : target);
}

/** Asks the controller for one more try; the target as it is then. */
export async function requestAgain(context: Context, target: MigrationTarget): Promise<MigrationTarget> {
  const { namespace, name } = target.metadata;
  await (await context.home()).requestReconcile({ namespace, name }, new Date().toISOString());
  return context.target(`${namespace}/${name}`);
}

/**
 * Until the controller has answered this generation, and the request that was made last, `spec.timeout` at most.
 * `check`: looks at what it led to before that is told, and throws where it is not what was asked for.
 */
export async function followController(
  context: Context,
  target: MigrationTarget,
  check: (now: MigrationTarget, outcome: Outcome) => void = () => {},
): Promise<ExitCode> {
  const { name } = target.metadata;
  const startedAt = performance.now();
  const progress = showProgress({ screen: context.output.notes, now: () => performance.now() });
  using interrupts = listenForInterrupts(progress.say, {
    first: 'No longer following; the controller goes on.',
    second: 'Ended; the controller goes on.',
  });
  progress.say(`${name} is declared; waiting for the controller.`);
  const tell = stepTeller((text) => progress.say(text));
  const tellUnattended = unattendedTeller(progress.say, () => performance.now());
  let latest = target;
  const followed = await follow(
    await context.home(),
    keyOf(target),
    (now) => {
      tell(statusOf(now));
      tellUnattended(now);
      latest = now;
      const outcome = outcomeOf(now);
      return outcome === null || !isAnswered(now, outcome) ? null : { outcome, target: now };
    },
    { timeoutMs: seconds(target.spec.timeout) * 1000, signal: interrupts.signal },
  );
  switch (followed.kind) {
    case 'ended':
      check(followed.value.target, followed.value.outcome);
      return await tellOutcome(context, { ...followed.value, tookMs: performance.now() - startedAt });
    case 'interrupted':
      throw new Problem(
        `Interrupted ${name}`,
        `The controller goes on. To follow it again: ${context.command(`wait ${name}`)}`,
        exitCodes.interrupted,
      );
    case 'timedOut':
      throw new Problem(
        `TimedOut ${name}`,
        `The controller did not end within spec.timeout (${target.spec.timeout}).${isUnattended(latest) ? ` ${unattendedText(keyOf(target))}.` : ''} See: ${context.command(`status ${name}`)}`,
        exitCodes.timedOut,
      );
  }
}

/** What is refused before anything is looked at, or not looked at, answers no request. */
function isAnswered(target: MigrationTarget, outcome: Outcome): boolean {
  const isRefused = outcome.kind === 'stalled' && (outcome.reason === 'InvalidSpec' || outcome.reason === 'NotAllowed');
  return (
    isRefused || outcome.kind === 'suspended' || (statusOf(target).handled?.requestedAt ?? null) === requestedAt(target)
  );
}
