/** What people elsewhere are told of, made from what happened. Pure: sending it is somebody else's. */
import { createHash } from 'node:crypto';
import { maxMessageLength } from '../api/status.ts';
import type { HistoryEntry, TargetKey, TargetStatus } from '../api/target.ts';
import { isStopped, ranBefore } from './application.ts';
import { formatRevisions } from './compare.ts';
import { formatHeads } from './graph.ts';
import type { Operation } from './model.ts';
import { journalOf } from './status.ts';

export const notificationEvents = ['started', 'waiting', 'succeeded', 'restored', 'failed'] as const;
/** `restored`: a change fell short, and a backup was restored instead. `waiting`: for an approval. */
export type NotificationEvent = (typeof notificationEvents)[number];

export interface Notification {
  /** The same for the same thing, however often it is told: who receives it can tell a repetition by it. */
  readonly id: string;
  readonly event: NotificationEvent;
  /** RFC 3339: when it happened. */
  readonly at: string;
  readonly target: TargetKey;
  /** null: nothing was begun, e.g. since the declared revision is none of the scripts'. */
  readonly operation: { readonly id: string; readonly kind: string; readonly startedAt: string } | null;
  readonly reason: string;
  readonly message: string;
  /** null: nobody could look. `from` too where there is no version table. */
  readonly revisions: { readonly from: readonly string[] | null; readonly to: readonly string[] | null };
  /** Where the report of the operation lies; null: nowhere. */
  readonly report: string | null;
}

/** null: nobody is told. That a backup is taken, or was, is of interest where it fails. */
export function startedNotice(
  key: TargetKey,
  { id, plan, startedAt, origin, trigger }: Operation,
): Notification | null {
  if (plan.kind === 'backup' || trigger === 'identify') return null;
  return {
    id: `${id}/started`,
    event: 'started',
    at: startedAt,
    target: key,
    operation: { id, kind: plan.kind, startedAt },
    reason: 'Started',
    message: `Operation ${id} began: ${plan.kind} of database ${origin.identity.name} from ${formatRevisions(plan.current)} to ${formatHeads(plan.desired)}.`,
    revisions: { from: plan.current, to: plan.desired },
    report: null,
  };
}

export function endedNotice(key: TargetKey, entry: HistoryEntry): Notification | null {
  const event = eventOf(entry);
  if (event === null) return null;
  const { operationId, kind, startedAt, finishedAt, reason, message, from, to, report } = entry;
  return {
    // An operation may stop for a person, and end once that one has mended the cause: each is told.
    id: `${operationId}/${event}/${reason}`,
    event,
    at: finishedAt,
    target: key,
    operation: { id: operationId, kind, startedAt },
    reason,
    message: bound(message),
    revisions: { from, to },
    report,
  };
}

function eventOf({ kind, result, reason }: HistoryEntry): NotificationEvent | null {
  if (reason === 'ApprovalRequired') return 'waiting';
  if (result !== 'success') return 'failed';
  if (kind === 'backup' || kind === 'rehearsal') return null;
  return kind !== 'restore' && reason === 'RestoredFromBackup' ? 'restored' : 'succeeded';
}

/** What needs a person though no operation ended: it was refused, or stopped half-way. */
export function stalledNotice(
  key: TargetKey,
  { currentRevisions, desiredRevisions, operation, observedGeneration }: TargetStatus,
  { reason, message, at }: { readonly reason: string; readonly message: string; readonly at: string },
): Notification {
  const journal = operation === null ? null : { id: operation.id, startedAt: operation.startedAt };
  const about =
    journal?.id ??
    createHash('sha256')
      .update(JSON.stringify([key.namespace, key.name, observedGeneration, message]))
      .digest('hex')
      .slice(0, 16);
  return {
    id: `${about}/failed/${reason}`,
    event: 'failed',
    at,
    target: key,
    operation: journal === null ? null : { ...journal, kind: kindOf(operation) },
    reason,
    message: bound(message),
    revisions: { from: currentRevisions, to: desiredRevisions },
    report: null,
  };
}

/** What should pass by itself, and has not, while the application is stopped or the change half done; null: nothing is so. */
export function hinderedNotice(key: TargetKey, status: TargetStatus): Notification | null {
  const journal = journalOf(status);
  const hindered = journal?.hindered;
  const ready = status.conditions.find(({ type }) => type === 'Ready');
  if (journal === null || hindered?.toldAt == null || ready === undefined) return null;
  const { id, plan, startedAt, step, application } = journal;
  const stopped = application !== null && isStopped(journal) ? ranBefore(application) : [];
  const down = stopped.length === 0 ? '' : `The application is stopped (${stopped.join(', ')}). `;
  return {
    id: `${id}/failed/${hindered.since}`,
    event: 'failed',
    at: hindered.toldAt,
    target: key,
    operation: { id, kind: plan.kind, startedAt },
    reason: ready.reason,
    message: bound(
      `${down}Operation ${id} can't go on with its step ${step} since ${hindered.since}. Once the cause is mended it goes on by itself, or at once by migration-target reconcile ${key.name}. The cause: ${ready.message}`,
    ),
    revisions: { from: plan.current, to: plan.desired },
    report: null,
  };
}

const kindOf = (operation: TargetStatus['operation']): string =>
  operation?.version === 1 ? (operation as Operation).plan.kind : 'unknown';

/**
 * What happened since then, as the status tells: nobody knows whether whoever died meanwhile has told it. Oldest first.
 */
export function missedNotices(key: TargetKey, status: TargetStatus, since: Date): readonly Notification[] {
  const isSince = (instant: string): boolean => Date.parse(instant) >= since.getTime();
  const journal = journalOf(status);
  const ended = status.history.filter(({ finishedAt }) => isSince(finishedAt));
  const stalled = status.conditions.find(({ type, status: value }) => type === 'Stalled' && value === 'True');
  // What an operation ended with is in the history already.
  const isOfNone =
    stalled !== undefined &&
    isSince(stalled.lastTransitionTime) &&
    !status.history.some(({ message }) => message === stalled.message);
  return [
    ...ended.toReversed().map((entry) => endedNotice(key, entry)),
    journal !== null && isSince(journal.startedAt) ? startedNotice(key, journal) : null,
    isSince(journal?.hindered?.toldAt ?? '') ? hinderedNotice(key, status) : null,
    isOfNone ? stalledNotice(key, status, { ...stalled, at: stalled.lastTransitionTime }) : null,
  ].filter((notice) => notice !== null);
}

const bound = (message: string): string =>
  message.length <= maxMessageLength ? message : `${message.slice(0, maxMessageLength - 1).toWellFormed()}…`;
