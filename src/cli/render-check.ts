/** What checking new migrations found, for people, pull requests and programs. Pure. */
import { lockRemark, type CheckFinding, type CheckLevel, type TableLock } from '../rollback/check-findings.ts';
import type { Checked, CheckedRevision } from '../rollback/check-migrations.ts';
import { formatHeads } from '../rollback/graph.ts';
import type { Screen } from './output.ts';
import { count, formatDuration, printable, wrap, type Style } from './text.ts';

const severity: readonly CheckLevel[] = ['note', 'warning', 'error'];
const marks: Readonly<Record<CheckLevel, readonly [mark: string, style: Style]>> = {
  error: ['✗', 'red'],
  warning: ['!', 'yellow'],
  note: ['·', 'dim'],
};

/** Whether anything found is as grave as that. */
export const failsWith = ({ revisions }: Checked, level: CheckLevel): boolean =>
  revisions.some(({ findings }) =>
    findings.some((finding) => severity.indexOf(finding.level) >= severity.indexOf(level)),
  );

/** As `-o json` gives it. */
export const checkObject = (checked: Checked, fails: boolean): Readonly<Record<string, unknown>> => ({
  ok: !fails,
  ...checked,
});

const numberOf = ({ revisions }: Checked, level: CheckLevel): number =>
  revisions.flatMap(({ findings }) => findings).filter((finding) => finding.level === level).length;

function summary(checked: Checked): string {
  const { revisions, notChecked, since, hasSample } = checked;
  if (revisions.length === 0) return `no migration is new since ${formatHeads(since)}`;
  const parts = [
    count(revisions.length, 'migration'),
    count(numberOf(checked, 'error'), 'error'),
    count(numberOf(checked, 'warning'), 'warning'),
    ...(notChecked.length === 0 ? [] : [`${notChecked.length} not come to`]),
    hasSample ? 'with a data sample' : 'without a data sample',
  ];
  return parts.join(', ');
}

const placeOf = ({ file, line }: CheckFinding): string => (line === null ? file : `${file}:${line}`);

function times({ ms }: CheckedRevision): string {
  const told = (direction: string, value: number | null): readonly string[] =>
    value === null ? [] : [`${direction} ${formatDuration(value)}`];
  return [...told('up', ms.up), ...told('down', ms.down), ...told('up again', ms.again)].join(', ');
}

export function renderCheck(checked: Checked, fails: boolean, { paint, width }: Screen): string {
  const lines = checked.revisions.flatMap((revision) => {
    const { id, message, findings, locks } = revision;
    const isWell = !findings.some(({ level }) => level !== 'note');
    const [mark, style] = isWell ? (['✓', 'green'] as const) : marks[worst(findings)];
    const found = findings.map((finding) => {
      const [of, how] = marks[finding.level];
      return `    ${paint(how, of)} ${wrap(`${finding.message}  (${placeOf(finding)})`, '      ', width).trimStart()}`;
    });
    return [
      `${paint(style, mark)} ${paint('bold', printable(id))}  ${printable(message)}   ${paint('dim', times(revision))}`.trimEnd(),
      ...found,
      ...locks.map((lock) => `    ${paint('dim', lockText(lock))}`),
    ];
  });
  const skipped = checked.notChecked.length === 0 ? [] : [`– not checked: ${checked.notChecked.join(', ')}`];
  const cleared =
    checked.cleared.length === 0 ? [] : [`· dropped what a killed run had left: ${checked.cleared.join(', ')}`];
  const verdict = fails ? paint('red', `✗ ${summary(checked)}`) : paint('green', `✓ ${summary(checked)}`);
  return [...cleared, ...lines, ...skipped, ...(lines.length === 0 ? [] : ['']), verdict].join('\n');
}

const worst = (findings: readonly CheckFinding[]): CheckLevel =>
  severity[Math.max(...findings.map(({ level }) => severity.indexOf(level)))] ?? 'note';

const lockText = ({ table, mode }: TableLock): string => {
  const remark = lockRemark(mode);
  return `lock ${mode} on ${printable(table)}${remark === null ? '' : `: ${remark}`}`;
};

const cell = (text: string): string => printable(text).replaceAll('|', '\\|').replaceAll('\n', ' ');
const words: Readonly<Record<CheckLevel, string>> = { error: '❌ error', warning: '⚠️ warning', note: 'note' };

export function checkMarkdown(checked: Checked, fails: boolean): string {
  const { revisions, notChecked, server, since } = checked;
  const blocks = revisions.map((revision) => {
    const { id, message, findings, locks } = revision;
    const heading = `### \`${cell(id)}\` ${cell(message)}`;
    const table =
      findings.length === 0
        ? ['Up, down and up again, and nothing to say.']
        : [
            '| | what | where |',
            '|---|---|---|',
            ...findings.map(
              (finding) => `| ${words[finding.level]} | ${cell(finding.message)} | \`${cell(placeOf(finding))}\` |`,
            ),
          ];
    const held =
      locks.length === 0
        ? []
        : [
            '',
            '| lock held by upgrade() | table | rows in the sample | |',
            '|---|---|---:|---|',
            ...locks.map(
              ({ table: on, mode, rows }) =>
                `| ${mode} | \`${cell(on)}\` | ${rows} | ${lockRemark(mode) ?? 'others read and write on'} |`,
            ),
          ];
    return [heading, '', ...table, ...held, '', times(revision)].join('\n').trimEnd();
  });
  const left = notChecked.length === 0 ? [] : [`Not checked, since one before failed: ${notChecked.join(', ')}.`];
  const title = `## ${fails ? '❌' : '✅'} Migrations: ${summary(checked)}`;
  const about = `New since ${formatHeads(since)}, on PostgreSQL ${server.version}.`;
  return `${[title, about, ...blocks, ...left].join('\n\n')}\n`;
}
