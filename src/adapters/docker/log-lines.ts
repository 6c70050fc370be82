/** The lines of a container's log, as the engine gives it: with a header for each chunk where it has no terminal. Pure. */
import { shownLines } from '../log-lines.ts';

const headerBytes = 8;

export const linesOf = (raw: Buffer, isTerminal: boolean): readonly string[] =>
  shownLines((isTerminal ? raw : withoutHeaders(raw)).toString('utf8'));

function withoutHeaders(raw: Buffer): Buffer {
  const chunks: Buffer[] = [];
  for (let at = 0; at + headerBytes <= raw.length;) {
    const length = raw.readUInt32BE(at + 4);
    chunks.push(raw.subarray(at + headerBytes, at + headerBytes + length));
    at += headerBytes + length;
  }
  return Buffer.concat(chunks);
}
