import { StringDecoder } from 'node:string_decoder';

/** Cuts a stream of bytes into lines, each at most `longest` characters; the rest of a longer one is dropped. */
export function lineSplitter(
  longest: number,
  onLine: (line: string) => void,
): { push(chunk: Buffer): void; end(): void } {
  const decoder = new StringDecoder('utf8');
  let pending = '';
  const take = (text: string): void => {
    const lines = text.split('\n');
    const last = lines.pop() ?? '';
    for (const line of lines) {
      onLine((pending + line).slice(0, longest).replace(/\r$/, ''));
      pending = '';
    }
    pending = (pending + last).slice(0, longest);
  };
  return {
    push: (chunk) => {
      take(decoder.write(chunk));
    },
    end: () => {
      take(decoder.end());
      if (pending !== '') onLine(pending);
      pending = '';
    },
  };
}
