import { describe, expect, test } from '@jest/globals';
import { lead, type Led } from '../../../src/controller/election.ts';
import type { LeaseRecord, LeaseStore, StoredLease } from '../../../src/rollback/ports.ts';
import { fakeTime, settle, type FakeTime } from './fake-time.ts';

/**
 * A Lease in memory, so that time can be turned by hand: the arithmetic of who leads when, to the millisecond. Real
 * controllers on a real API server are in test/production/leader-election.test.ts.
 */
function memoryLease() {
  let stored: StoredLease | null = null;
  let version = 0;
  let isCut: (identity: string) => boolean = () => false;
  const requests: string[] = [];
  const storeOf = (identity: string): LeaseStore => {
    const answer = <T>(what: string, value: () => T): Promise<T> => {
      requests.push(`${identity} ${what}`);
      return isCut(identity) ? new Promise<T>(() => {}) : Promise.resolve(value());
    };
    return {
      name: 'n/l',
      read: () => answer('read', () => stored),
      write: (record: LeaseRecord, before) =>
        answer('write', () => {
          if ((stored?.version ?? null) !== before) return null;
          version += 1;
          stored = { ...record, version: String(version) };
          return stored;
        }),
      record: () => Promise.resolve(),
    };
  };
  return {
    storeOf,
    requests,
    get holder() {
      return stored?.holder ?? null;
    },
    cut: (identity: string) => {
      isCut = (one) => one === identity;
    },
    /** null: it is deleted. */
    give: (holder: string | null) => {
      version += 1;
      stored = stored === null || holder === null ? null : { ...stored, holder, version: String(version) };
    },
  };
}

/** A controller whose work stops when it is told to, unless `goesOn`. */
function candidate(
  time: FakeTime,
  store: LeaseStore,
  identity: string,
  { goesOn = false, mayRelease = true }: { readonly goesOn?: boolean; readonly mayRelease?: boolean } = {},
) {
  const stop = new AbortController();
  const problems: unknown[] = [];
  const waited: string[] = [];
  let ledFrom: number | null = null;
  let stoppedAt: number | null = null;
  let result: Led<string> | null = null;
  let endedAt: number | null = null;
  const over = lead<string>(
    {
      store,
      identity,
      clock: { now: () => new Date(time.now()) },
      onWaiting: (holder) => waited.push(holder),
      onProblem: (problem) => problems.push(problem),
      timers: time,
    },
    stop.signal,
    {
      run: (signal) => {
        ledFrom = time.now();
        return new Promise((resolve) => {
          const end = (): void => {
            stoppedAt = time.now();
            if (!goesOn) resolve('done');
          };
          if (signal.aborted) end();
          signal.addEventListener('abort', end, { once: true });
        });
      },
      mayRelease: () => mayRelease,
    },
  );
  void (async () => {
    result = await over;
    endedAt = time.now();
  })();
  return {
    stop: () => stop.abort(),
    waited,
    problems,
    state: () => ({ ledFrom, stoppedAt, result, endedAt }),
  };
}

async function twoOf(options: Parameters<typeof candidate>[3] = {}) {
  const time = fakeTime();
  const lease = memoryLease();
  const a = candidate(time, lease.storeOf('a'), 'a', options);
  await settle();
  const b = candidate(time, lease.storeOf('b'), 'b');
  await time.advance(60_000);
  return { time, lease, a, b };
}

describe('of two candidates', () => {
  test('one leads and the other stands by, as long as the first renews', async () => {
    const { lease, a, b } = await twoOf();
    expect([a.state().ledFrom, b.state().ledFrom, lease.holder]).toEqual([0, null, 'a']);
    expect(b.waited).toEqual(['a']);
  });

  test('each makes one request in two seconds', async () => {
    const { time, lease } = await twoOf();
    lease.requests.length = 0;
    await time.advance(20_000);
    expect(lease.requests.filter((one) => one === 'a write')).toHaveLength(10);
    expect(lease.requests.filter((one) => one === 'b read')).toHaveLength(10);
    expect(lease.requests).toHaveLength(20);
  });

  test('the second leads at once where the first stops and releases', async () => {
    const { time, a, b } = await twoOf();
    a.stop();
    await time.advance(2_000);
    expect(a.state()).toMatchObject({ result: { kind: 'ended', value: 'done' }, endedAt: 60_000 });
    expect(b.state().ledFrom).toBeLessThanOrEqual(62_000);
  });

  test('the second waits for the Lease to run out where work of the first goes on', async () => {
    const { time, lease, a, b } = await twoOf({ mayRelease: false });
    a.stop();
    await time.advance(14_000);
    expect([b.state().ledFrom, lease.holder]).toEqual([null, 'a']);
    await time.advance(3_000);
    expect(b.state().ledFrom).not.toBeNull();
  });

  test('one that can no longer renew stops, and has ended before the other begins, within 17 s', async () => {
    const { time, lease, a, b } = await twoOf();
    lease.cut('a');
    await time.advance(20_000);
    const [first, second] = [a.state(), b.state()];
    expect(first.result).toEqual({ kind: 'lost' });
    // The last renewal was at 60 s.
    expect(first.stoppedAt).toBe(70_000);
    expect(second.ledFrom).toBeGreaterThan(first.endedAt ?? Infinity);
    expect(second.ledFrom).toBeLessThanOrEqual(77_000);
  });

  test('one whose work does not stop gives up on it before the other begins', async () => {
    const { time, lease, a, b } = await twoOf({ goesOn: true });
    lease.cut('a');
    await time.advance(20_000);
    const [first, second] = [a.state(), b.state()];
    expect(first).toMatchObject({ result: { kind: 'lost' }, endedAt: 74_000 });
    expect(second.ledFrom).toBeGreaterThanOrEqual(75_000);
  });

  test('one that finds the Lease in the other’s hands stops at once', async () => {
    const { time, lease, a } = await twoOf();
    lease.give('b');
    await time.advance(2_000);
    expect(a.state()).toMatchObject({ result: { kind: 'lost' }, stoppedAt: 62_000 });
    expect(lease.holder).toBe('b');
  });

  test('one makes the Lease again where somebody deleted it', async () => {
    const { time, lease, a, b } = await twoOf();
    lease.give(null);
    await time.advance(60_000);
    expect([a.state().stoppedAt, b.state().ledFrom, lease.holder]).toEqual([null, null, 'a']);
  });

  test('one that is told to stop while it stands by never leads, and leaves the Lease alone', async () => {
    const { time, lease, a, b } = await twoOf();
    b.stop();
    await time.advance(0);
    expect(b.state()).toMatchObject({ result: { kind: 'stoodBy' }, ledFrom: null });
    a.stop();
    await time.advance(60_000);
    expect(lease.holder).toBe('');
    expect(time.pending).toBe(0);
  });
});

test('a try that fails is told, and changes nothing as long as another goes through in time', async () => {
  const time = fakeTime();
  const lease = memoryLease();
  const store = lease.storeOf('a');
  let failures = 3;
  const flaky: LeaseStore = {
    ...store,
    write: (record, version) =>
      time.now() > 0 && failures-- > 0 ? Promise.reject(new Error('overloaded')) : store.write(record, version),
  };
  const a = candidate(time, flaky, 'a');
  await time.advance(60_000);
  expect(a.state()).toMatchObject({ ledFrom: 0, stoppedAt: null, result: null });
  expect(a.problems).toEqual([new Error('overloaded'), new Error('overloaded'), new Error('overloaded')]);
});

test('a claim that went through though its answer was lost is found to be one’s own', async () => {
  const time = fakeTime();
  const lease = memoryLease();
  const store = lease.storeOf('a');
  let isLost = true;
  const a = candidate(
    time,
    {
      ...store,
      async write(record, version) {
        const written = await store.write(record, version);
        if (isLost) {
          isLost = false;
          throw new Error('no answer');
        }
        return written;
      },
    },
    'a',
  );
  await time.advance(2_000);
  expect(a.state().ledFrom).toBe(2_000);
});
