import { describeLog, hasChanged, isAsked, isLeft, isRestarted, isStopped, untouched } from '../application.ts';
import { asFailure } from '../errors.ts';
import { awaitHealth } from '../health.ts';
import type { ApplicationRecord, LogLine, Operation } from '../model.ts';
import { redact } from '../redact.ts';
import { startAgain } from '../start-again.ts';
import { note, progressOf, type Scope } from '../scope.ts';
import { ownerOf } from '../visit.ts';

/**
 * The application again: started where it was stopped, restarted where it ran on, and asked how it is. The database is
 * verified by now, or as it was. An application that does not come up is told, with its last lines; nothing else is undone.
 */
export async function resume(scope: Scope, operation: Operation): Promise<Operation> {
  const { ports, target } = scope;
  const declared = target.spec.application;
  const since = ports.clock.now();
  const { record, fault, notes } = await bringUp(scope, operation);
  const told = notes.reduce((so, message) => note(scope, so, message), operation);
  const up = await scope.save({ ...told, application: record });
  if (declared === undefined || isLeft(declared, operation) || (!isAsked(declared) && fault === null))
    return { ...up, step: 'report' };

  const health = fault ?? (await healthOf(scope, up, record));
  const log = (await lastLines(scope, record, since)).map((line) => ({ ...line, text: cut(redact(line.text)) }));
  scope.stopIfAsked(up);
  const downMs =
    record.stoppedAt === null || !health.healthy
      ? null
      : Math.max(0, ports.clock.now().getTime() - Date.parse(record.stoppedAt));
  if (downMs !== null) ports.observe(scope.key, operation.id, { kind: 'downtime', ms: downMs });
  const done: Operation = { ...up, step: 'report', application: { ...record, health, log, downMs } };
  return health.healthy ? done : note(scope, done, `${health.message}${describeLog({ log })}`);
}

interface Brought {
  readonly record: ApplicationRecord;
  /** Why it could not be started; null: it was. */
  readonly fault: { readonly healthy: false; readonly message: string } | null;
  readonly notes: readonly string[];
}

/** Idempotent: one that was killed here begins again. */
async function bringUp(scope: Scope, operation: Operation): Promise<Brought> {
  const { ports, target } = scope;
  const declared = target.spec.application;
  const own = ports.workloads(ownerOf(target));
  const now = (): string => ports.clock.now().toISOString();
  const before = operation.application ?? untouched();
  try {
    if (isStopped(operation)) {
      if (!isLeft(declared, operation)) {
        const { gone, notes } = await startAgain(scope, operation);
        return { record: { ...before, resumedAt: now() }, fault: goneFault(gone, before), notes };
      }
      await own.leave(before.workloads);
      return { record: { ...before, resumedAt: now() }, fault: null, notes: [] };
    }
    if (declared === undefined || before.resumedAt !== null) return { record: before, fault: null, notes: [] };
    const workloads = await own.read(declared.workloads);
    if (hasChanged(operation) && isRestarted(declared)) await own.restart(workloads);
    return { record: { ...before, workloads, resumedAt: now() }, fault: null, notes: [] };
  } catch (thrown) {
    const failure = asFailure(thrown);
    if (failure.kind === 'retry') throw failure;
    const message = `The application could not be started: ${failure.message}`;
    return { record: { ...before, resumedAt: now() }, fault: { healthy: false, message }, notes: [] };
  }
}

/** A stack trace's longest lines say nothing more at their ends. */
const mostShown = 300;
const cut = (text: string): string =>
  text.length > mostShown ? `${text.slice(0, mostShown - 2)} …`.toWellFormed() : text;

/** They explain; where none are kept of it, or none are given, it is done without them. */
const lastLines = (
  { ports, key, operationId, target }: Scope,
  { workloads }: ApplicationRecord,
  since: Date,
): Promise<readonly LogLine[]> =>
  ports
    .workloads(ownerOf(target))
    .log(workloads, since)
    .catch((thrown: unknown) => {
      const message = `The application's log could not be read: ${asFailure(thrown).message}`;
      ports.observe(key, operationId, { kind: 'note', level: 'warn', message });
      return [];
    });

function goneFault(gone: readonly string[], { workloads }: ApplicationRecord): Brought['fault'] {
  if (gone.length === 0) return null;
  const command = workloads.some(({ kind }) => kind === 'Container')
    ? 'docker compose up --detach'
    : 'kubectl apply -f its manifest';
  return {
    healthy: false,
    message: `The application could not be started again: ${gone.join(', ')} ${gone.length > 1 ? 'are' : 'is'} there no more. Make it again: ${command}`,
  };
}

async function healthOf(
  scope: Scope,
  operation: Operation,
  { workloads }: ApplicationRecord,
): Promise<{ readonly healthy: boolean; readonly message: string }> {
  const { ports, target, signal } = scope;
  const ask = { own: ports.workloads(ownerOf(target)), probe: ports.probe };
  return awaitHealth(ask, target.spec.application ?? {}, workloads, {
    signal,
    progress: progressOf(scope, operation, 'resume'),
  });
}
