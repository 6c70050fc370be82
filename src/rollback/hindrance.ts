/**
 * What passes by itself may take long. While an application is stopped for it, or a database is between two states, people
 * are told once that it does. Pure.
 */
import { isStopped } from './application.ts';
import { isBeforeChange, isScratchWork } from './clear-away.ts';
import type { Operation } from './model.ts';

/** A password that is rotated and a server that starts are right again by then; and as long as the pauses between tries get. */
const patienceMs = 5 * 60_000;

/** The journal after a try that something was in the way of. */
export function hinder(operation: Operation, now: Date): Operation {
  // Nobody waits for what has changed nothing yet, or never will.
  if (!isStopped(operation) && (isBeforeChange(operation) || isScratchWork(operation))) return operation;
  const { since, toldAt } = operation.hindered ?? { since: now.toISOString(), toldAt: null };
  const isDue = now.getTime() - Date.parse(since) >= patienceMs;
  return { ...operation, hindered: { since, toldAt: toldAt ?? (isDue ? now.toISOString() : null) } };
}
