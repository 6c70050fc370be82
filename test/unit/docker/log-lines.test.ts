import { expect, test } from '@jest/globals';
import { linesOf } from '../../../src/adapters/docker/log-lines.ts';

/** As the engine sends it: the stream, three zeros, the length, the bytes. */
const piece = (stream: 1 | 2, text: string): Buffer => {
  const body = Buffer.from(text);
  const head = Buffer.alloc(8);
  head.writeUInt8(stream, 0);
  head.writeUInt32BE(body.length, 4);
  return Buffer.concat([head, body]);
};

test('pieces of both streams are put together before they are read as text: a character may be cut', () => {
  const text = Buffer.from('started ✓\n');
  const first = Buffer.concat([piece(1, ''), piece(1, text.subarray(0, 9).toString('latin1'))]);
  expect(linesOf(first, false)).toHaveLength(1);
  expect(linesOf(Buffer.concat([piece(1, 'one\ntw'), piece(1, 'o\r\n'), piece(2, 'ERROR: three\n')]), false)).toEqual([
    'one',
    'two',
    'ERROR: three',
  ]);
});

test('of a container with a terminal they come as they are; colours and empty lines go', () => {
  expect(linesOf(Buffer.from('\u001b[31mred\u001b[0m\r\n\r\nplain\r\n'), true)).toEqual(['red', 'plain']);
});

test('a line without an end is cut', () => {
  const [line = ''] = linesOf(Buffer.from('x'.repeat(5_000)), true);
  expect(line).toHaveLength(4_000);
  expect(line.endsWith(' …')).toBe(true);
});

test('what was cut off within a header or a piece is read as far as it came', () => {
  expect(linesOf(Buffer.concat([piece(1, 'whole\n'), piece(1, 'half of it').subarray(0, 12)]), false)).toEqual([
    'whole',
    'half',
  ]);
  expect(linesOf(Buffer.concat([piece(1, 'whole\n'), Buffer.alloc(5)]), false)).toEqual(['whole']);
});
