/** Time as the controller sees it, so that tests can turn it by hand. */
export interface Timers {
  /** Monotonic milliseconds. */
  now(): number;
  /** Calls `callback` once after `ms`; returns what cancels it. */
  after(ms: number, callback: () => void): () => void;
}

/** Longer waits would overflow into an immediate one (setTimeout counts in 31 bits). */
const longestWaitMs = 2 ** 31 - 1;

export const systemTimers: Timers = {
  now: () => performance.now(),
  after(ms, callback) {
    const timer = setTimeout(callback, Math.min(ms, longestWaitMs));
    return () => clearTimeout(timer);
  },
};
