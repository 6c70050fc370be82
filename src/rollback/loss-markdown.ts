/** What would be lost, or was, in Markdown: for reports, and for a comment on a pull request. Pure. */
import { describeTableLoss } from './gate.ts';
import type { Rehearsal } from './model.ts';
import { count } from './numbers.ts';

/** As one cell of a table. */
export const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');

/** A table that a pull request's comment can hold. */
export function lossMarkdown({
  loss,
  objectsGone,
  moreObjects,
}: Pick<Rehearsal, 'loss' | 'objectsGone' | 'moreObjects'>): readonly string[] {
  const lines: string[] = [];
  if (loss === null) lines.push('**What would be lost is not known:** it could not be measured.');
  else if (loss.tables.length === 0) lines.push('**Loses nothing**: measured on a copy, table by table.');
  else {
    const total = loss.rows === null ? 'an unknown number of rows' : count(loss.rows, 'row');
    lines.push(
      `**Loses data: ${total} in ${count(loss.tables.length + loss.moreTables, 'table')}**, measured on a copy.`,
      '',
    );
    lines.push('| table | rows | what goes |', '|---|---:|---|');
    lines.push(
      ...loss.tables.map(
        (table) => `| \`${cell(table.table)}\` | ${table.rowsBefore} | ${cell(describeTableLoss(table))} |`,
      ),
    );
    if (loss.moreTables > 0) lines.push('', `And ${count(loss.moreTables, 'more table')}.`);
  }
  if (objectsGone.length > 0) {
    lines.push('', 'Besides data:', '', ...objectsGone.map((line) => `- \`${cell(line).replaceAll('`', "'")}\``));
    if (moreObjects > 0) lines.push(`- and ${count(moreObjects, 'more object')}`);
  }
  return lines;
}
