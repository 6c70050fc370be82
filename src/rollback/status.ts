/** Status objects, made from what happened. Pure: saving is somebody else's. */
import { summarize, type ConditionFacts, type Outcome } from '../api/conditions.ts';
import { fluxRequestedAtAnnotation } from '../api/group.ts';
import { asReason } from '../api/reasons.ts';
import { historyLength } from '../api/status.ts';
import {
  declaredRevisions,
  emptyStatus,
  keyText,
  type HistoryEntry,
  type MigrationTarget,
  type TargetKey,
  type TargetStatus,
} from '../api/target.ts';
import { applicationStatus, isStopped } from './application.ts';
import { claim } from './claim.ts';
import { formatRevisions } from './compare.ts';
import { retry, type Failure } from './errors.ts';
import { formatHeads } from './graph.ts';
import type { AsideDatabase, BackupManifest, Operation, Risk } from './model.ts';
import { requestedAt } from './visit.ts';

/** What an older version of this program did not know yet had not happened to its operations. */
const unknownBefore = { application: null, rehearsals: 0, hindered: null } satisfies Partial<Operation>;

/** The journal in a status; null where there is none, or one of another version. */
export function journalOf(status: TargetStatus): Operation | null {
  if (status.operation?.version !== 1) return null;
  return { ...unknownBefore, ...(status.operation as Operation) };
}

/**
 * What operations alone change of a status. Whoever saves one that was made of another version of this has missed an
 * operation: it would take a journal, or the name of a database that was put aside, away.
 */
export const operationsOf = (
  status: TargetStatus | null | undefined,
): Pick<TargetStatus, 'operation' | 'keptAside' | 'history'> => {
  const { operation, keptAside, history } = status ?? emptyStatus;
  return { operation, keptAside, history };
};

/** What a home throws, and writes nothing, where `operationsOf` what it would replace is not what was read. */
export const missedAnOperation = (key: TargetKey): Failure =>
  retry(
    'DatabaseLocked',
    `Another process journalled an operation of ${keyText(key)} meanwhile; it is waited for. See: migration-target status ${key.name}`,
  );

/** While an operation goes on. */
export function workingStatus(
  target: MigrationTarget,
  status: TargetStatus,
  operation: Operation,
  now: Date,
): TargetStatus {
  const message = `Operation ${operation.id} (${operation.plan.kind}) is at its step ${operation.step}.`;
  const next: TargetStatus = {
    ...status,
    observedGeneration: target.metadata.generation,
    desiredRevisions: declaredRevisions(target.spec),
    // Whoever is declared meanwhile must not take the database for nobody's.
    database: claim({ target, status }, operation.origin.identity, now),
    operation,
    // A backup beside it changes nothing of what waits.
    plan: operation.plan.kind === 'backup' ? status.plan : planStatus(operation),
    // What was tried for another operation says nothing of this one.
    application: applicationStatus(target, operation, now) ?? standingApplication(target, status, operation),
    rehearsal: rehearsalStatus(operation) ?? (operation.plan.kind === 'backup' ? status.rehearsal : null),
  };
  return withConditions(target, next, { kind: 'working', reason: 'Progressing', message }, now);
}

/** What was read, and what came of it, once nothing is under way any more (or waits for whoever mends it). */
export function concludedStatus(
  target: MigrationTarget,
  status: TargetStatus,
  facts: {
    readonly outcome: Outcome;
    readonly now: Date;
    /** undefined: the database was not read. */
    readonly current?: readonly string[] | null;
    /** Newest first; undefined: the catalogue was not read. */
    readonly backups?: readonly BackupManifest[];
    readonly entry?: HistoryEntry;
    readonly keptAside?: readonly AsideDatabase[];
    readonly database?: TargetStatus['database'];
    /** undefined: it was not looked at. */
    readonly application?: TargetStatus['application'] | undefined;
    /** Whether this ends what the generation, or the request, asked for. */
    readonly answers: boolean;
    readonly journal: TargetStatus['operation'];
  },
): TargetStatus {
  const { outcome, now } = facts;
  const { generation } = target.metadata;
  const current = facts.current === undefined ? status.currentRevisions : facts.current;
  const isReady = outcome.kind === 'ready';
  const isAnswered = facts.answers && (isReady || outcome.kind === 'stalled' || outcome.kind === 'awaitingApproval');
  const next: TargetStatus = {
    ...status,
    observedGeneration: generation,
    currentRevisions: current,
    currentRevision: current === null ? null : formatRevisions(current).replaceAll(', ', ','),
    desiredRevisions: declaredRevisions(target.spec),
    database: facts.database === undefined ? status.database : facts.database,
    operation: facts.journal,
    application:
      facts.application === undefined ? standingApplication(target, status, facts.journal) : facts.application,
    // What was reached is pending no more, nor is what an older generation declared.
    plan: isReady || generation !== status.observedGeneration ? null : status.plan,
    handled: isAnswered ? { generation, requestedAt: requestedAt(target) } : status.handled,
    lastHandledReconcileAt: isAnswered
      ? (target.metadata.annotations[fluxRequestedAtAnnotation] ?? null)
      : status.lastHandledReconcileAt,
    reached:
      isReady && current !== null && facts.answers && !isReached(status, generation, current)
        ? { generation, revisions: current, at: now.toISOString() }
        : status.reached,
    lastBackup: facts.backups === undefined ? status.lastBackup : lastBackup(facts.backups),
    keptAside: facts.keptAside ?? status.keptAside,
    history: facts.entry === undefined ? status.history : [facts.entry, ...status.history].slice(0, historyLength),
  };
  return withConditions(target, next, outcome, now);
}

/** What it said for another generation says nothing of this one. That it is stopped does, until it was started. */
function standingApplication(
  { metadata, spec }: MigrationTarget,
  status: TargetStatus,
  next: TargetStatus['operation'],
): TargetStatus['application'] {
  const { application } = status;
  if (spec.application === undefined || application === null) return null;
  if (application.state !== 'stopped') return application.generation === metadata.generation ? application : null;
  return isHeld(status) && !isHeld({ ...status, operation: next }) ? null : application;
}

function isHeld(status: TargetStatus): boolean {
  const journal = journalOf(status);
  return journal !== null && isStopped(journal);
}

const isReached = ({ reached }: TargetStatus, generation: number, current: readonly string[]): boolean =>
  reached?.generation === generation && formatRevisions(reached.revisions) === formatRevisions(current);

function lastBackup(backups: readonly BackupManifest[]): TargetStatus['lastBackup'] {
  const newest = backups[0];
  if (newest === undefined) return null;
  const { id, revisions, finishedAt, verifiedAt, sizeBytes } = newest;
  return { id, revisions, finishedAt, verified: verifiedAt !== null, sizeBytes };
}

function planStatus(operation: Operation): TargetStatus['plan'] {
  const { plan, gate } = operation;
  switch (plan.kind) {
    case 'backup':
      return null;
    case 'restore':
      return {
        digest: gate?.digest ?? plan.digest,
        kind: plan.kind,
        steps: [],
        loss: lossStatus(operation, []),
        fallback: null,
      };
    case 'upgrade':
    case 'downgrade':
    case 'switch':
      return {
        digest: gate?.digest ?? plan.digest,
        kind: plan.kind,
        steps: plan.steps,
        loss: lossStatus(operation, plan.risks),
        fallback: plan.fallback,
      };
  }
}

/** Measured where it was tried on a copy; else what reading the migrations tells. */
function lossStatus({ rehearsal }: Operation, risks: readonly Risk[]): NonNullable<TargetStatus['plan']>['loss'] {
  const loss = rehearsal?.loss ?? null;
  return {
    measured: loss !== null,
    rows: loss?.rows ?? null,
    tables: loss?.tables ?? [],
    moreTables: loss?.moreTables ?? 0,
    objects: rehearsal?.objectsGone ?? [],
    moreObjects: rehearsal?.moreObjects ?? 0,
    statements: risks.slice(0, 256),
  };
}

function rehearsalStatus({ id, rehearsal, plan }: Operation): TargetStatus['rehearsal'] {
  if (rehearsal === null) return null;
  const { backup, finishedAt, fault, notTried, stepMs, restoreMs, wayBack } = rehearsal;
  const what =
    plan.kind === 'restore'
      ? `The restore of backup ${plan.backup}`
      : `The ${plan.kind} to ${formatHeads(plan.desired)}`;
  const back = wayBack.kind === 'irreversible' ? ` The way back does not end where it began: ${wayBack.because}.` : '';
  return {
    operationId: id,
    finishedAt,
    backup,
    passed: fault === null && notTried === null,
    message:
      notTried !== null
        ? `${what} could not be tried on a copy: ${notTried}.`
        : fault !== null
          ? `${what} failed on a copy of backup ${backup}: ${fault}.`
          : `${what} went through on a copy of backup ${backup}.${back}`,
    estimateSeconds:
      stepMs.length === 0
        ? restoreMs === null
          ? null
          : restoreMs / 1000
        : stepMs.reduce((sum, ms) => sum + ms, 0) / 1000,
  };
}

function withConditions(target: MigrationTarget, status: TargetStatus, outcome: Outcome, now: Date): TargetStatus {
  const conditions = summarize(outcome, {
    generation: target.metadata.generation,
    lastBackup: status.lastBackup,
    backupProblem: backupProblem(status),
    rehearsal: status.rehearsal,
    isRehearsing: target.spec.policy.rehearsal === 'Always',
    applicationDeclared: target.spec.application !== undefined,
    application: status.application,
    previous: status.conditions,
    now,
  });
  return { ...status, conditions: [...conditions] };
}

/** Every operation begins with a backup, so the last one tells of the newest attempt, whatever is going on since. */
function backupProblem({ history }: TargetStatus): ConditionFacts['backupProblem'] {
  const [last] = history;
  if (last === undefined) return null;
  const fellShort = last.reason === 'BackupFailed' || (last.kind === 'backup' && last.result === 'failure');
  return fellShort ? { reason: asReason(last.reason), message: last.message } : null;
}

export const statusOf = (target: MigrationTarget): TargetStatus => target.status ?? emptyStatus;
