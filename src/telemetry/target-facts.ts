/** What the metrics say of one target: numbers and short texts taken from its status, so that no status is kept. */
import { seconds } from '../api/duration.ts';
import type { HistoryEntry, MigrationTarget, TargetStatus } from '../api/target.ts';

export const operations = ['upgrade', 'downgrade', 'switch', 'restore', 'backup', 'rehearsal'] as const;
export type OperationName = (typeof operations)[number];
export const results = ['success', 'failure', 'refused'] as const satisfies readonly HistoryEntry['result'][];
export type OperationResult = (typeof results)[number];

export interface TargetFacts {
  readonly runtime: string;
  readonly currentRevision: string;
  readonly desiredRevision: string;
  readonly conditions: Readonly<Record<string, { readonly status: string; readonly reason: string }>>;
  readonly suspended: boolean;
  /** Seconds between two reads though nothing changed, and the age from which on a backup is due; 0: none. */
  readonly checkInterval: number;
  readonly backupMaxAge: number;
  readonly pending: { readonly up: number; readonly down: number };
  /** Rows that the plan would lose, as measured on a copy; 0: none, or unknown. */
  readonly plannedRowLoss: number;
  /** Unix seconds from here on; 0: none. */
  readonly outOfSyncSince: number;
  readonly approvalRequested: number;
  readonly backupLastSuccess: number;
  readonly backupSizeBytes: number;
  readonly deadline: { readonly operation: OperationName; readonly at: number } | null;
}

/** `target`: null where the declaration can't be read; its status may still be known. */
export function targetFacts(target: MigrationTarget | null, status: TargetStatus): TargetFacts {
  const desired = status.desiredRevisions === null ? '' : status.desiredRevisions.join(',') || 'base';
  const steps = status.plan?.steps ?? [];
  return {
    runtime: target === null ? '' : (Object.keys(target.spec.runtime)[0] ?? ''),
    currentRevision: status.currentRevision ?? '',
    desiredRevision: desired,
    conditions: Object.fromEntries(
      status.conditions.map(({ type, status: value, reason }) => [type, { status: value, reason }]),
    ),
    suspended: target?.spec.suspend ?? false,
    checkInterval: target === null ? 0 : seconds(target.spec.interval),
    backupMaxAge: target?.spec.backup.maxAge === undefined ? 0 : seconds(target.spec.backup.maxAge),
    pending: {
      up: steps.filter(({ direction }) => direction === 'up').length,
      down: steps.filter(({ direction }) => direction === 'down').length,
    },
    plannedRowLoss: status.plan?.loss?.rows ?? 0,
    outOfSyncSince: inSync(status) ? 0 : transition(status, 'Ready', 'False'),
    approvalRequested: transition(status, 'ApprovalRequired', 'True'),
    backupLastSuccess: status.lastBackup === null ? 0 : unixSeconds(status.lastBackup.finishedAt),
    backupSizeBytes: status.lastBackup?.sizeBytes ?? 0,
    deadline: deadline(target, status),
  };
}

/** Unknown counts as out of sync. */
function inSync({ currentRevisions, desiredRevisions }: TargetStatus): boolean {
  if (currentRevisions === null || desiredRevisions === null) return false;
  const current = new Set(currentRevisions);
  return current.size === new Set(desiredRevisions).size && desiredRevisions.every((revision) => current.has(revision));
}

/** When the condition took that value, if it has it now. */
function transition(status: TargetStatus, type: string, value: string): number {
  const condition = status.conditions.find((one) => one.type === type);
  return condition?.status === value ? unixSeconds(condition.lastTransitionTime) : 0;
}

function deadline(target: MigrationTarget | null, status: TargetStatus): TargetFacts['deadline'] {
  if (target === null || status.operation === null) return null;
  const { plan }: Readonly<Record<string, unknown>> = status.operation;
  const kind = typeof plan === 'object' && plan !== null && 'kind' in plan ? plan.kind : null;
  // Of a journal that this version does not know, the least is assumed: a backup.
  const operation = operations.find((known) => known === kind) ?? 'backup';
  return { operation, at: unixSeconds(status.operation.startedAt) + seconds(target.spec.timeout) };
}

/** 0 for what is no instant: a metric must not fail over a status that somebody edited. */
export function unixSeconds(instant: string): number {
  const ms = Date.parse(instant);
  return Number.isNaN(ms) ? 0 : ms / 1000;
}
