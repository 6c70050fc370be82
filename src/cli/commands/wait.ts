import { InvalidArgumentError, type Command } from 'commander';
import type { Context } from '../context.ts';
import { exitCodes, type ExitCode } from '../exit-codes.ts';
import { nameHelp } from '../help.ts';
import type { Invoke } from '../invoke.ts';

interface Options {
  /** Left out: Ready, unless a revision is waited for. */
  readonly for?: string;
  readonly timeout: string;
  readonly revision?: string;
}

export function addWait(program: Command, invoke: Invoke): void {
  program
    .command('wait')
    .summary('block until a target is ready, or its database at a revision')
    .description(
      'Ends with 0 once the condition holds for what is declared now; with 3 or 4 as soon as it waits for an approval or a human, with 5 when the time is over. With --revision and no --for it is the gate of an application: it ends with 0 once the database is verified to be at that revision and nothing changes it, whatever is declared and however the application is; it waits through approvals, for a target that is not there yet, and for an API that does not answer, and needs no right but to read (get) the target.',
    )
    .argument('[NAME]', nameHelp)
    .option('--for <CONDITION>', 'a condition, or CONDITION=STATUS; left out: Ready')
    .option('--timeout <DURATION>', 'how long, e.g. 90s or 5m', parseDuration, '5m')
    .option(
      '--revision <REVISION>',
      'until the database is at this revision; several heads joined by commas; base: none',
    )
    .action((name: string | undefined, options: Options, command: Command) =>
      invoke(command, name ?? null, (context) => wait(context, name, options)),
    );
}

async function wait(context: Context, name: string | undefined, options: Options): Promise<ExitCode> {
  if (options.for === undefined && options.revision !== undefined) {
    const { waitForRevision } = await import('../wait-for-revision.ts');
    return waitForRevision(context, { name, revision: options.revision, timeout: options.timeout });
  }
  return waitForCondition(context, name, { for: 'Ready', ...options });
}

async function waitForCondition(
  context: Context,
  name: string | undefined,
  options: Options & { readonly for: string },
): Promise<ExitCode> {
  const [
    { conditionTypes },
    { seconds },
    { statusOf },
    { conditionNow, follow, hasCondition, readyTeller },
    { listenForInterrupts },
    { answer },
    { Problem },
    { revisionsText },
    { isUnattended, unattendedTeller, unattendedText },
    { formatDuration, wrap },
  ] = await Promise.all([
    import('../../api/status.ts'),
    import('../../api/target.ts'),
    import('../../rollback/status.ts'),
    import('../follow.ts'),
    import('../interrupts.ts'),
    import('../output.ts'),
    import('../problem.ts'),
    import('../../api/conditions.ts'),
    import('../unattended.ts'),
    import('../text.ts'),
  ]);
  // As kubectl has it, too.
  const [type = '', wanted = 'True'] = options.for.replace(/^condition=/, '').split('=');
  if (!conditionTypes.some((known) => known === type))
    throw new Problem(`No condition ${type}`, `There are ${conditionTypes.join(', ')}.`);
  if (wanted !== 'True' && wanted !== 'False' && wanted !== 'Unknown')
    throw new Problem(`No status ${wanted}`, 'A condition is True, False or Unknown.');
  const key = await context.resolveKey(name);
  using interrupts = listenForInterrupts((text) => context.output.notes.write(`${text}\n`), {
    first: 'No longer waiting.',
    second: 'Ended at once.',
  });
  const timeoutMs = seconds(options.timeout) * 1000;
  const endsEarly = type === 'Ready' && wanted === 'True';

  const home = await context.home();
  const { notes } = context.output;
  const endsAt = performance.now() + timeoutMs;
  const say = (text: string): void =>
    notes.write(
      `${wrap(`${formatDuration(endsAt - performance.now())} left   ${context.say(text, key.name)}`, '  ', notes.width)}\n`,
    );
  const tellReady = readyTeller(say);
  const tellUnattended = unattendedTeller(say, () => performance.now(), home.kind);
  let isWaiting = false;
  let unattended = '';
  const followed = await follow(
    home,
    key,
    (target) => {
      unattended = isUnattended(target) ? ` ${unattendedText(key, home.kind)}.` : '';
      const status = statusOf(target);
      const isAt =
        options.revision === undefined || revisionsText(status.currentRevisions).split(',').includes(options.revision);
      if (hasCondition(target, type, wanted) && isAt) return { target, exitCode: exitCodes.done };
      if (endsEarly && hasCondition(target, 'Stalled')) return { target, exitCode: exitCodes.stalled };
      if (endsEarly && hasCondition(target, 'ApprovalRequired')) return { target, exitCode: exitCodes.approvalNeeded };
      if (!isWaiting) notes.write(`Waiting for ${options.for} of ${key.name}, for ${options.timeout} at most.\n`);
      isWaiting = true;
      tellReady(target);
      tellUnattended(target);
      return null;
    },
    { timeoutMs, signal: interrupts.signal },
  );
  if (followed.kind === 'interrupted')
    throw new Problem(
      `Interrupted ${key.name}`,
      'Nothing was done here, and nothing was stopped.',
      exitCodes.interrupted,
    );
  if (followed.kind === 'timedOut') {
    throw new Problem(
      `TimedOut ${key.name}`,
      `${options.for}${options.revision === undefined ? '' : ` at ${options.revision}`} did not come within ${options.timeout}.${unattended} See: ${context.command(`status ${key.name}`)}`,
      exitCodes.timedOut,
    );
  }
  const { target, exitCode } = followed.value;
  const ready = conditionNow(target, 'Ready');
  if (exitCode !== exitCodes.done)
    throw new Problem(`${ready?.reason ?? 'Stalled'} ${key.name}`, ready?.message ?? '', exitCode);
  await answer(context.output, {
    object: target,
    names: [`migrationtarget/${key.name}`],
    text: ({ screen }) => `${screen.paint('green', '✓')} ${key.name}   ${options.for}   ${ready?.reason ?? ''}`,
  });
  return exitCode;
}

/** As in YAML; it stays a text, and `seconds` reads it. */
function parseDuration(text: string): string {
  if (!/^([0-9]{1,7}[smhd])+$/.test(text)) throw new InvalidArgumentError('write a duration such as 90s, 5m or 1h30m');
  return text;
}
