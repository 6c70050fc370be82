/** What came of an operation, in one block. Pure. */
import type { Outcome } from '../api/conditions.ts';
import type { MigrationTarget, TargetKey } from '../api/target.ts';
import { statusOf } from '../rollback/status.ts';
import type { Screen } from './output.ts';
import { formatDuration, printable, wrap, type Style } from './text.ts';

export interface OutcomeOptions {
  readonly screen: Screen;
  readonly tookMs: number;
  readonly say: (message: string) => string;
  readonly command: (rest: string) => string;
}

const marks: Readonly<Record<Outcome['kind'], readonly [mark: string, word: string, style: Style]>> = {
  ready: ['✓', 'Ready', 'green'],
  working: ['…', 'Working', 'cyan'],
  retrying: ['…', 'Retrying', 'yellow'],
  awaitingApproval: ['?', 'Waiting for an approval', 'yellow'],
  stalled: ['✗', 'Stalled', 'red'],
  suspended: ['–', 'Suspended', 'yellow'],
};

export function renderOutcome(
  key: TargetKey,
  outcome: Outcome,
  target: MigrationTarget,
  { screen, tookMs, say, command }: OutcomeOptions,
): string {
  const { paint, width } = screen;
  const [mark, word, style] = marks[outcome.kind];
  const reason = 'reason' in outcome ? ` ${outcome.reason}` : '';
  const ready = statusOf(target).conditions.find(({ type }) => type === 'Ready');
  // What was asked for is done, and the database is not where it is declared: a restore of another revision, say.
  const isElsewhere = outcome.kind === 'ready' && ready !== undefined && ready.status !== 'True';
  const lines = [
    `${paint(style, mark)} ${paint('bold', key.name)}   ${paint(style, `${isElsewhere ? 'Done' : word}${reason}`)}   ${paint('dim', formatDuration(tookMs))}`,
    wrap(say(outcome.message), '  ', width),
  ];
  if (isElsewhere) lines.push(paint('yellow', wrap(say(`Not ready, ${ready.reason}: ${ready.message}`), '  ', width)));
  const entry = statusOf(target).history[0];
  if (entry !== undefined && entry.report !== null && entry.message === outcome.message) {
    lines.push(paint('dim', `  report   ${printable(entry.report)}`));
  }
  lines.push(paint('dim', `  next     ${command(`status ${key.name}`)}`));
  return `${lines.join('\n')}\n`;
}
