/** Alembic on the copy: the steps, what they came to, and the way back. */
import { compareSchemas, describeDifference, formatRevisions, isSame, revisionsOf, sameRevisions } from '../compare.ts';
import { asFailure, stalled, withoutRetry } from '../errors.ts';
import { judgeSchema } from '../expected-schema.ts';
import { describe } from '../migration-errors.ts';
import type { ChangePlan, Operation, SchemaFacts, Step, WayBack } from '../model.ts';
import type { Contents, MigrationError } from '../ports.ts';
import { withCopy, type Scope } from '../scope.ts';
import { asPart } from '../sentences.ts';
import { findQueryFault } from '../steps/verify.ts';
import type { Trial } from './stage.ts';

interface Ran {
  readonly error: MigrationError | null;
  readonly stepMs: readonly number[];
}

export async function runSteps(
  scope: Scope,
  { id }: Operation,
  { stage, copy, session }: Trial,
  from: readonly string[],
  steps: readonly Step[],
): Promise<Ran> {
  const stepMs: number[] = [];
  const lock = stage.url === null ? scope.lock.token : null;
  const result = await session.migrate({ from, steps, database: copy, lock }, (event) => {
    if (event.kind === 'finished') stepMs.push(event.ms);
    scope.ports.observe(scope.key, id, { kind: 'migration', event, copy: true });
  });
  return { error: result.ok ? null : result.error, stepMs };
}

/** Rendered as every schema that is kept is: through a dump and a restore. */
export const canonical = (scope: Scope, operation: Operation, { stage, copy }: Trial): Promise<SchemaFacts> =>
  withCopy(scope, operation, ({ database, created }) => stage.server.canonicalSchema(database, created, copy));

/** What verification will look at in the live database, looked at on the copy. */
export async function judge(
  scope: Scope,
  operation: Operation,
  plan: ChangePlan,
  { stage, copy }: Trial,
  { contents, reached }: { readonly contents: Contents; readonly reached: SchemaFacts },
): Promise<{ readonly fault: string | null; readonly note: string | null }> {
  const revisions = revisionsOf(contents.versionTable);
  if (!sameRevisions(revisions ?? [], plan.desired))
    return { fault: `the version table says ${formatRevisions(revisions)}`, note: null };
  const { fault, note: remark } = await judgeSchema(scope, operation, plan, reached, { mayBuild: true });
  return { fault: fault ?? (await findQueryFault(scope, stage.server, copy)), note: remark };
}

/** Whether the way back ends at the schema of before, and the change once more at that of after. */
export async function goBackAndAgain(
  scope: Scope,
  operation: Operation,
  plan: ChangePlan,
  trial: Trial,
  { reached, deadline }: { readonly reached: SchemaFacts; readonly deadline: AbortSignal },
): Promise<WayBack> {
  const inverse = plan.steps
    .map(({ direction, revision }): Step => ({ direction: direction === 'up' ? 'down' : 'up', revision }))
    .toReversed();
  const back = await runSteps(scope, operation, trial, plan.desired, inverse);
  if (back.error !== null) return wayBackOf(scope, back.error, '', deadline);
  const before = operation.backup === null ? null : await scope.store.schema(operation.backup.id);
  if (before !== null) {
    const difference = compareSchemas(before.lines, (await canonical(scope, operation, trial)).lines);
    if (!isSame(difference))
      return {
        kind: 'irreversible',
        because: `the schema is another one afterwards (${describeDifference(difference)})`,
      };
  }
  const again = await runSteps(scope, operation, trial, plan.current, plan.steps);
  if (again.error !== null) return wayBackOf(scope, again.error, 'the second time it failed: ', deadline);
  const difference = compareSchemas(reached.lines, (await canonical(scope, operation, trial)).lines);
  return isSame(difference)
    ? { kind: 'reversible' }
    : { kind: 'irreversible', because: `the second time it led to another schema (${describeDifference(difference)})` };
}

/** Nobody else is on a copy: what the application's env.py keeps open from one run to the next holds its tables. */
export function heldByItself(thrown: unknown): WayBack {
  const { reason, message } = asFailure(thrown);
  if (reason !== 'LockTimedOut') throw thrown;
  return { kind: 'notTried', because: asPart(withoutRetry(message)) };
}

function wayBackOf(scope: Scope, error: MigrationError, when: string, deadline: AbortSignal): WayBack {
  assertNotCutOff(scope, error, deadline);
  return { kind: isItsOwn(error) ? 'irreversible' : 'notTried', because: `${when}${asPart(describe(error))}` };
}

/** Only a migration that failed by itself says anything of the way; a lock, a lost connection, a killed Python do not. */
export const isItsOwn = ({ kind }: MigrationError): boolean => kind === 'migration' || kind === 'nothingDone';

/** Throws TimedOut where it was cut off because time was up, or the controller is stopping; and what took its program away. */
export function assertNotCutOff(scope: Scope, error: MigrationError, deadline: AbortSignal): void {
  if (error.lost !== undefined) throw error.lost;
  if (error.kind === 'timedOut' && (deadline.aborted || scope.signal.aborted))
    throw stalled('TimedOut', describe(error));
}
