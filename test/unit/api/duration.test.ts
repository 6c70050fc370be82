import { describe, expect, test } from '@jest/globals';
import { seconds } from '../../../src/api/duration.ts';

describe('a duration', () => {
  test.each([
    ['0s', 0],
    ['90s', 90],
    ['5m', 300],
    ['1h30m', 5400],
    ['24h', 86_400],
    ['7d', 604_800],
    ['1d1h1m1s', 90_061],
  ])('%s has %d seconds', (text, expected) => expect(seconds(text)).toBe(expected));

  test.each(['', '5', 'm', '-5m', '5 m', '1.5h', '5M', '5m ', '12345678s'])('%j is none', (text) => {
    expect(() => seconds(text)).toThrow('is not a duration: write e.g. 30s');
  });

  test('the longest one still leads to a date', () => {
    expect(new Date(Date.now() + seconds('9999999d9999999d') * 1000).getTime()).not.toBeNaN();
  });
});
