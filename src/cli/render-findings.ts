/** What a doctor found, one line a check. Pure. */
import { hasFault, type Finding, type Level } from '../rollback/diagnosis.ts';
import type { Screen } from './output.ts';
import { count, wrap, type Style } from './text.ts';

const marks: Readonly<Record<Level, readonly [mark: string, style: Style]>> = {
  ok: ['✓', 'green'],
  warning: ['!', 'yellow'],
  fault: ['✗', 'red'],
  skipped: ['–', 'dim'],
};

export function renderFindings(
  name: string,
  findings: readonly Finding[],
  { screen, say }: { readonly screen: Screen; readonly say: (message: string) => string },
): string {
  const { paint, width } = screen;
  const labelWidth = Math.max(...findings.map(({ check }) => check.length));
  const indent = ' '.repeat(labelWidth + 7);
  const lines = findings.map(({ check, level, message }) => {
    const [mark, style] = marks[level];
    const text = wrap(say(message), indent, width).slice(indent.length);
    return `  ${paint(style, mark)} ${paint('bold', check.padEnd(labelWidth))}   ${level === 'ok' || level === 'skipped' ? paint('dim', text) : text}`;
  });
  const faults = findings.filter(({ level }) => level === 'fault').length;
  return [...lines, '', verdict()].join('\n');

  function verdict(): string {
    if (hasFault(findings)) return paint('red', `✗ ${name}: a rollback would fail, for ${count(faults, 'fault')}`);
    return findings.some(({ level }) => level === 'warning')
      ? paint(
          'yellow',
          `! ${name}: what is declared finds all that it needs; what is marked ! stands in the way of more`,
        )
      : paint('green', `✓ ${name}: a rollback finds all that it needs`);
  }
}
