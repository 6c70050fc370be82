/** A dump that no disk holds: it comes and goes as a stream. */
import { describe, expect, test } from '@jest/globals';

import { retry } from '../../../src/rollback/errors.ts';
import type { DumpSink, DumpStream } from '../../../src/rollback/ports.ts';
import { contentChecksum, createDatabase, databaseUrl, majors, query } from '../../support/postgres.ts';
import { failureOf, open, silent } from './open.ts';

/** Keeps what it is given in the memory; `onChunk` hears of each piece. */
function memory(onChunk: (bytes: number) => void = () => undefined): DumpSink & { readonly attempts: string[] } {
  const attempts: string[] = [];
  return {
    kind: 'stream',
    attempts,
    write: async (file, content) => {
      const chunks: Uint8Array[] = [];
      try {
        for await (const chunk of content) {
          chunks.push(chunk);
          onChunk(chunk.length);
        }
      } catch (error) {
        attempts.push(`${file} was cut short`);
        throw error;
      }
      attempts.push(`${file} is whole`);
      return streamOf(Buffer.concat(chunks));
    },
  };
}

const streamOf = (bytes: Buffer): DumpStream => ({
  kind: 'stream',
  name: 'memory',
  read: async () => ({
    bytes: bytes.length,
    content: (async function* () {
      for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
    })(),
  }),
});

const rows = `CREATE TABLE t AS SELECT g AS id, md5(g::text) AS text FROM generate_series(1, 50000) g;
  ALTER TABLE t ADD PRIMARY KEY (id)`;

describe.each(majors)('PostgreSQL %i: a streamed dump', (major) => {
  test('is restored whole, and its schema alone', async () => {
    await using database = await createDatabase(major, { sql: rows });
    await using live = await open(database);
    const sink = memory();
    const dump = await live.dump(sink, silent);
    expect(dump.format).toBe('custom');
    expect(sink.attempts.at(-1)).toBe('database.dump is whole');

    const [whole, bare] = [await live.newDatabase('restored', 'whole'), await live.newDatabase('restored', 'bare')];
    for (const [into, schemaOnly] of [
      [whole, false],
      [bare, true],
    ] as const) {
      await live.createDatabase(into, dump.properties);
      await live.restoreInto(into, { ...dump, schemaOnly }, silent);
    }
    expect(await contentChecksum(databaseUrl(database.adminUrl, { database: whole.name }))).toBe(
      await contentChecksum(database.adminUrl),
    );
    const url = databaseUrl(database.adminUrl, { database: bare.name });
    expect(await query(url, 'SELECT count(*)::int AS n FROM t')).toEqual([{ n: 0 }]);
  });
});

test('a dump that is ended half-way is not taken for a whole one', async () => {
  await using database = await createDatabase(16, {
    sql: `CREATE TABLE t AS SELECT g, md5(random()::text || g) FROM generate_series(1, 500000) g`,
  });
  await using live = await open(database);
  const stopping = new AbortController();
  const sink = memory(() => stopping.abort());
  expect(await failureOf(live.dump(sink, silent, stopping.signal))).toMatchObject({ reason: 'OperationInterrupted' });
  expect(sink.attempts).toEqual(['database.dump was cut short']);
});

test('a failure of what it goes to, or comes from, is told as such', async () => {
  await using database = await createDatabase(16, { sql: rows });
  await using live = await open(database);
  const full = new Error('the bucket is full');
  const sink: DumpSink = { kind: 'stream', write: () => Promise.reject(full) };
  await expect(live.dump(sink, silent)).rejects.toBe(full);

  const dump = await live.dump(memory(), silent);
  const lost = retry('StorageUnavailable', 'the bucket is gone');
  const place: DumpStream = {
    ...streamOf(Buffer.alloc(0)),
    read: async () => ({
      bytes: 100,
      content: (async function* (): AsyncGenerator<Uint8Array> {
        yield Buffer.from('PGDMP');
        throw lost;
      })(),
    }),
  };
  const into = await live.newDatabase('restored', 'lost');
  await live.createDatabase(into, dump.properties);
  await expect(live.restoreInto(into, { ...dump, place }, silent)).rejects.toBe(lost);
});
