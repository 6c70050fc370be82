/**
 * The procedure. From top to bottom, one line a step: check, plan, backup, rehearse, gate, quiesce, change, verify, restore,
 * resume, report.
 *
 * Each step takes the journalled operation and returns it with the step that comes next; the next is journalled before
 * it begins. So a start after a crash enters here like any other, and goes on at the step that the journal names.
 */
import type { Outcome } from '../api/conditions.ts';
import { isResumeDue } from './application.ts';
import { isBeforeChange } from './clear-away.ts';
import { asFailure, stalled, whileUnderWay, type Failure } from './errors.ts';
import type { Operation, OperationStep } from './model.ts';
import { observed, type Scope } from './scope.ts';
import { backup } from './steps/backup.ts';
import { change } from './steps/change.ts';
import { check } from './steps/check.ts';
import { gate } from './steps/gate.ts';
import { plan } from './steps/plan.ts';
import { rehearse } from './steps/rehearse.ts';
import { letGo, quiesce } from './steps/quiesce.ts';
import { report, type Conclusion } from './steps/report.ts';
import { restore } from './steps/restore.ts';
import { resume } from './steps/resume.ts';
import { verify } from './steps/verify.ts';
import { tidy, type Seen } from './tidy.ts';
import type { Visit } from './visit.ts';

/** What came of a visit: nothing had to be done, or an operation ended. */
export type Result =
  | { readonly kind: 'settled'; readonly outcome: Outcome; readonly seen: Seen | null }
  | { readonly kind: 'concluded'; readonly operation: Operation; readonly conclusion: Conclusion; readonly seen: Seen };

export async function rollback(visit: Visit): Promise<Result> {
  const checked = await check(visit);
  if (checked.kind === 'settled') return checked;

  await using scope = checked.scope;
  const planned = checked.resume ?? (await observed(scope, 'plan', () => plan(scope, checked)));
  if ('kind' in planned) return planned;

  let operation = planned;
  do {
    operation = await step(scope, operation, 'backup', backup);
    operation = await step(scope, operation, 'rehearse', rehearse);
    operation = await step(scope, operation, 'gate', gate);
    operation = await step(scope, operation, 'quiesce', quiesce);
    operation = await step(scope, operation, 'change', change);
  } while (isAgain(operation));
  operation = await step(scope, operation, 'verify', verify);
  operation = await step(scope, operation, 'restore', restore);
  operation = await step(scope, operation, 'resume', resume);
  const conclusion = await observed(scope, 'report', () => report(scope, operation));
  const seen = await tidy(visit, { ...scope, isLocked: true }, await scope.database.read(), {
    aside: conclusion.aside,
    operation,
  });
  return { kind: 'concluded', operation, conclusion, seen };
}

/** What others wrote meanwhile, and a lock that was in the way, are met by going back. */
const isAgain = ({ step: next }: Operation): boolean => next === 'backup' || next === 'gate' || next === 'change';

type StepFunction = (scope: Scope, operation: Operation) => Promise<Operation>;

/** Runs a step if it is the one that the journal names, and journals what comes next. */
async function step(scope: Scope, operation: Operation, name: OperationStep, run: StepFunction): Promise<Operation> {
  if (operation.step !== name) return operation;
  const observe = scope.observeStep(operation, name);
  observe('started');
  const startedAt = performance.now();
  let next: Operation;
  try {
    scope.stopIfAsked(operation);
    next = await run(scope, operation);
    if (next.failure !== null && operation.failure === null) observe('failed', next.failure.message);
  } catch (thrown) {
    // However far the step came, what it stopped is known.
    const { application, begun, rehearsals } = scope.journal() ?? operation;
    const reached = { ...operation, application, rehearsals };
    // Until the change nothing is lost by giving up, and each further try would take another backup first.
    const isGivenUp = isBeforeChange({ ...operation, begun });
    const what = asFailure(thrown);
    const failure = unlessStopped(scope, operation, isGivenUp ? what : whileUnderWay(what));
    observe('failed', failure.message);
    if (failure.kind === 'retry') {
      if (!begun && (name === 'change' || isBeforeChange(reached))) await letGo(scope, reached);
      throw failure;
    }
    next = fallOff(reached, failure);
  }
  const ms = Math.round(performance.now() - startedAt);
  const isUntouched = name === 'restore' && !next.swapped;
  observe('finished', isUntouched ? 'the database is as it was: nothing had to be restored' : undefined, ms);
  const due = next.step === 'report' && name !== 'resume' && isResumeDue(scope.target, next) ? 'resume' : next.step;
  return scope.save({
    ...next,
    step: due,
    hindered: null,
    durations: { ...next.durations, [name]: (operation.durations[name] ?? 0) + ms },
  });
}

/** What did not finish in time since the controller was told to stop was interrupted, and has not failed. */
function unlessStopped(scope: Scope, operation: Operation, failure: Failure): Failure {
  if (failure.reason !== 'TimedOut') return failure;
  try {
    scope.stopIfAsked(operation);
    return failure;
  } catch (stopped) {
    return asFailure(stopped);
  }
}

/**
 * Where a step that could not be done leaves the operation. Before the change nothing is lost by giving up; after it
 * began, the database is put right first. A verification or a restore that can't be carried out keeps its journal, and
 * goes on once somebody has mended what is in the way: it tells nothing of the change.
 */
function fallOff(operation: Operation, failure: Failure): Operation {
  const { reason, message } = failure;
  // Unexpected is not the migration's fault: back to the origin, never on to an older backup.
  const backToOrigin: Operation = {
    ...operation,
    step: 'restore',
    failure: { reason, message, passing: true, committed: null },
  };
  switch (operation.step) {
    case 'check':
    case 'plan':
    case 'backup':
    case 'rehearse':
    case 'gate':
    case 'quiesce':
      return { ...operation, step: 'report', failure: { reason, message, passing: true, committed: false } };
    case 'change':
      return backToOrigin;
    case 'verify':
      // A query of the user's that does not even run says that something is wrong; anything else says nothing yet.
      if (reason === 'VerificationFailed') return backToOrigin;
      throw stalled(
        reason,
        `The ${operation.plan.kind} of database ${operation.origin.identity.name} ran, and could not be verified yet: ${message}`,
        failure,
      );
    case 'restore':
    case 'resume':
    case 'report':
      throw failure;
  }
}
