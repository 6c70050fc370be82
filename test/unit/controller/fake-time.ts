import type { Timers } from '../../../src/controller/timers.ts';

/** Time that passes only when told to. */
export interface FakeTime extends Timers {
  /** Runs what is due within `ms`, in order, and lets promises settle after each. */
  advance(ms: number): Promise<void>;
  readonly pending: number;
}

export function fakeTime(): FakeTime {
  let now = 0;
  const timers = new Set<{ readonly at: number; readonly run: () => void }>();
  return {
    now: () => now,
    after(ms, callback) {
      const timer = { at: now + ms, run: callback };
      timers.add(timer);
      return () => void timers.delete(timer);
    },
    async advance(ms) {
      const until = now + ms;
      await settle();
      for (;;) {
        const next = [...timers].filter(({ at }) => at <= until).sort((a, b) => a.at - b.at)[0];
        if (next === undefined) break;
        timers.delete(next);
        now = next.at;
        next.run();
        await settle();
      }
      now = until;
    },
    get pending() {
      return timers.size;
    },
  };
}

/** Every promise that can go on has gone on. */
export const settle = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));
