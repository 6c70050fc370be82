/**
 * The loop around a reconcile: which key is due, when it is due again, how many run at once, and how it all stops.
 * Level-triggered: a change only says that a key is due; what to do is read afresh by the reconcile. It knows nothing
 * of what is reconciled. Whoever elects a leader starts `run` when elected and aborts it when no longer.
 */
import type { TargetKey } from '../api/target.ts';
import { backoffMs, defaultBackoff, type Backoff } from './backoff.ts';
import { createQueue } from './queue.ts';
import { systemTimers, type Timers } from './timers.ts';

/** What a reconcile returns; what it throws puts the key into back-off. */
export interface Result {
  /** When to look again though nothing changed; left out: `intervalSeconds` decides. */
  readonly requeueAfterSeconds?: number;
  /** Nothing is declared by that key any more: whatever is listed of it later is new, also where it looks as before. */
  readonly isGone?: boolean;
}

/** A key, and a text that differs once its declaration does: how a relist finds changes that a watch missed. */
export interface Listed {
  readonly key: TargetKey;
  readonly version: string;
}

/** Results in the terms of controller-runtime, whose dashboards read them. */
export type ReconcileOutcome = 'success' | 'requeue_after' | 'error';

/** What the loop tells of itself. */
export interface ControllerMetrics {
  reconciled(outcome: ReconcileOutcome, seconds: number): void;
  depth(keys: number): void;
}

export interface ControllerOptions {
  readonly list: () => Promise<readonly Listed[]>;
  /** Resolves when synced once, then goes on calling until aborted: `Home.watch`. */
  readonly watch: (
    onChange: (key: TargetKey) => void,
    onProblem: (problem: Error) => void,
    signal: AbortSignal,
  ) => Promise<void>;
  /** The signal tells that the controller stops; it is waited for, `stopSeconds` at most. */
  readonly reconcile: (key: TargetKey, signal: AbortSignal) => Promise<Result>;
  /** When a key is looked at again after a success; null: only once it changes. */
  readonly intervalSeconds: (key: TargetKey) => number | null;
  /** Keys reconciled at the same time. */
  readonly concurrency: number;
  /** null: the problem is none of one key. */
  readonly onError: (problem: unknown, key: TargetKey | null) => void;
  readonly metrics: ControllerMetrics;
  readonly relistSeconds?: number;
  readonly stopSeconds?: number;
  readonly backoff?: Backoff;
  readonly timers?: Timers;
  /** In [0, 1): the jitter of the back-off. */
  readonly random?: () => number;
}

export type Readiness = { readonly ready: true } | { readonly ready: false; readonly because: string };

export interface Controller {
  /**
   * Works until `signal` is aborted: then takes no new key, tells the running reconciles, and waits for them. Returns
   * those that did not end in time. Never rejects. To be called once.
   */
  run(signal: AbortSignal): Promise<{ readonly unfinished: readonly TargetKey[] }>;
  /** Ready: what is declared was read, and is still being read. */
  readiness(): Readiness;
}

/** Relists that may fail in a row before the loop counts as dead. */
const missedRelists = 3;

export function createController(options: ControllerOptions): Controller {
  const { relistSeconds = 180, stopSeconds = 25, backoff = defaultBackoff, timers = systemTimers } = options;
  const random = options.random ?? Math.random;
  const queue = createQueue<string>();
  const keys = new Map<string, { readonly key: TargetKey; failures: number; cancel: () => void }>();
  let versions = new Map<string, string>();
  let listedAt: number | null = null;
  let synced = false;
  const stop = new AbortController();
  const stopped = new Promise<void>((resolve) =>
    stop.signal.addEventListener('abort', () => resolve(), { once: true }),
  );
  let allDone: () => void = () => {};

  function enqueue(key: TargetKey): void {
    if (stop.signal.aborted) return;
    const id = idOf(key);
    if (!keys.has(id)) keys.set(id, { key, failures: 0, cancel: () => {} });
    queue.add(id);
    pump();
  }

  function pump(): void {
    while (!stop.signal.aborted && queue.running.size < options.concurrency) {
      const id = queue.take();
      if (id === undefined) break;
      void work(id);
    }
    options.metrics.depth(queue.depth);
    if (stop.signal.aborted && queue.running.size === 0) allDone();
  }

  async function work(id: string): Promise<void> {
    const state = keys.get(id);
    if (state === undefined) throw new Error(`${id} is in the queue and unknown`);
    state.cancel();
    const startedAt = timers.now();
    let outcome: ReconcileOutcome;
    let waitMs: number | null;
    try {
      const { requeueAfterSeconds, isGone = false } = await options.reconcile(state.key, stop.signal);
      if (isGone) versions.delete(id);
      state.failures = 0;
      outcome = requeueAfterSeconds === undefined ? 'success' : 'requeue_after';
      const seconds = requeueAfterSeconds ?? options.intervalSeconds(state.key);
      waitMs = seconds === null ? null : seconds * 1000;
    } catch (problem) {
      state.failures += 1;
      outcome = 'error';
      waitMs = backoffMs(backoff, state.failures, random());
      options.onError(problem, state.key);
    }
    options.metrics.reconciled(outcome, (timers.now() - startedAt) / 1000);
    const again = queue.done(id);
    if (!again && waitMs === null) keys.delete(id);
    if (!again && waitMs !== null && !stop.signal.aborted) {
      state.cancel = timers.after(waitMs, () => enqueue(state.key));
    }
    pump();
  }

  /** Finds what a watch missed: new keys, changed ones, and those that are gone. */
  async function relist(): Promise<void> {
    const listed = await options.list();
    const next = new Map(listed.map(({ key, version }) => [idOf(key), version]));
    for (const { key, version } of listed) if (versions.get(idOf(key)) !== version) enqueue(key);
    for (const id of versions.keys()) {
      const state = keys.get(id);
      if (!next.has(id) && state !== undefined) enqueue(state.key);
    }
    versions = next;
    listedAt = timers.now();
  }

  /** Tries until it succeeds or the controller stops. */
  async function insist(attempt: () => Promise<void>): Promise<void> {
    for (let failures = 1; !stop.signal.aborted; failures += 1) {
      try {
        return await attempt();
      } catch (problem) {
        options.onError(problem, null);
        await wait(backoffMs(backoff, failures, random()));
      }
    }
  }

  /** Leaves no timer behind when the controller stops: one would keep the process from ending. */
  async function wait(ms: number): Promise<void> {
    let cancel = (): void => {};
    const passed = new Promise<void>((resolve) => {
      cancel = timers.after(ms, resolve);
    });
    await Promise.race([passed, stopped]);
    cancel();
  }

  async function keepSynced(): Promise<void> {
    const onProblem = (problem: Error): void => options.onError(problem, null);
    await Promise.all([insist(() => options.watch(enqueue, onProblem, stop.signal)), insist(relist)]);
    synced = true;
    while (!stop.signal.aborted) {
      await wait(relistSeconds * 1000);
      await insist(relist);
    }
  }

  async function finishRunning(): Promise<readonly TargetKey[]> {
    for (const state of keys.values()) state.cancel();
    if (queue.running.size > 0) {
      await new Promise<void>((resolve) => {
        const cancel = timers.after(stopSeconds * 1000, resolve);
        allDone = () => {
          cancel();
          resolve();
        };
      });
    }
    return [...queue.running].map((id) => keys.get(id)?.key).filter((key) => key !== undefined);
  }

  return {
    async run(signal) {
      if (signal.aborted) stop.abort(signal.reason);
      else signal.addEventListener('abort', () => stop.abort(signal.reason), { once: true });
      void keepSynced();
      await stopped;
      return { unfinished: await finishRunning() };
    },
    readiness() {
      if (stop.signal.aborted) return { ready: false, because: 'stopping' };
      if (!synced || listedAt === null) return { ready: false, because: 'the declarations were not read yet' };
      const seconds = Math.round((timers.now() - listedAt) / 1000);
      return seconds <= relistSeconds * (missedRelists + 1)
        ? { ready: true }
        : { ready: false, because: `the declarations were last read ${seconds} s ago` };
    },
  };
}

const idOf = (key: TargetKey): string => `${key.namespace}/${key.name}`;
