/**
 * Who leads, told from what was seen of a Lease, in the terms of client-go's leader election. Pure. Clocks of other
 * machines are never compared with: how long a Lease was seen unchanged, by this process's own, is all that counts.
 */
import type { LeaseRecord, StoredLease } from '../rollback/ports.ts';

export interface LeaseTimes {
  /** How long others wait for a leader that renews no more. */
  readonly durationSeconds: number;
  /** How long a leader tries to renew before it stops leading; less than the duration, so that it stops first. */
  readonly renewSeconds: number;
  /** Between two renewals, and between two looks of those that stand by. */
  readonly retrySeconds: number;
}

/** client-go's own. */
export const leaseTimes: LeaseTimes = { durationSeconds: 15, renewSeconds: 10, retrySeconds: 2 };

/** The Lease as it was last read, and since when it is known to be so: monotonic milliseconds. */
export interface Sighting {
  /** null: there is none. */
  readonly lease: StoredLease | null;
  readonly since: number;
}

export type Decision =
  { readonly kind: 'claim' } | { readonly kind: 'wait'; readonly holder: string; readonly untilMs: number };

/** A Lease that is as it was has not been renewed: its time goes on. */
export const sight = (before: Sighting | null, lease: StoredLease | null, nowMs: number): Sighting =>
  before !== null && before.lease?.version === lease?.version ? before : { lease, since: nowMs };

/** `untilMs`: when it will be free, unless it is renewed. */
export function decide({ lease, since }: Sighting, identity: string, nowMs: number): Decision {
  if (lease === null || lease.holder === '' || lease.holder === identity) return { kind: 'claim' };
  const untilMs = since + lease.durationSeconds * 1000;
  return untilMs <= nowMs ? { kind: 'claim' } : { kind: 'wait', holder: lease.holder, untilMs };
}

/** The Lease as its holder writes it: anew, or renewed. */
export function claimed(before: LeaseRecord | null, identity: string, now: Date, times: LeaseTimes): LeaseRecord {
  const isRenewal = before?.holder === identity;
  return {
    holder: identity,
    durationSeconds: times.durationSeconds,
    acquiredAt: isRenewal ? before.acquiredAt : now,
    renewedAt: now,
    transitions: isRenewal || before === null ? (before?.transitions ?? 0) : before.transitions + 1,
  };
}

/** The Lease as whoever goes leaves it: others need not wait. */
export const released = (before: LeaseRecord, now: Date): LeaseRecord => ({
  ...before,
  holder: '',
  durationSeconds: 1,
  renewedAt: now,
});

/** The longest for which nobody leads once a leader is gone: others saw its last renewal so late, and wait so long. */
export const handOverSeconds = ({ durationSeconds, retrySeconds }: LeaseTimes): number =>
  durationSeconds + retrySeconds;

/** What a leader that could not renew may take to stop: a second less than others wait. */
export const graceSeconds = ({ durationSeconds, renewSeconds }: LeaseTimes): number =>
  durationSeconds - renewSeconds - 1;
