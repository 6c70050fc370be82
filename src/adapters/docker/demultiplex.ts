/** Docker sends stdout and stderr over one connection: pieces, each after a header of eight bytes. */
import { once } from 'node:events';
import { PassThrough, type Readable } from 'node:stream';

const headerBytes = 8;
const stderrMark = 2;

export interface Demultiplexed {
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Resolves when the connection has ended, which the two then have too; never rejects. */
  readonly ended: Promise<void>;
}

/** Reads on only as fast as both are read: a dump is larger than our memory. */
export function demultiplex(connection: Readable): Demultiplexed {
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  const ended = (async () => {
    // Where the connection is cut, whoever runs something over it asks the engine what became of that.
    await distribute(connection, stdout, stderr).catch(() => undefined);
    stdout.end();
    stderr.end();
  })();
  return { stdout, stderr, ended };
}

async function distribute(connection: Readable, stdout: PassThrough, stderr: PassThrough): Promise<void> {
  let header = Buffer.alloc(0);
  let target = stdout;
  let left = 0;
  for await (const chunk of connection as AsyncIterable<Buffer>) {
    let rest = chunk;
    while (rest.length > 0) {
      if (left === 0) {
        const missing = headerBytes - header.length;
        header = Buffer.concat([header, rest.subarray(0, missing)]);
        rest = rest.subarray(missing);
        if (header.length < headerBytes) break;
        target = header[0] === stderrMark ? stderr : stdout;
        left = header.readUInt32BE(4);
        header = Buffer.alloc(0);
        continue;
      }
      const piece = rest.subarray(0, left);
      rest = rest.subarray(piece.length);
      left -= piece.length;
      if (!target.write(piece)) await Promise.race([once(target, 'drain'), once(target, 'close')]);
    }
  }
}
