import { describe, expect, test } from '@jest/globals';
import { backoffMs, defaultBackoff } from '../../../src/controller/backoff.ts';
import { createQueue } from '../../../src/controller/queue.ts';

describe('the queue', () => {
  test('gives keys in the order in which they were added, each once', () => {
    const queue = createQueue<string>();
    expect([queue.add('a'), queue.add('b'), queue.add('a')]).toEqual([true, true, false]);
    expect(queue.depth).toBe(2);
    expect([queue.take(), queue.take(), queue.take()]).toEqual(['a', 'b', undefined]);
  });

  test('never gives a key that is being worked on, and gives it once more when it was added meanwhile', () => {
    const queue = createQueue<string>();
    queue.add('a');
    expect(queue.take()).toBe('a');
    expect([queue.add('a'), queue.add('a')]).toEqual([true, false]);
    expect(queue.take()).toBeUndefined();
    expect(queue.done('a')).toBe(true);
    expect(queue.take()).toBe('a');
    expect(queue.done('a')).toBe(false);
    expect(queue.take()).toBeUndefined();
  });
});

describe('the back-off', () => {
  test.each([
    // failures, random, milliseconds
    [1, 0, 500],
    [1, 1, 1_000],
    [2, 0, 1_000],
    [2, 1, 2_000],
    [5, 1, 16_000],
    [9, 1, 256_000],
    [10, 1, 300_000],
    [10, 0, 150_000],
    [1_000_000, 1, 300_000],
  ])('after %d failures, with %d drawn, waits %d ms', (failures, random, ms) => {
    expect(backoffMs(defaultBackoff, failures, random)).toBe(ms);
  });
});
