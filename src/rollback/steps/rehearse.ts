import { asFailure, stalled, withoutRetry, type Failure } from '../errors.ts';
import { formatHeads } from '../graph.ts';
import { describe, failureReason, reasonFor } from '../migration-errors.ts';
import type { ChangePlan, Operation, Rehearsal, RestorePlan } from '../model.ts';
import type { MigrationError } from '../ports.ts';
import { blank, lossOfRestore, mostRowsCompared, rowChangesOf, takenAway, untried } from '../rehearsal/findings.ts';
import { type Comparison, diskWouldFill, onStage, startOnCopy, type Trial } from '../rehearsal/stage.ts';
import {
  assertNotCutOff,
  canonical,
  goBackAndAgain,
  heldByItself,
  isItsOwn,
  judge,
  runSteps,
} from '../rehearsal/trial.ts';
import { note, progressOf, type Scope, withCopy } from '../scope.ts';
import { asPart } from '../sentences.ts';
import { maxAttempts } from './change.ts';

/**
 * The change on a copy of the database, while the application still serves: there, the way back, there again; and what
 * that takes away, measured against the copy as it was. A fault of the migrations ends here, before the database is
 * touched: then what is left is the fallback, which is tried and measured as well.
 */
export async function rehearse(scope: Scope, operation: Operation): Promise<Operation> {
  const { plan } = operation;
  if (plan.kind === 'backup') throw new Error('a backup has nothing to rehearse');
  const startedAt = performance.now();
  const deadline = scope.deadline(operation);
  if (operation.rehearsals >= maxAttempts) throw neverEnds(scope, operation, null);
  const begun = await scope.save({ ...operation, rehearsals: operation.rehearsals + 1 });
  try {
    const rehearsed =
      plan.kind === 'restore'
        ? await tryRestore(scope, begun, plan, deadline)
        : await tryChange(scope, begun, plan, deadline);
    const { rehearsal } = rehearsed;
    const next = rehearsal?.route === 'none' ? 'report' : 'gate';
    if (rehearsal === null) return { ...rehearsed, rehearsals: 0, step: next };
    const finishedAt = scope.ports.clock.now().toISOString();
    const tookMs = Math.round(performance.now() - startedAt);
    return { ...rehearsed, rehearsals: 0, step: next, rehearsal: { ...rehearsal, finishedAt, tookMs } };
  } catch (thrown) {
    const failure = asFailure(thrown);
    if (!deadline.aborted) {
      // An interruption: the next start begins as if it had not been.
      if (scope.signal.aborted) await scope.save(operation);
      else if (failure.kind === 'retry' && begun.rehearsals >= maxAttempts) throw neverEnds(scope, begun, failure);
      throw thrown;
    }
    // Where the migrations were is known to who ran them.
    const where = failure.reason === 'TimedOut' ? `: ${asPart(failure.message)}` : '';
    throw stalled(
      'TimedOut',
      `The rehearsal for ${operation.origin.identity.name} did not end within spec.timeout (${scope.target.spec.timeout})${where}. Nothing was changed. Give it more time, then: migration-target reconcile ${scope.key.name}`,
      thrown,
    );
  } finally {
    scope.scratch.letGo();
  }
}

/** Each further try would take another backup first: what is in the way each time is for a person. */
function neverEnds({ key }: Scope, { rehearsals, origin }: Operation, failure: Failure | null): Failure {
  const last = failure === null ? '' : `: the last time ${withoutRetry(failure.message)}`;
  const look = failure === null ? "Read the controller's log" : 'Mend that';
  return stalled(
    'RehearsalFailed',
    `The rehearsal for ${origin.identity.name} was begun ${rehearsals} times and did not end${last}. Nothing was changed. ${look}, or declare spec.policy.rehearsal: Never; then: migration-target reconcile ${key.name}`,
    failure,
  );
}

async function tryChange(
  scope: Scope,
  operation: Operation,
  plan: ChangePlan,
  deadline: AbortSignal,
): Promise<Operation> {
  const full = await diskWouldFill(scope, operation);
  if (full !== null) return { ...operation, rehearsal: await untried(scope, operation, full) };
  return onStage(scope, operation, deadline, (stage, before) =>
    withCopy(
      scope,
      operation,
      async ({ database: copy, created }) => {
        await using session = await startOnCopy(scope, operation, { stage, copy, created }, deadline);
        await using strays = await scope.database.watchStrays(copy);
        const rehearsed = await tryOn(scope, operation, plan, { stage, before, copy, session }, deadline);
        const escaped = (await strays.found())[0];
        if (escaped !== undefined) throw beyondTheCopy(scope, operation, escaped);
        return rehearsed;
      },
      (named) => stage.server.copyDatabase(before, named),
    ),
  );
}

/** There; what that came to; back; there again. */
async function tryOn(
  scope: Scope,
  operation: Operation,
  plan: ChangePlan,
  trial: Trial,
  deadline: AbortSignal,
): Promise<Operation> {
  const { stage, before, copy } = trial;
  const there = await runSteps(scope, operation, trial, plan.current, plan.steps);
  if (there.error !== null) return afterFault(scope, operation, plan, there.error, { stage, before, deadline });
  const contents = await stage.server.contents(copy);
  const reached = await canonical(scope, operation, trial);
  const judged = await judge(scope, operation, plan, trial, { contents, reached });
  if (judged.fault !== null) return refuted(scope, operation, plan, judged.fault, { stage, before, deadline });
  const loss = await stage.server.findLoss(
    before,
    copy,
    { isCopy: true, mostRows: mostRowsCompared },
    progressOf(scope, operation, 'rehearse'),
    deadline,
  );
  const wayBack = await goBackAndAgain(scope, operation, plan, trial, { reached, deadline }).catch(heldByItself);
  await scope.store.recordRehearsed(reached);
  const rehearsal: Rehearsal = {
    ...(await blank(scope, operation)),
    route: 'planned',
    ...(await takenAway(scope, operation, reached, loss)),
    schema: reached.digest,
    rowChanges: await rowChangesOf(scope, operation, contents),
    wayBack,
    stepMs: there.stepMs,
  };
  const told = [
    judged.note,
    wayBack.kind === 'irreversible' ? `On the copy the way back did not end where it began: ${wayBack.because}.` : null,
  ];
  return told
    .filter((text): text is string => text !== null)
    .reduce<Operation>((so, text) => note(scope, so, text), { ...operation, rehearsal });
}

/** Only a migration that failed by itself says that the way can't be trusted; anything else says nothing, and is told. */
function afterFault(
  scope: Scope,
  operation: Operation,
  plan: ChangePlan,
  error: MigrationError,
  from: Comparison,
): Promise<Operation> {
  assertNotCutOff(scope, error, from.deadline);
  if (error.kind === 'escaped') throw beyondTheCopy(scope, operation, describe(error));
  if (!isItsOwn(error)) {
    const reason = reasonFor(error, plan);
    throw stalled(
      reason === failureReason(plan) ? 'RehearsalFailed' : reason,
      `On a copy of ${operation.origin.identity.name} the ${plan.kind} could not be tried: ${describe(error)} The database itself was not touched.`,
    );
  }
  return refuted(scope, operation, plan, describe(error), from);
}

/** The change can't be trusted: what is left is the fallback, or nothing. */
async function refuted(
  scope: Scope,
  operation: Operation,
  plan: ChangePlan,
  fault: string,
  from: Comparison,
): Promise<Operation> {
  const { name } = operation.origin.identity;
  const message = `On a copy of ${name} the ${plan.kind} to ${formatHeads(plan.desired)} failed: ${asPart(fault)}.`;
  const failed = await blank(scope, operation);
  if (plan.fallback.kind === 'origin') {
    const because = plan.kind === 'upgrade' ? '' : ` There is no other way: ${plan.fallback.because}.`;
    return {
      ...operation,
      rehearsal: { ...failed, fault: asPart(fault) },
      failure: {
        reason: 'RehearsalFailed',
        message: `${message}${because} The database itself was not touched.`,
        passing: true,
        committed: false,
      },
    };
  }
  const { loss, objects } = await lossOfRestore(scope, operation, plan.fallback.backup, from);
  return {
    ...operation,
    rehearsal: { ...failed, fault: asPart(fault), route: 'fallback', loss, ...objects },
    // Not passing, and nothing was committed: the restore step goes on to the fallback's backup.
    failure: { reason: failureReason(plan), message, passing: false, committed: false },
  };
}

/** A declared restore: what was written since that backup. Where the database can't be dumped there is nothing to compare. */
async function tryRestore(
  scope: Scope,
  operation: Operation,
  plan: RestorePlan,
  deadline: AbortSignal,
): Promise<Operation> {
  if (operation.backup === null) return operation;
  const { loss, objects } = await onStage(scope, operation, deadline, (stage, before) =>
    lossOfRestore(scope, operation, plan.backup, { stage, before, deadline }),
  );
  return {
    ...operation,
    rehearsal: {
      ...(await blank(scope, operation)),
      route: 'planned',
      loss,
      ...objects,
      wayBack: { kind: 'notTried', because: 'a restore has none' },
    },
  };
}

function beyondTheCopy(scope: Scope, operation: Operation, what: string): Failure {
  return stalled(
    'RehearsalFailed',
    `A migration reaches beyond the copy of ${operation.origin.identity.name} that it was tried on: ${asPart(what)}. It can't be rehearsed; the change itself was not begun. Take that out of the migration, or declare spec.policy.rehearsal: Never; then: migration-target reconcile ${scope.key.name}`,
  );
}
