import { expect, test } from '@jest/globals';

import {
  count,
  formatAge,
  formatBytes,
  formatDuration,
  formatTable,
  printable,
  relativeTime,
  wrap,
} from '../../../src/cli/text.ts';

const plain = (_: string, text: string): string => text;

test.each([
  [0, '0 ms'],
  [12, '12 ms'],
  [400, '0.4 s'],
  [9_940, '9.9 s'],
  [59_400, '59 s'],
  [60_000, '1 min'],
  [185_000, '3 min 5 s'],
  [7_800_000, '2 h 10 min'],
  [345_600_000, '4 d'],
  [-5, '0 ms'],
])('a duration of %d ms reads %s', (ms, text) => {
  expect(formatDuration(ms)).toBe(text);
});

test.each([
  [0, '0 B'],
  [999, '999 B'],
  [1_000, '1.0 kB'],
  [12_345_678, '12.3 MB'],
  [999_999_999, '1.0 GB'],
  [120_000_000, '120 MB'],
])('%d bytes read %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});

test.each([
  [5_000, '5s'],
  [119_000, '119s'],
  [120_000, '2m'],
  [7_200_000, '2h'],
  [172_800_000, '2d'],
])('an age of %d ms reads %s, as in kubectl', (ms, text) => {
  expect(formatAge(ms)).toBe(text);
});

test('a time is told from now, before and after', () => {
  const now = new Date('2026-01-02T12:00:00Z');
  expect(relativeTime('2026-01-02T11:55:00Z', now)).toBe('5 min ago');
  expect(relativeTime('2026-01-03T11:00:00Z', now)).toBe('in 23 h');
  expect(relativeTime('whenever', now)).toBe('whenever');
});

test('escape sequences and direction marks out of names never reach the terminal', () => {
  expect(printable('a\u001b[31mb\u202ec\u0007')).toBe('a\u{fffd}[31mb\u{fffd}c\u{fffd}');
  expect(formatTable(['A'], [['x\u001b[2J']], plain)).toBe('A\nx\u{fffd}[2J');
  expect(wrap('a\u001bb', '', 80)).toBe('a\u{fffd}b');
});

test('columns are as wide as their widest cell, and colours do not count', () => {
  const paint = (_: string, text: string): string => `<${text}>`;
  expect(
    formatTable(['NAME', 'READY', 'REASON'], [['unicorn-db', { text: 'True', style: 'green' }, 'InSync']], paint),
  ).toBe('NAME         READY   REASON\nunicorn-db   <True>    InSync');
});

test('words are wrapped where there is a width, and never where there is none', () => {
  expect(wrap('one two three four', '  ', 12)).toBe('  one two\n  three four');
  expect(wrap('one two three four', '  ', null)).toBe('  one two three four');
  expect(wrap('averyverylongword b', '', 5)).toBe('averyverylongword\nb');
});

test.each([
  [
    'When that is mended: npx migration-target --dir .migration-target/demo reconcile unicorn-db. Or not.',
    'npx migration-target --dir .migration-target/demo reconcile unicorn-db.',
  ],
  ['See kubectl migration-target -n ops status u, or ask.', 'kubectl migration-target -n ops status u, or'],
  [
    'It is closed. Open it: ALTER DATABASE "a b" ALLOW_CONNECTIONS true; or',
    'ALTER DATABASE "a b" ALLOW_CONNECTIONS true;',
  ],
  [
    "Look at it: ls -la '/var/backups/one'; remove it: rm -r '/var/backups/one/two'",
    "remove it: rm -r '/var/backups/one/two'",
  ],
  ['Some of them (see: migration-target history unicorn) do', 'migration-target history unicorn) do'],
])('the command in "%s" is never broken, and stands on a line of its own where it is long', (message, line) => {
  expect(wrap(message, '', 44).split('\n')).toContain(line);
});

test.each([
  ['it took 3.0 s', 'it took\n3.0 s'],
  ['taken 34 min ago', 'taken\n34 min ago'],
  ['gone (in 24 h)', 'gone\n(in 24 h)'],
  ['it has 12 MB/s', 'it has 12\nMB/s'],
])('a number stays with its unit in "%s"', (message, wrapped) => {
  expect(wrap(message, '', 11)).toBe(wrapped);
});

test('a program that is only spoken of is wrapped as any word', () => {
  expect(wrap('this migration-target is a program', '', 20)).toBe('this\nmigration-target is\na program');
});

test('numbers are grouped by thousands', () => {
  const shown = [0, 1, 999, 1_000, 12_345, 999_999, 1_234_567].map((number) => count(number, 'row'));
  expect(shown).toEqual(['0 rows', '1 row', '999 rows', '1,000 rows', '12,345 rows', '999,999 rows', '1,234,567 rows']);
});
