/** Where a command writes: data to stdout, everything that is only for eyes to stderr. */
import { styleText } from 'node:util';
import type { Paint } from './text.ts';

export const formats = ['json', 'yaml', 'wide', 'name'] as const;
export type Format = (typeof formats)[number];

/** A stream that people or programs read. */
export interface Screen {
  readonly write: (text: string) => void;
  readonly paint: Paint;
  /** Whether lines can be written over. */
  readonly isTerminal: boolean;
  /** Columns to wrap words at; null: no line is broken. */
  readonly width: number | null;
}

export interface Output {
  /** null: for people. */
  readonly format: Format | null;
  /** stdout: the answer. */
  readonly data: Screen;
  /** stderr: progress, questions, errors. */
  readonly notes: Screen;
}

/** What a command has to say, in every form that it may be asked for. */
export interface Answer {
  /** For `json` and `yaml`: plain data. */
  readonly object: unknown;
  /** For `name`: one a line. */
  readonly names: readonly string[];
  /** For people; `wide`: with more columns. */
  readonly text: (options: { readonly wide: boolean; readonly screen: Screen }) => string;
}

export async function answer(output: Output, { object, names, text }: Answer): Promise<void> {
  switch (output.format) {
    case 'json':
      return output.data.write(`${JSON.stringify(object, null, 2)}\n`);
    case 'yaml': {
      const { stringify } = await import('yaml');
      return output.data.write(stringify(object, { aliasDuplicateObjects: false }));
    }
    case 'name':
      return output.data.write(names.map((name) => `${name}\n`).join(''));
    case 'wide':
    case null: {
      const wide = output.format === 'wide';
      const written = text({ wide, screen: output.data });
      return output.data.write(written === '' || written.endsWith('\n') ? written : `${written}\n`);
    }
  }
}

/** Lines longer than this are hard to read, however wide the terminal. */
const widest = 110;

export function openScreen(stream: NodeJS.WriteStream, options: { readonly color: boolean }): Screen {
  const isTerminal = stream.isTTY && process.env['TERM'] !== 'dumb';
  const colored = isTerminal && options.color;
  return {
    write: (text) => void stream.write(text),
    paint: (style, text) => (colored ? styleText(style, text, { validateStream: false }) : text),
    isTerminal,
    width: isTerminal ? Math.min(stream.columns || 80, widest) : null,
  };
}
