/** Numbers, times and tables as people read them. Pure. */
import { commandInText } from './invocation.ts';

export { count, grouped } from '../rollback/numbers.ts';

/** How a piece of text looks on a terminal. */
export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'cyan';

/** Text with a style where the stream takes colours, as it is where not. */
export type Paint = (style: Style, text: string) => string;

/** Control and direction characters out of names, messages and files must not reach a terminal. */
export function printable(text: string): string {
  return text.replaceAll(
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
    '\u{fffd}',
  );
}

/** e.g. `12 ms`, `0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`, `4 d`. */
export function formatDuration(ms: number): string {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 0.095) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min${whole % 60 === 0 ? '' : ` ${whole % 60} s`}`;
  const minutes = Math.floor(whole / 60);
  if (whole < 86_400) return `${Math.floor(minutes / 60)} h${minutes % 60 === 0 ? '' : ` ${minutes % 60} min`}`;
  return `${Math.floor(whole / 86_400)} d`;
}

/** As kubectl's AGE: `12s`, `5m`, `3h`, `2d`. */
export function formatAge(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}

/** `5 min ago`, `in 23 h`; an instant that can't be read stays as it is. */
export function relativeTime(instant: string, now: Date): string {
  const ms = Date.parse(instant) - now.getTime();
  if (Number.isNaN(ms)) return printable(instant);
  const length = roundDuration(Math.abs(ms));
  return ms > 0 ? `in ${length}` : `${length} ago`;
}

/** e.g. `2026-11-23 08:10:32Z`. */
export const formatInstant = (instant: string): string =>
  Number.isNaN(Date.parse(instant))
    ? printable(instant)
    : new Date(instant)
        .toISOString()
        .replace('T', ' ')
        .replace(/\.\d+Z$/, 'Z');

/** One unit is enough for how long ago something was. */
function roundDuration(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'] as const;

/** Powers of 1000: `12.3 MB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 || value >= 99.5 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** A cell of a table; `style` does not count for its width. */
export type Cell = string | { readonly text: string; readonly style: Style };

/** Columns as wide as their widest cell, three blanks between, as kubectl's. The last one is not padded. */
export function formatTable(headings: readonly string[], rows: readonly (readonly Cell[])[], paint: Paint): string {
  const all: readonly (readonly Cell[])[] = [headings, ...rows];
  const widths = headings.map((_, column) => Math.max(...all.map((row) => plain(row[column]).length)));
  return all
    .map((row) =>
      row
        .map((cell, column) => {
          const text = plain(cell);
          const padding = column === headings.length - 1 ? '' : ' '.repeat((widths[column] ?? 0) - text.length + 3);
          return `${typeof cell === 'string' ? text : paint(cell.style, text)}${padding}`;
        })
        .join('')
        .trimEnd(),
    )
    .join('\n');
}

const plain = (cell: Cell | undefined): string =>
  printable(cell === undefined ? '' : typeof cell === 'string' ? cell : cell.text).replaceAll('\n', ' ');

/**
 * Words in lines of at most `width` characters, each begun with `indent`. A command is one word, since half of it could
 * not be copied, and so is a number with its unit. `width` null: no line is broken, as suits what is searched or parsed.
 */
export function wrap(text: string, indent: string, width: number | null): string {
  const paragraphs = printable(text).split('\n');
  return paragraphs
    .flatMap((paragraph) => (width === null ? [`${indent}${paragraph}`] : wrapLine(paragraph, indent, width)))
    .join('\n');
}

function wrapLine(text: string, indent: string, width: number): readonly string[] {
  const lines: string[] = [];
  let line = indent;
  for (const word of wordsOf(text)) {
    const isFirst = line === indent;
    if (!isFirst && line.length + 1 + word.length > width) {
      lines.push(line.trimEnd());
      line = `${indent}${word}`;
    } else {
      line += isFirst ? word : ` ${word}`;
    }
  }
  return [...lines, line];
}

/** No text that is printable holds it. */
const heldBlank = '\u0000';
const held = (text: string): string => text.replaceAll(' ', heldBlank);

/** e.g. `3.0 s`, `34 min ago`, `in 24 h`, `12 MB`. */
const measure = /(?<=^|[\s(])(?:in )?[\d.,]+ (?:ms|s|min|h|d|B|[kMGTP]B|%)(?: ago)?(?![\w/])/g;

const wordsOf = (text: string): readonly string[] =>
  text
    .replaceAll(commandInText, held)
    .replaceAll(measure, held)
    .split(' ')
    .map((word) => word.replaceAll(heldBlank, ' '));
