import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { stalled } from '../../rollback/errors.ts';
import { PlainDumpScanner } from './plain-dump-scanner.ts';

/**
 * Looks through a plain `.sql` dump. Throws BackupInvalid, naming the line, for whatever would make psql do more than
 * fill the database that it is connected to, and for a file that ends too early.
 */
export async function scanPlainDump(path: string): Promise<{ readonly bytes: number }> {
  let bytes = 0;
  for await (const chunk of vettedLines(path)) bytes += chunk.length;
  if (bytes === 0) throw stalled('BackupInvalid', `${path} is empty. Take another: migration-target backups`);
  return { bytes };
}

/** The file again, as a stream of lines each of which was vetted. */
export function plainDumpLines(path: string, onBytes: (done: number) => void): Readable {
  let bytes = 0;
  return Readable.from(
    (async function* () {
      for await (const chunk of vettedLines(path)) {
        bytes += chunk.length;
        onBytes(bytes);
        yield chunk;
      }
    })(),
    { objectMode: false },
  );
}

async function* vettedLines(path: string): AsyncGenerator<Buffer> {
  const found = await stat(path).catch((error: unknown) => {
    throw stalled(
      'BackupInvalid',
      `${path} can't be read: ${String(error)}. Take another: migration-target backups`,
      error,
    );
  });
  if (!found.isFile()) throw stalled('BackupInvalid', `${path} is no file. Take another: migration-target backups`);
  const scanner = new PlainDumpScanner();
  const vet = (lines: Buffer): Buffer => {
    // Every byte as one character: in the encodings let through no part of a longer character looks like ASCII.
    for (const line of lines.toString('latin1').split('\n')) scanner.line(line);
    return lines;
  };
  try {
    let rest: Buffer = Buffer.alloc(0);
    for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>) {
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
        `${path}: ${error.message}. Mend the file, or take another: migration-target backups`,
        error,
      );
    throw error;
  }
}
