import { describe, expect, test } from '@jest/globals';
import {
  claimed,
  decide,
  graceSeconds,
  handOverSeconds,
  leaseTimes,
  released,
  sight,
  type Decision,
  type Sighting,
} from '../../../src/controller/lease.ts';
import type { StoredLease } from '../../../src/rollback/ports.ts';

const now = new Date('2026-01-31T12:00:00Z');
const earlier = new Date('2026-01-31T11:00:00Z');

const lease = (holder: string, version = '1', more: Partial<StoredLease> = {}): StoredLease => ({
  holder,
  durationSeconds: 15,
  acquiredAt: earlier,
  renewedAt: earlier,
  transitions: 3,
  version,
  ...more,
});

const waits = (untilMs: number): Decision => ({ kind: 'wait', holder: 'b', untilMs });
const claims: Decision = { kind: 'claim' };

interface Row {
  readonly what: string;
  readonly seen: StoredLease | null;
  readonly since: number;
  readonly at: number;
  readonly decision: Decision;
}

const rows: readonly Row[] = [
  { what: 'there is no Lease: it is made', seen: null, since: 0, at: 0, decision: claims },
  { what: 'nobody holds it: it is claimed at once', seen: lease(''), since: 1_000, at: 1_000, decision: claims },
  { what: 'it is held by this one: it is renewed', seen: lease('a'), since: 0, at: 60_000, decision: claims },
  { what: 'another holds it and was just seen', seen: lease('b'), since: 1_000, at: 1_000, decision: waits(16_000) },
  {
    what: 'another was silent for nearly as long',
    seen: lease('b'),
    since: 1_000,
    at: 15_999,
    decision: waits(16_000),
  },
  { what: 'another was silent for its duration', seen: lease('b'), since: 1_000, at: 16_000, decision: claims },
  {
    what: 'what counts is the duration that its holder wrote',
    seen: lease('b', '1', { durationSeconds: 60 }),
    since: 0,
    at: 16_000,
    decision: waits(60_000),
  },
  {
    what: 'a clock of the holder that is years ahead, or behind, says nothing',
    seen: lease('b', '1', { renewedAt: new Date('2001-01-01T00:00:00Z') }),
    since: 0,
    at: 5_000,
    decision: waits(15_000),
  },
];

describe('a candidate', () => {
  test.each(rows)('decides: $what', ({ seen, since, at, decision }) => {
    expect(decide({ lease: seen, since }, 'a', at)).toEqual(decision);
  });

  test.each([
    ['the same version, so its time goes on', lease('b', '1'), lease('b', '1'), 5],
    ['another version, so it was renewed', lease('b', '1'), lease('b', '2'), 9],
    ['nothing still', null, null, 5],
    ['nothing any more', lease('b', '1'), null, 9],
  ])('that looks again sees %s', (_, before, after, since) => {
    const sighting: Sighting = { lease: before, since: 5 };
    expect(sight(sighting, after, 9)).toEqual({ lease: after, since });
  });
});

describe('a Lease', () => {
  test.each([
    ['that is new was taken over from nobody', null, { acquiredAt: now, transitions: 0 }],
    ['that is renewed stays acquired when it was', lease('a'), { acquiredAt: earlier, transitions: 3 }],
    ['that is taken over counts that', lease('b'), { acquiredAt: now, transitions: 4 }],
    ['that was released counts that too', lease(''), { acquiredAt: now, transitions: 4 }],
  ])('%s', (_, before, expected) => {
    expect(claimed(before, 'a', now, leaseTimes)).toEqual({
      holder: 'a',
      durationSeconds: 15,
      renewedAt: now,
      ...expected,
    });
  });

  test('that is released is nobody’s', () => {
    expect(decide({ lease: { ...lease('a'), ...released(lease('a'), now) }, since: 0 }, 'b', 0)).toEqual(claims);
  });

  test('is handed over within 20 s, and its leader has stopped before', () => {
    expect(handOverSeconds(leaseTimes)).toBeLessThanOrEqual(20);
    expect(leaseTimes.renewSeconds + graceSeconds(leaseTimes)).toBeLessThan(leaseTimes.durationSeconds);
    // A try that is lost leaves time for others.
    expect(leaseTimes.retrySeconds * 3).toBeLessThan(leaseTimes.renewSeconds);
  });
});
