import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { pipeline, Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { stalled } from '../../rollback/errors.ts';
import type { DumpPlace } from '../../rollback/ports.ts';
import { PlainDumpScanner } from './plain-dump-scanner.ts';

/**
 * Looks through a plain `.sql` dump. Throws BackupInvalid, naming the line, for whatever would make psql do more than
 * fill the database that it is connected to, and for a file that ends too early.
 */
export async function scanPlainDump(place: DumpPlace): Promise<{ readonly bytes: number }> {
  let bytes = 0;
  for await (const chunk of vettedLines(place)) bytes += chunk.length;
  if (bytes === 0) throw stalled('BackupInvalid', `${nameOf(place)} is empty. Take another: migration-target backups`);
  return { bytes };
}

/** The file again, as a stream of lines each of which was vetted. */
export function plainDumpLines(place: DumpPlace, onBytes: (done: number) => void): Readable {
  let bytes = 0;
  return Readable.from(
    (async function* () {
      for await (const chunk of vettedLines(place)) {
        bytes += chunk.length;
        onBytes(bytes);
        yield chunk;
      }
    })(),
    { objectMode: false },
  );
}

const nameOf = (place: DumpPlace): string => (place.kind === 'path' ? place.path : place.name);

async function openPlain(place: DumpPlace): Promise<AsyncIterable<Uint8Array>> {
  if (place.kind === 'stream') return (await place.read()).content;
  const { path } = place;
  const found = await stat(path).catch((error: unknown) => {
    throw stalled(
      'BackupInvalid',
      `${path} can't be read: ${String(error)}. Take another: migration-target backups`,
      error,
    );
  });
  if (!found.isFile()) throw stalled('BackupInvalid', `${path} is no file. Take another: migration-target backups`);
  return createReadStream(path, { highWaterMark: 1 << 20 }) as AsyncIterable<Uint8Array>;
}

async function* vettedLines(place: DumpPlace): AsyncGenerator<Buffer> {
  const name = nameOf(place);
  const content = await openPlain(place);
  const scanner = new PlainDumpScanner();
  const vet = (lines: Buffer): Buffer => {
    // Every byte as one character: in the encodings let through no part of a longer character looks like ASCII.
    for (const line of lines.toString('latin1').split('\n')) scanner.line(line);
    return lines;
  };
  try {
    let rest: Buffer = Buffer.alloc(0);
    for await (const chunk of await unpacked(content)) {
      if (rest.length > longestLine) throw new RangeError('it has a line that is longer than any row can be');
      const end = chunk.lastIndexOf(0x0a);
      if (end === -1) {
        rest = Buffer.concat([rest, chunk]);
        continue;
      }
      const lines = Buffer.concat([rest, chunk.subarray(0, end)]);
      rest = Buffer.from(chunk.subarray(end + 1));
      yield Buffer.concat([vet(lines), Buffer.from('\n')]);
    }
    if (rest.length > 0) yield vet(rest);
    scanner.end();
  } catch (error) {
    if (error instanceof RangeError)
      throw stalled(
        'BackupInvalid',
        `${name}: ${error.message}. Mend the file, or take another: migration-target backups`,
        error,
      );
    if (isDamagedGzip(error))
      throw stalled(
        'BackupInvalid',
        `${name} can't be unpacked (${error.message}): it was cut short or is damaged. Take another: migration-target backups`,
        error,
      );
    throw error;
  }
}

/** As much as can be looked at as one text. A small packed file may hold a line without end. */
const longestLine = 500 * 1024 * 1024;
const gzipMagic = Buffer.from([0x1f, 0x8b]);

/** The bytes themselves; those within where they are compressed by gzip. */
async function unpacked(content: AsyncIterable<Uint8Array>): Promise<AsyncIterable<Buffer>> {
  const packed = Readable.from(content, { objectMode: false });
  await once(packed, 'readable');
  const begin = packed.read(gzipMagic.length) as Buffer | null;
  if (begin !== null) packed.unshift(begin);
  if (begin?.equals(gzipMagic) !== true) return packed as AsyncIterable<Buffer>;
  // What is the matter with either is thrown by whoever reads.
  return pipeline(packed, createGunzip({ chunkSize: 1 << 20 }), () => undefined);
}

const isDamagedGzip = (error: unknown): error is Error =>
  error instanceof Error && 'code' in error && /^Z_(DATA|BUF)_ERROR$/.test(String(error.code));
