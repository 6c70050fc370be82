import { PassThrough, Readable } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';

import { expect, test } from '@jest/globals';

import { demultiplex } from '../../../src/adapters/docker/demultiplex.ts';

function piece(stream: 1 | 2, content: string | Buffer): Buffer {
  const header = Buffer.alloc(8);
  header[0] = stream;
  header.writeUInt32BE(Buffer.byteLength(content), 4);
  return Buffer.concat([header, Buffer.from(content)]);
}

const mixed = Buffer.concat([piece(1, 'one '), piece(2, 'warning'), piece(1, ''), piece(1, 'two'), piece(2, '!')]);

test.each([1, 3, 7, 8, 9, 1000])('both streams are told apart, in chunks of %i bytes', async (size) => {
  const chunks = Array.from({ length: Math.ceil(mixed.length / size) }, (_, at) =>
    mixed.subarray(at * size, (at + 1) * size),
  );
  const { stdout, stderr, ended } = demultiplex(Readable.from(chunks));
  expect(await Promise.all([text(stdout), text(stderr)])).toEqual(['one two', 'warning!']);
  await ended;
});

test('nothing more is read than is taken', async () => {
  let sent = 0;
  const endless = Readable.from(
    (function* () {
      for (; sent < 10_000; sent += 1) yield piece(1, Buffer.alloc(64 * 1024));
    })(),
  );
  const { stdout } = demultiplex(endless);
  const into = new PassThrough();
  stdout.pipe(into);
  await new Promise((resolve) => setImmediate(resolve));
  expect(sent).toBeLessThan(100);
  endless.destroy();
});

test('a connection that is cut ends both with what had come', async () => {
  const connection = new PassThrough();
  const { stdout, stderr, ended } = demultiplex(connection);
  connection.write(mixed.subarray(0, 10));
  setImmediate(() => connection.destroy(new Error('ECONNRESET')));
  expect(await Promise.all([buffer(stdout), text(stderr)])).toEqual([Buffer.from('on'), '']);
  await ended;
});
