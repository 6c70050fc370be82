/** Plan, question, procedure: what `apply`, `reconcile` and `restore` share in the directory home. */
import type { MigrationTarget } from '../api/target.ts';
import { Failure } from '../rollback/errors.ts';
import { preview, type Preview } from '../rollback/preview.ts';
import type { Ports } from '../rollback/ports.ts';
import { newOperationId } from '../rollback/steps/check.ts';
import type { Asked } from '../rollback/visit.ts';
import { carryOut, exitCodeOf, type CarriedOut } from './carry-out.ts';
import { confirm, type Question } from './confirm.ts';
import type { Context } from './context.ts';
import { declare, withDesired, type Declared } from './declared.ts';
import { exitCodes, type ExitCode } from './exit-codes.ts';
import { listenForInterrupts } from './interrupts.ts';
import { lendAlembic } from './lend-alembic.ts';
import { lendDatabase } from './lend-database.ts';
import { answer } from './output.ts';
import { Problem } from './problem.ts';
import { renderPlan } from './render-plan.ts';
import { renderOutcome } from './render-outcome.ts';

export interface HereOptions {
  readonly yes: boolean;
  /** What to type to have it done without being asked. */
  readonly retyped: string;
  readonly asked: Asked;
  /** In place of the declared revision, as it was typed. */
  readonly revision?: string;
  /** Called once it was said yes to, before the procedure starts. */
  readonly begin?: (target: MigrationTarget) => Promise<MigrationTarget>;
  readonly question?: Pick<Question, 'message' | 'word'>;
}

export async function applyHere(context: Context, declared: Declared, options: HereOptions): Promise<ExitCode> {
  const { yes } = options;
  const { name } = declared.target.metadata;
  const ports = await context.ports();
  await using alembic = lendAlembic(ports.alembic);
  await using databases = lendDatabase(ports.databases);
  // Without a question in between, the plan that is shown is the operation's own: one Python, one connection serves both.
  const isAtOnce = yes && options.asked.kind === 'apply';
  const asked: Asked = isAtOnce ? { kind: 'apply', operationId: newOperationId() } : options.asked;
  const lenders = isAtOnce ? { alembic: alembic.lender, databases: databases.lender } : {};
  const seen = await look(context, declared.target, { ...ports, ...lenders }, { ...options, asked });
  const title = `${asked.kind} ${name}`;
  if (seen !== null) {
    const { notes } = context.output;
    notes.write(
      `${renderPlan(name, seen, { screen: notes, now: new Date(), say: (message) => context.say(message, name), isRehearsing: declared.target.spec.policy.rehearsal === 'Always' })}\n`,
    );
    // With --yes the refusal of what is declared is recorded in the status, as the controller would. What a person asks
    // for beside it says nothing of the declaration.
    if (seen.plan.kind === 'refuse' && (!yes || options.asked.kind === 'restore')) return exitCodes.stalled;
  }
  if (seen?.plan.kind !== 'nothing' || seen.unfinished !== null) {
    await confirm(context, yes, { title, message: 'Do this?', ...options.question, retyped: options.retyped });
  }
  const resolved =
    seen === null || options.revision === undefined ? declared : await withDesired(context, declared, seen.desired);
  const written = await declare(context, resolved);
  const target = options.begin === undefined ? written : await options.begin(written);
  return await tellOutcome(
    context,
    await carryOut(context, target, asked, seen?.graph ?? null, { alembic: alembic.heir, databases: databases.heir }),
  );
}

/** The plan; null where there can be none and `--yes` says to go on: the procedure meets the same, and records it. */
async function look(
  context: Context,
  target: MigrationTarget,
  ports: Ports,
  { asked, yes, revision }: HereOptions,
): Promise<Preview | null> {
  using interrupts = listenForInterrupts((text) => context.output.notes.write(`${text}\n`), {
    first: 'Stopping; nothing was done yet.',
    second: 'Ended at once.',
  });
  try {
    const restore = asked.kind === 'restore' ? { restore: asked.backup } : {};
    const typed = revision === undefined ? {} : { revision };
    const id = asked.kind !== 'apply' || asked.operationId === undefined ? {} : { operationId: asked.operationId };
    return await preview(target, ports, {
      sql: false,
      ...restore,
      ...typed,
      ...id,
      signal: interrupts.signal,
    });
  } catch (thrown) {
    if (interrupts.signal.aborted)
      throw new Problem(`Interrupted ${target.metadata.name}`, 'Nothing was done.', exitCodes.interrupted, {
        cause: thrown,
      });
    // What was typed can't be made absolute without it.
    if (!yes || revision !== undefined || !(thrown instanceof Failure)) throw thrown;
    return null;
  }
}

/** The last word of a command that ran the procedure. */
export async function tellOutcome(context: Context, { outcome, target, tookMs }: CarriedOut): Promise<ExitCode> {
  const exitCode = exitCodeOf(outcome);
  const { name, namespace } = target.metadata;
  await answer(context.output, {
    object: target,
    names: [`migrationtarget/${name}`],
    text: ({ screen }) =>
      renderOutcome({ name, namespace }, outcome, target, {
        screen,
        tookMs,
        say: (message) => context.say(message, name),
        command: context.command,
      }),
  });
  return exitCode;
}
