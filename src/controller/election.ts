/**
 * Work that only one of several controllers does at a time: whoever holds a Lease. It tells who should work; what keeps
 * two from the same database, whatever an election gets wrong, is the lock in the database.
 */
import type { Clock, LeaseStore } from '../rollback/ports.ts';
import { createCandidate, type Candidate } from './candidate.ts';
import { graceSeconds, leaseTimes, type LeaseTimes } from './lease.ts';
import { systemTimers, type Timers } from './timers.ts';

export interface ElectionOptions {
  readonly store: LeaseStore;
  /** Unlike any other's, also of the same process in another life. */
  readonly identity: string;
  readonly clock: Clock;
  /** Each time that somebody else is found to lead. */
  readonly onWaiting: (holder: string) => void;
  readonly onProblem: (problem: unknown) => void;
  readonly times?: LeaseTimes;
  readonly timers?: Timers;
}

/** What is done while it leads. */
export interface Work<T> {
  /** The signal is aborted as soon as it should stop: since it was told to, or since it leads no longer. */
  readonly run: (signal: AbortSignal) => Promise<T>;
  /** Whether another may begin at once when it is over; otherwise the Lease runs out first. */
  readonly mayRelease: (value: T) => boolean;
}

export type Led<T> =
  /** It was told to stop before it led. */
  | { readonly kind: 'stoodBy' }
  | { readonly kind: 'ended'; readonly value: T }
  /** Another may lead by now. What did not stop in time goes on: the process has to end. */
  | { readonly kind: 'lost' };

/** Stands by until it leads; then works, once, and renews meanwhile. Rejects only where the work does. */
export async function lead<T>(options: ElectionOptions, signal: AbortSignal, work: Work<T>): Promise<Led<T>> {
  const { store, identity, onProblem, times = leaseTimes, timers = systemTimers } = options;
  const settled = { ...options, times, timers };
  const candidate = createCandidate(settled);
  const heldFrom = await campaign(settled, candidate, signal);
  if (heldFrom === null) return { kind: 'stoodBy' };

  const tell = (what: string): Promise<void> =>
    store.record({ type: 'Normal', reason: 'LeaderElection', message: `${identity} ${what}` });
  const over = new AbortController();
  const lost = new AbortController();
  const renewing = renew(settled, candidate, { heldFrom, lost, over: over.signal });
  void tell('became leader');
  try {
    const ended = await Promise.race([
      work.run(AbortSignal.any([signal, lost.signal])).then((value) => ({ value })),
      // Time for what can stop, and none for another to begin.
      aborted(lost.signal).then(() => pause(timers, graceSeconds(times) * 1000, over.signal)),
    ]);
    if (ended === undefined || lost.signal.aborted) return { kind: 'lost' };
    over.abort();
    await renewing;
    if (work.mayRelease(ended.value)) await candidate.release().then(() => tell('stopped leading'), onProblem);
    return { kind: 'ended', value: ended.value };
  } finally {
    over.abort();
  }
}

type Settled = ElectionOptions & Required<Pick<ElectionOptions, 'times' | 'timers'>>;

/** Returns when the claim that went through was begun, which is before anybody else saw it; null: aborted. */
async function campaign(options: Settled, candidate: Candidate, signal: AbortSignal): Promise<number | null> {
  const { times, timers, onWaiting, onProblem } = options;
  let leader: string | null = null;
  while (!signal.aborted) {
    const begunAt = timers.now();
    let againMs = times.retrySeconds * 1000;
    try {
      const attempt = await candidate.attempt();
      if (attempt.kind === 'held') return begunAt;
      if (attempt.kind === 'waits' && attempt.holder !== leader) onWaiting((leader = attempt.holder));
      againMs = attempt.kind === 'waits' ? attempt.againMs : 0;
    } catch (problem) {
      onProblem(problem);
    }
    await pause(timers, againMs, signal);
  }
  return null;
}

interface Held {
  readonly heldFrom: number;
  /** Aborted once somebody else holds it, or it could not be renewed in time. */
  readonly lost: AbortController;
  readonly over: AbortSignal;
}

/** Renews until it is over, or lost. */
async function renew(options: Settled, candidate: Candidate, { heldFrom, lost, over }: Held): Promise<void> {
  const { times, timers, onProblem } = options;
  // Apart from the tries, since an answer may never come.
  let cancelDeadline = (): void => {};
  const setDeadline = (begunAt: number): void => {
    cancelDeadline();
    cancelDeadline = timers.after(begunAt + times.renewSeconds * 1000 - timers.now(), () => lost.abort());
  };
  setDeadline(heldFrom);
  const ends = AbortSignal.any([over, lost.signal]);
  over.addEventListener('abort', () => cancelDeadline(), { once: true });
  let againMs = times.retrySeconds * 1000;
  for (;;) {
    await pause(timers, againMs, ends);
    if (ends.aborted) return;
    againMs = times.retrySeconds * 1000;
    const begunAt = timers.now();
    try {
      const attempt = await candidate.attempt();
      if (ends.aborted) return;
      if (attempt.kind === 'held') setDeadline(begunAt);
      else if (attempt.kind === 'waits') lost.abort();
      else againMs = 0;
    } catch (problem) {
      onProblem(problem);
    }
  }
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));

async function pause(timers: Timers, ms: number, signal: AbortSignal): Promise<void> {
  if (ms <= 0 || signal.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const onAbort = (): void => resolve();
  const cancel = timers.after(ms, resolve);
  signal.addEventListener('abort', onAbort, { once: true });
  await promise;
  signal.removeEventListener('abort', onAbort);
  cancel();
}
