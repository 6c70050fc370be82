/**
 * One look at one target, from its declaration to its saved status. The procedure itself is rollback.ts; this keeps
 * the journal, the status and the events, and turns whatever was thrown into a condition.
 */
import type { Outcome } from '../api/conditions.ts';
import {
  declaredRevisions,
  keyOf,
  seconds,
  type HistoryEntry,
  type MigrationTarget,
  type TargetStatus,
} from '../api/target.ts';
import { formatRevisions, sameRevisions } from './compare.ts';
import { asFailure, retry, whileUnderWay, type Failure } from './errors.ts';
import { formatHeads } from './graph.ts';
import { unlessUnhealthy } from './health.ts';
import type { Operation } from './model.ts';
import { withNextCommand } from './next-command.ts';
import { hinder } from './hindrance.ts';
import { endedNotice, hinderedNotice, stalledNotice, startedNotice, type Notification } from './notification.ts';
import type { Ports } from './ports.ts';
import { rollback } from './rollback.ts';
import { settle, suspended, withoutWait } from './settle.ts';
import { concludedStatus, journalOf, statusOf, workingStatus } from './status.ts';
import type { Seen } from './tidy.ts';
import { requestedAt, type Asked, type Visit } from './visit.ts';

export interface Reconciled {
  readonly outcome: Outcome;
  readonly status: TargetStatus;
  /** True where it should be looked at again soon, with back-off. */
  readonly again: boolean;
}

/** A declared restore, its revision and a backup that was due: more can't follow from one declaration. */
const maxRounds = 4;

export async function reconcile(
  target: MigrationTarget,
  ports: Ports,
  asked: Asked,
  signal: AbortSignal,
): Promise<Reconciled> {
  const keeper = createKeeper(target, ports);
  if (target.metadata.deletionTimestamp !== null && keeper.status().operation === null) {
    await ports.home.release(keyOf(target));
    return {
      outcome: { kind: 'suspended', message: 'The declaration was deleted; database and backups stay.' },
      status: keeper.status(),
      again: false,
    };
  }
  let next: Asked = asked;
  for (let round = 1; ; round += 1) {
    const { reconciled, follows } = await once(target, ports, next, signal, keeper);
    if (!follows || round === maxRounds) return reconciled;
    next = { kind: 'reconcile' };
  }
}

/** Holds the newest status, and is the only one that saves it. */
interface Keeper {
  readonly status: () => TargetStatus;
  readonly replace: (status: TargetStatus) => Promise<void>;
}

function createKeeper(target: MigrationTarget, { home }: Ports): Keeper {
  let status = statusOf(target);
  return {
    status: () => status,
    replace: async (next) => {
      if (JSON.stringify(next) === JSON.stringify(status)) return;
      await home.saveStatus(keyOf(target), next, status);
      status = next;
    },
  };
}

async function once(
  target: MigrationTarget,
  ports: Ports,
  asked: Asked,
  signal: AbortSignal,
  keeper: Keeper,
): Promise<{ readonly reconciled: Reconciled; readonly follows: boolean }> {
  const key = keyOf(target);
  const before = keeper.status();
  const visit: Visit = {
    key,
    target,
    status: before,
    journal: journalOf(before),
    asked,
    ports,
    signal,
    save: async (operation) => {
      const now = ports.clock.now();
      const isFirst = keeper.status().operation?.id !== operation.id;
      await keeper.replace(workingStatus(target, keeper.status(), operation, now));
      // To see where a database is changes nothing of it.
      if (isFirst && operation.trigger !== 'identify')
        await ports.home.record(key, {
          type: 'Normal',
          reason: 'Started',
          message: `Operation ${operation.id} began: ${operation.plan.kind}.`,
        });
      if (isFirst) notify(visit, startedNotice(key, operation));
      return operation;
    },
  };
  try {
    const result = await rollback(visit);
    if (result.kind === 'settled') {
      const { seen } = result;
      const outcome = withNextCommand(result.outcome, key.name);
      const status = await conclude(visit, keeper, { outcome, seen, answers: asked.kind !== 'backup' });
      return { reconciled: { outcome, status, again: false }, follows: false };
    }
    const { operation, conclusion, seen } = result;
    const { outcome, entry } = conclusion;
    const answers = answersDeclaration(target, asked, operation, conclusion.succeeded);
    const status = await conclude(visit, keeper, { outcome, seen, entry, answers });
    await ports.home.release(key);
    const follows =
      !answers &&
      asked.kind !== 'backup' &&
      asked.kind !== 'restore' &&
      (conclusion.succeeded || operation.generation !== target.metadata.generation);
    return { reconciled: { outcome, status, again: false }, follows };
  } catch (thrown) {
    const failure = whileStopping(signal, asFailure(thrown));
    const isUnderWay = keeper.status().operation !== null;
    return { reconciled: await fail(visit, keeper, isUnderWay ? whileUnderWay(failure) : failure), follows: false };
  }
}

/** What did not finish in time since it was told to stop was interrupted: nobody has to mend anything. */
function whileStopping(signal: AbortSignal, failure: Failure): Failure {
  if (!signal.aborted || failure.reason !== 'TimedOut') return failure;
  return retry(
    'OperationInterrupted',
    'It was stopped before anything was changed; the next start begins anew.',
    failure,
  );
}

/**
 * Whether an operation ends what is declared now. A backup doesn't, nor a restore that was asked for or that leads
 * elsewhere than to the declared revision, nor one that was begun for an older declaration. A request that came while it was under
 * way is answered where it succeeded: a look at what it led to would say less than it does.
 */
function answersDeclaration(
  target: MigrationTarget,
  asked: Asked,
  { plan, failure, generation, requestedAt: request }: Operation,
  succeeded: boolean,
): boolean {
  const isForThis = generation === target.metadata.generation && (succeeded || request === requestedAt(target));
  const isOnlyRestored =
    plan.kind === 'restore' && failure === null && !sameRevisions(plan.desired, declaredRevisions(target.spec));
  return isForThis && plan.kind !== 'backup' && asked.kind !== 'restore' && !isOnlyRestored;
}

interface Ended {
  readonly outcome: Outcome;
  readonly seen: Seen | null;
  readonly entry?: HistoryEntry;
  readonly answers: boolean;
}

async function conclude(visit: Visit, keeper: Keeper, { outcome, seen, entry, answers }: Ended): Promise<TargetStatus> {
  const now = visit.ports.clock.now();
  const isBeside = !answers && outcome.kind === 'ready' && seen !== null;
  const known = keeper.status();
  const status = concludedStatus(visit.target, isBeside ? standingSince(entry, known) : known, {
    outcome: isBeside ? standing(visit, seen, entry, now) : outcome,
    now,
    ...seen,
    ...(entry === undefined ? {} : { entry }),
    answers,
    // Where not even the database was read, whatever was begun is as it was: somebody has to go on with it.
    journal: seen === null ? keeper.status().operation : null,
  });
  let isNews = false;
  if (isBeside)
    await visit.ports.home.record(visit.key, { type: 'Normal', reason: outcome.reason, message: outcome.message });
  else isNews = await announce(visit, keeper.status(), status, outcome);
  await keeper.replace(status);
  // Only now: whoever dies before does it again, and whoever dies after is found by what was saved.
  if (entry !== undefined) notify(visit, endedNotice(visit.key, entry));
  else if (isNews) notifyStall(visit, status, outcome, now);
  return status;
}

/** What waited before a restore was planned from where the database is no more. */
const standingSince = (entry: HistoryEntry | undefined, status: TargetStatus): TargetStatus =>
  entry?.kind === 'restore' ? withoutWait(status) : status;

/**
 * What holds of the declaration after an operation that succeeded beside it (a backup, a restore that was asked for): what
 * a read would say now, by the conditions of before. It neither reaches what is declared nor ends a stall.
 */
function standing(visit: Visit, { current, database }: Seen, entry: HistoryEntry | undefined, now: Date): Outcome {
  const { target, key } = visit;
  const history = [...(entry === undefined ? [] : [entry]), ...visit.status.history];
  if (target.spec.suspend) return suspended(target);
  const name = database?.name ?? '';
  const versionTable =
    current === null ? ({ kind: 'missing' } as const) : ({ kind: 'present', revisions: current } as const);
  const facts = { now, restorePending: false, backupDue: false, approval: null };
  // Who applies wants what is declared, whatever stood in its way before.
  const asked: Asked = visit.asked.kind === 'apply' ? visit.asked : { kind: 'reconcile' };
  const settled = settle(
    { ...visit, asked, status: { ...standingSince(entry, visit.status), history } },
    { identity: { name }, versionTable },
    facts,
  );
  if (settled.kind === 'settled') return unlessUnhealthy(target, visit.status.application, settled.outcome);
  return {
    kind: 'working',
    reason: 'Progressing',
    message: `Database ${name} is at ${formatRevisions(current)}; it is taken to ${formatHeads(declaredRevisions(target.spec))} next: migration-target status ${key.name}`,
  };
}

async function fail(visit: Visit, keeper: Keeper, failure: Failure): Promise<Reconciled> {
  const { target, ports } = visit;
  const { reason, message } = failure;
  const outcome = withNextCommand(
    { kind: failure.kind === 'retry' ? 'retrying' : 'stalled', reason, message },
    visit.key.name,
  );
  // Whoever holds the lock writes the status, and its journal; what was read here is older by now.
  if (failure.reason === 'DatabaseLocked') return { outcome, status: keeper.status(), again: true };
  const now = ports.clock.now();
  const journal = journalOf(keeper.status());
  const isHindered = failure.kind === 'retry' && reason !== 'OperationInterrupted';
  const status = concludedStatus(target, keeper.status(), {
    outcome,
    now,
    answers: visit.asked.kind !== 'backup',
    // What was begun stays journalled: the next try, or whoever mends the cause, goes on with it.
    journal: journal !== null && isHindered ? hinder(journal, now) : keeper.status().operation,
  });
  const isNews = await announce(visit, keeper.status(), status, outcome);
  await keeper.replace(status);
  if (isNews) notifyStall(visit, status, outcome, now);
  if (journal?.hindered?.toldAt == null) notify(visit, hinderedNotice(visit.key, status));
  if (failure.reason === 'InternalError')
    ports.observe(visit.key, '', { kind: 'note', level: 'warn', message: `${failure.message} ${failure.stack ?? ''}` });
  return { outcome, status, again: failure.kind === 'retry' };
}

/** An event where the reason or its message is new; a periodic read says nothing. True where it was. */
async function announce(
  { key, ports }: Visit,
  before: TargetStatus,
  after: TargetStatus,
  outcome: Outcome,
): Promise<boolean> {
  const was = before.conditions.find(({ type }) => type === 'Ready');
  const is = after.conditions.find(({ type }) => type === 'Ready');
  if (is === undefined || (was?.reason === is.reason && was.message === is.message)) return false;
  const type =
    outcome.kind === 'ready' || outcome.kind === 'suspended' || outcome.kind === 'working' ? 'Normal' : 'Warning';
  await ports.home.record(key, { type, reason: is.reason, message: is.message });
  return true;
}

function notify({ ports }: Visit, notification: Notification | null): void {
  if (notification !== null) ports.notifier?.notify(notification);
}

/** What passes by itself needs nobody. */
function notifyStall(visit: Visit, status: TargetStatus, outcome: Outcome, now: Date): void {
  if (outcome.kind !== 'stalled') return;
  notify(visit, stalledNotice(visit.key, status, { ...outcome, at: now.toISOString() }));
}

/** Seconds until a target is read again though nothing changed. */
export const intervalSeconds = (target: MigrationTarget): number => seconds(target.spec.interval);
