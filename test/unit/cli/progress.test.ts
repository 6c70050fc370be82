import { expect, test } from '@jest/globals';

import type { Screen } from '../../../src/cli/output.ts';
import { showProgress } from '../../../src/cli/progress.ts';

function record(isTerminal: boolean) {
  const written: string[] = [];
  const screen: Screen = {
    write: (text) => void written.push(text),
    paint: (_, text) => text,
    isTerminal,
    width: isTerminal ? 80 : null,
  };
  let time = 0;
  const progress = showProgress({
    screen,
    now: () => time,
    describe: (revision) => (revision === 'a1' ? 'drop users' : null),
  });
  return { progress, text: () => written.join(''), wait: (ms: number) => void (time += ms) };
}

const down = { direction: 'down', revision: 'a1' } as const;

test('without a terminal each step is one line, written when it is over', () => {
  const { progress, text } = record(false);
  progress.observe({ kind: 'step', step: 'backup', state: 'started' });
  progress.observe({ kind: 'progress', step: 'backup', done: 1, total: 2, what: 'tables dumped' });
  expect(text()).toBe('');
  progress.observe({ kind: 'step', step: 'backup', state: 'finished', ms: 1234 });
  expect(text()).toBe('  ✓ backup      1.2 s   dumped, restored once, compared\n');
});

test('each migration is told with what it is about, its place among the others and how long it took', () => {
  const { progress, text } = record(false);
  progress.observe({ kind: 'step', step: 'change', state: 'started' });
  progress.observe({ kind: 'migration', event: { kind: 'started', step: down, index: 0, total: 2 } });
  progress.observe({ kind: 'migration', event: { kind: 'output', line: 'noise' } });
  progress.observe({ kind: 'migration', event: { kind: 'finished', step: down, index: 0, total: 2, ms: 400 } });
  expect(text()).toBe('      ↓ downgrade a1 (1 of 2)  drop users  0.4 s\n');
});

test('a step that failed is crossed out with its cause, and gets no tick afterwards', () => {
  const { progress, text } = record(false);
  progress.observe({ kind: 'step', step: 'change', state: 'started' });
  progress.observe({ kind: 'step', step: 'change', state: 'failed', message: 'relation "x" does not exist' });
  progress.observe({ kind: 'step', step: 'change', state: 'finished', ms: 5 });
  expect(text()).toBe('  ✗ change\n      relation "x" does not exist\n');
});

test('long work says now and then how far it is where lines can not be written over', () => {
  const { progress, text, wait } = record(false);
  progress.observe({ kind: 'step', step: 'restore', state: 'started' });
  wait(9_000);
  progress.observe({ kind: 'progress', step: 'restore', done: 1e6, total: 4e6, what: 'bytes' });
  expect(text()).toBe('');
  wait(2_000);
  progress.observe({ kind: 'progress', step: 'restore', done: 2e6, total: 4e6, what: 'bytes' });
  expect(text()).toBe('  … restore      11 s   restoring: 50 %, about 11 s left, 2.0 MB of 4.0 MB\n');
});

test('a backup tells its dump from the restore that tries it: two percentages, and a pace for each', () => {
  const { progress, text, wait } = record(false);
  const tell = (what: string) => progress.observe({ kind: 'progress', step: 'backup', done: 1, total: 2, what });
  progress.observe({ kind: 'step', step: 'backup', state: 'started' });
  tell('tables dumped');
  wait(60_000);
  tell('tables dumped');
  wait(20_000);
  tell('tables restored');
  wait(12_000);
  tell('tables restored');
  expect(text().split('\n')).toEqual([
    '  … backup      1 min   dumping: 50 %, about 1 min left, 1 of 2 tables dumped',
    '  … backup   1 min 20 s   trying the dump: 50 %, 1 of 2 tables restored',
    '  … backup   1 min 32 s   trying the dump: 50 %, about 12 s left, 1 of 2 tables restored',
    '',
  ]);
});

test('on a terminal the line of what is being done is written over, and nothing of it stays', () => {
  const { progress, text } = record(true);
  progress.observe({ kind: 'step', step: 'verify', state: 'started' });
  progress.observe({ kind: 'step', step: 'verify', state: 'finished', ms: 100 });
  progress.stop();
  const [shown, cleared, line] = text()
    .split(/(?<=\r\u001b\[2K)/)
    .slice(1);
  expect(shown).toContain('reading the database again');
  expect(shown).not.toContain('\n');
  expect(cleared).toBe('  ✓ verify      0.1 s   read again: revision, schema, rows, queries\n');
  expect(line).toBeUndefined();
});

test('a restore tells for how long it closed the database, and one that had nothing to do says that', () => {
  const { progress, text } = record(false);
  progress.observe({ kind: 'step', step: 'restore', state: 'started' });
  progress.observe({ kind: 'step', step: 'swap', state: 'finished', ms: 18 });
  progress.observe({ kind: 'step', step: 'restore', state: 'finished', ms: 900 });
  progress.observe({ kind: 'step', step: 'restore', state: 'started' });
  progress.observe({ kind: 'step', step: 'restore', state: 'finished', ms: 9, message: 'nothing had to be restored' });
  expect(text().split('\n')).toEqual([
    '      swapped in; closed to everybody for 18 ms',
    '  ✓ restore     0.9 s   restored into a new database, verified, swapped in',
    '  ✓ restore      9 ms   nothing had to be restored',
    '',
  ]);
});
