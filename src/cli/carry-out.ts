/** Runs the procedure here, in the directory home, and shows it: retried while it may pass, followed where another process does it. */
import type { Outcome } from '../api/conditions.ts';
import { keyOf, seconds, type MigrationTarget } from '../api/target.ts';
import type { RevisionGraph } from '../rollback/model.ts';
import type { Ports } from '../rollback/ports.ts';
import { reconcile } from '../rollback/reconcile.ts';
import { statusOf } from '../rollback/status.ts';
import type { Asked } from '../rollback/visit.ts';
import { wait } from '../rollback/wait.ts';
import { targetOf, type Context } from './context.ts';
import { exitCodes, type ExitCode } from './exit-codes.ts';
import { follow, outcomeOf, stepTeller } from './follow.ts';
import { listenForInterrupts, stopsSafely } from './interrupts.ts';
import { Problem } from './problem.ts';
import { showProgress, type Progress } from './progress.ts';
import { formatDuration } from './text.ts';

/** The pause before the n-th try, in milliseconds. */
const backoffMs = (tries: number): number => Math.min(30_000, 500 * 2 ** Math.min(tries, 6));

/** What came of it, and the target as it was saved. */
export interface CarriedOut {
  readonly outcome: Outcome;
  readonly target: MigrationTarget;
  readonly tookMs: number;
}

/**
 * Ends when the procedure does: ready, stalled, or waiting for an approval. Throws a Problem where it was interrupted
 * (exit code 130) or did not end within `spec.timeout` (5). `over`: in place of what is wired.
 */
export async function carryOut(
  context: Context,
  target: MigrationTarget,
  asked: Asked,
  graph: RevisionGraph | null,
  over: Partial<Pick<Ports, 'alembic' | 'databases'>> = {},
): Promise<CarriedOut> {
  const { output } = context;
  const messages = new Map(graph?.revisions.map(({ id, message }) => [id, message]));
  const progress = showProgress({
    screen: output.notes,
    now: () => performance.now(),
    describe: (revision) => messages.get(revision) ?? null,
    verbose: process.env['LOG_LEVEL'] === 'debug',
  });
  using interrupts = listenForInterrupts(progress.say, stopsSafely);
  try {
    const ports = await context.ports((event) => progress.observe(event));
    const notifier = await context.notifier();
    const telling = notifier === null ? {} : { notifier };
    return await insist(context, target, asked, { ...ports, ...telling, ...over }, progress, interrupts.signal);
  } finally {
    progress.stop();
  }
}

async function insist(
  context: Context,
  first: MigrationTarget,
  asked: Asked,
  ports: Ports,
  progress: Progress,
  signal: AbortSignal,
): Promise<CarriedOut> {
  const key = keyOf(first);
  const home = await context.home();
  const holder = watchHolder((text) => progress.say(text));
  const startedAt = performance.now();
  const timeoutMs = seconds(first.spec.timeout) * 1000;
  let target = first;
  let told = '';

  for (let tries = 0; ; tries += 1) {
    const { outcome, again } = await reconcile(target, ports, asked, signal);
    target = await read(context, target);
    const tookMs = performance.now() - startedAt;
    if (!again) return { outcome, target, tookMs };
    if (signal.aborted) throw interrupted(context, key.name, outcome);
    const left = timeoutMs - tookMs;
    if (left <= 0) throw timedOut(context, first, outcome);
    if (outcome.kind === 'retrying' && outcome.reason === 'DatabaseLocked') {
      // Only for a while: a holder that died writes no end.
      const followed = await follow(home, key, holder, { timeoutMs: Math.min(left, followMs), signal });
      if (followed.kind === 'ended' && isAnsweredByOthers(asked))
        return { ...followed.value, tookMs: performance.now() - startedAt };
    } else {
      if (outcome.message !== told)
        progress.say(`${context.say(outcome.message, key.name)} It is tried again, for ${spelled(first)} at most.`);
      told = outcome.message;
      await wait(Math.min(left, backoffMs(tries)), signal);
    }
    if (signal.aborted) throw interrupted(context, key.name, outcome);
    target = await read(context, target);
  }
}

const followMs = 5_000;

const spelled = ({ spec }: MigrationTarget): string => formatDuration(seconds(spec.timeout) * 1000);

/** What another process does for the same declaration is as good as if it was done here; a backup or a restore is not. */
const isAnsweredByOthers = (asked: Asked): boolean => asked.kind === 'apply' || asked.kind === 'reconcile';

type Seen = Pick<CarriedOut, 'outcome' | 'target'>;

/** Tells the steps of whoever holds the lock, and how it ended, once it was seen at work. */
function watchHolder(say: (text: string) => void): (target: MigrationTarget) => Seen | null {
  const tell = stepTeller((text) => say(`Another process is at it, and is followed: ${text}.`));
  let seen = false;
  return (target) => {
    const status = statusOf(target);
    tell(status);
    seen ||= status.operation !== null;
    // What stood there before its operation began says nothing of it.
    return seen && status.operation === null ? endOf(target) : null;
  };
}

function endOf(target: MigrationTarget): Seen | null {
  const outcome = outcomeOf(target);
  return outcome === null ? null : { outcome, target };
}

async function read(context: Context, target: MigrationTarget): Promise<MigrationTarget> {
  const declaration = await (await context.home()).get(keyOf(target));
  return declaration === null ? target : targetOf(declaration);
}

function interrupted(context: Context, name: string, outcome: Outcome): Problem {
  return new Problem(
    `Interrupted ${name}`,
    `${outcome.message} To go on: ${context.command(`reconcile ${name}`)}`,
    exitCodes.interrupted,
  );
}

function timedOut(context: Context, { metadata, spec }: MigrationTarget, outcome: Outcome): Problem {
  return new Problem(
    `TimedOut ${metadata.name}`,
    `It did not end within spec.timeout (${spec.timeout}). Last: ${outcome.message} To try again: ${context.command(`reconcile ${metadata.name}`)}`,
    exitCodes.timedOut,
  );
}

/** The exit code that an outcome amounts to. */
export function exitCodeOf(outcome: Outcome): ExitCode {
  switch (outcome.kind) {
    case 'ready':
      return exitCodes.done;
    case 'suspended':
      // What was asked for was not done, and a person has to resume it.
      return exitCodes.stalled;
    case 'awaitingApproval':
      return exitCodes.approvalNeeded;
    case 'stalled':
      return exitCodes.stalled;
    case 'working':
    case 'retrying':
      return exitCodes.error;
  }
}
