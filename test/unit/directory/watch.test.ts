import { expect, test } from '@jest/globals';
import { defaultWatch, noticedWithinMs, watchSight, type Sight } from '../../../src/adapters/directory/watch.ts';

test('what the kernel says nothing of, as of a mount, is seen by the next look', async () => {
  const abort = new AbortController();
  let looks = 0;
  const look = async (): Promise<Sight> => {
    looks += 1;
    // It changes once, just after the second look.
    return new Map([['default/a', looks <= 2 ? 'before' : 'after']]);
  };
  const seenAt: number[] = [];
  const seen = new Promise<void>((resolve) => {
    const onChange = (): void => {
      seenAt.push(looks);
      if (seenAt.length === 2) resolve();
    };
    void watchSight([], look, onChange, () => undefined, abort.signal, { pollMs: 1, gatherMs: 1 });
  });
  await seen;
  abort.abort();
  expect(seenAt).toEqual([1, 3]);
});

test('looks so often that a look, and the gathering before it, fit in the time within which a change is told', () => {
  const { pollMs, gatherMs } = defaultWatch;
  // As much time again for the look itself.
  expect(pollMs + gatherMs).toBeLessThan(noticedWithinMs);
  expect(noticedWithinMs - pollMs).toBeGreaterThanOrEqual(pollMs);
});
