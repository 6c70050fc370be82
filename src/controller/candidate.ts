/** One of those that try to hold a Lease: what it saw of it last, and what it does next. */
import type { Clock, LeaseStore } from '../rollback/ports.ts';
import { claimed, decide, released, sight, type LeaseTimes, type Sighting } from './lease.ts';
import type { Timers } from './timers.ts';

export interface CandidateOptions {
  readonly store: LeaseStore;
  /** Unlike any other's, also of the same process in another life. */
  readonly identity: string;
  readonly clock: Clock;
  readonly times: LeaseTimes;
  readonly timers: Timers;
}

export type Attempt =
  | { readonly kind: 'held' }
  /** Somebody else holds it. `againMs`: when to look again. */
  | { readonly kind: 'waits'; readonly holder: string; readonly againMs: number }
  /** Somebody else wrote at the same time: to be looked at again at once. */
  | { readonly kind: 'overtaken' };

export interface Candidate {
  /** Claims or renews it where that may be. Throws what the store throws; whether it is held is then not known. */
  attempt(): Promise<Attempt>;
  /** Where it is held still: nobody has to wait for it to run out. Throws what the store throws. */
  release(): Promise<void>;
}

export function createCandidate({ store, identity, clock, times, timers }: CandidateOptions): Candidate {
  let sighting: Sighting | null = null;
  /** A holder need not read what nobody else writes, until a write does not go through. */
  let isCurrent = false;

  async function look(): Promise<Sighting> {
    if (sighting === null || !isCurrent) sighting = sight(sighting, await store.read(), timers.now());
    return sighting;
  }

  return {
    async attempt() {
      const seen = await look();
      const decision = decide(seen, identity, timers.now());
      if (decision.kind === 'wait') {
        const { holder, untilMs } = decision;
        return { kind: 'waits', holder, againMs: Math.min(times.retrySeconds * 1000, untilMs - timers.now()) };
      }
      isCurrent = false;
      const record = claimed(seen.lease, identity, clock.now(), times);
      const lease = await store.write(record, seen.lease?.version ?? null);
      if (lease === null) return { kind: 'overtaken' };
      sighting = { lease, since: timers.now() };
      isCurrent = true;
      return { kind: 'held' };
    },
    async release() {
      const { lease } = await look();
      if (lease?.holder !== identity) return;
      await store.write(released(lease, clock.now()), lease.version);
    },
  };
}
