/** Status objects, made from what happened. Pure: saving is somebody else's. */
import { summarize, type Outcome } from '../api/conditions.ts';
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
import { formatRevisions } from './compare.ts';
import { retry, type Failure } from './errors.ts';
import type { AsideDatabase, BackupManifest, Operation } from './model.ts';
import { requestedAt } from './visit.ts';

/** The journal in a status; null where there is none, or one of another version. */
export function journalOf(status: TargetStatus): Operation | null {
  return status.operation?.version === 1 ? (status.operation as Operation) : null;
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
    operation,
    plan: planStatus(operation),
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
    /** Whether this ends what the generation, or the request, asked for. */
    readonly answers: boolean;
    readonly journal: TargetStatus['operation'];
  },
): TargetStatus {
  const { outcome, now } = facts;
  const { generation } = target.metadata;
  const current = facts.current === undefined ? status.currentRevisions : facts.current;
  const isReady = outcome.kind === 'ready';
  const next: TargetStatus = {
    ...status,
    observedGeneration: generation,
    currentRevisions: current,
    currentRevision: current === null ? null : formatRevisions(current).replaceAll(', ', ','),
    desiredRevisions: declaredRevisions(target.spec),
    database: facts.database === undefined ? status.database : facts.database,
    operation: facts.journal,
    // What was reached is pending no more, nor is what an older generation declared.
    plan: isReady || generation !== status.observedGeneration ? null : status.plan,
    handled:
      facts.answers && (isReady || outcome.kind === 'stalled')
        ? { generation, requestedAt: requestedAt(target) }
        : status.handled,
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

const isReached = ({ reached }: TargetStatus, generation: number, current: readonly string[]): boolean =>
  reached?.generation === generation && formatRevisions(reached.revisions) === formatRevisions(current);

function lastBackup(backups: readonly BackupManifest[]): TargetStatus['lastBackup'] {
  const newest = backups[0];
  if (newest === undefined) return null;
  const { id, revisions, finishedAt, verifiedAt, sizeBytes } = newest;
  return { id, revisions, finishedAt, verified: verifiedAt !== null, sizeBytes };
}

function planStatus({ plan }: Operation): TargetStatus['plan'] {
  switch (plan.kind) {
    case 'backup':
      return null;
    case 'restore':
      return { digest: plan.digest, kind: plan.kind, steps: [], loss: [], fallback: null };
    case 'upgrade':
    case 'downgrade':
    case 'switch':
      return {
        digest: plan.digest,
        kind: plan.kind,
        steps: plan.steps,
        loss: plan.risks.slice(0, 256),
        fallback: plan.fallback,
      };
  }
}

function withConditions(target: MigrationTarget, status: TargetStatus, outcome: Outcome, now: Date): TargetStatus {
  const backupFailed = outcome.kind === 'stalled' && outcome.reason === 'BackupFailed';
  const conditions = summarize(outcome, {
    generation: target.metadata.generation,
    lastBackup: status.lastBackup,
    backupProblem: backupFailed ? { reason: outcome.reason, message: outcome.message } : null,
    applicationDeclared: target.spec.application !== undefined,
    previous: status.conditions,
    now,
  });
  return { ...status, conditions: [...conditions] };
}

export const statusOf = (target: MigrationTarget): TargetStatus => target.status ?? emptyStatus;
