/** How long a key waits after its n-th failure in a row. */
export interface Backoff {
  readonly baseMs: number;
  readonly maxMs: number;
}

export const defaultBackoff: Backoff = { baseMs: 1_000, maxMs: 5 * 60_000 };

/**
 * Doubles with each failure up to `maxMs`; the upper half of the interval is drawn at random, so that keys which
 * failed together do not come back together. `failures` counts from 1; `random` is in [0, 1).
 */
export function backoffMs(backoff: Backoff, failures: number, random: number): number {
  const ceiling = Math.min(backoff.maxMs, backoff.baseMs * 2 ** Math.min(failures - 1, 30));
  return Math.round(ceiling / 2 + (ceiling / 2) * random);
}
