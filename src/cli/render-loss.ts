/** What would be lost, as people read it on a terminal before they approve it. Pure. */
import { describeTableLoss } from '../rollback/gate.ts';
import type { Rehearsal, TableLoss } from '../rollback/model.ts';
import type { Screen } from './output.ts';
import { count, formatDuration, formatTable, printable, wrap, type Cell, type Style } from './text.ts';

/** Tables that a terminal shows; `-o json` has all of them. */
const mostShown = 20;
const mostObjectsShown = 10;

export type Loss = NonNullable<Rehearsal['loss']>;

/** Red: rows or values go for good. Yellow: other values, or not known. */
const styleOf = ({ gone, rowsBefore, rowsGone, columnsGone }: TableLoss): Style =>
  (gone && rowsBefore > 0) || (rowsGone ?? 0) > 0 || columnsGone.length > 0 ? 'red' : 'yellow';

export function lossBlock(
  { loss, objectsGone, moreObjects }: Pick<Rehearsal, 'loss' | 'objectsGone' | 'moreObjects'>,
  { paint, width }: Screen,
): readonly string[] {
  const lines: string[] = [];
  if (loss === null)
    lines.push(`  ${paint('red', paint('bold', 'loses'))} nobody knows what: it could not be measured`);
  else if (loss.tables.length === 0)
    lines.push(`  ${paint('bold', 'loses nothing')}   measured on a copy, table by table`);
  else {
    const total = loss.rows === null ? 'an unknown number of rows' : count(loss.rows, 'row');
    lines.push(
      `  ${paint('red', paint('bold', 'loses data'))}: ${total} in ${count(loss.tables.length + loss.moreTables, 'table')}`,
    );
    const rows = loss.tables
      .slice(0, mostShown)
      .map((table): readonly Cell[] => [
        `    ${printable(table.table)}`,
        { text: printable(describeTableLoss(table)), style: styleOf(table) },
      ]);
    lines.push(formatTable(['', ''], rows, paint).split('\n').slice(1).join('\n'));
    const hidden = loss.tables.length + loss.moreTables - rows.length;
    if (hidden > 0) lines.push(`    and ${count(hidden, 'more table')}`);
  }
  if (objectsGone.length > 0) {
    lines.push(`  ${paint('bold', 'and besides data')}`);
    for (const line of objectsGone.slice(0, mostObjectsShown))
      lines.push(paint('yellow', wrap(printable(line), '    ', width)));
    const hidden = objectsGone.length + moreObjects - mostObjectsShown;
    if (hidden > 0) lines.push(`    and ${count(hidden, 'more object')}`);
  }
  return lines;
}

/** How long it took on the copy, which is about how long nobody can use what it changes. */
export function timesBlock(
  { stepMs, restoreMs, tookMs, wayBack, loss }: Rehearsal,
  { paint, width }: Screen,
): readonly string[] {
  const lines: string[] = [];
  if (stepMs.length > 0) {
    const all = stepMs.reduce((sum, ms) => sum + ms, 0);
    lines.push(
      `  ${paint('bold', 'takes')} about ${formatDuration(all)} on the database, as the migrations did on the copy, and what they lock is closed for that long; trying it took ${formatDuration(tookMs)}`,
    );
  }
  if (restoreMs !== null) {
    lines.push(
      `  ${paint('bold', 'takes')} about ${formatDuration(restoreMs)} to restore the backup beside the database, as it did on a copy; it is closed only while the names are swapped`,
    );
  }
  if (wayBack.kind === 'reversible') {
    const data = loss?.tables.length === 0 ? '' : '; the data does not come back';
    lines.push(
      `  ${paint('bold', 'reversible')}   there, back and there again the schema was what it should be${data}`,
    );
  }
  if (wayBack.kind === 'irreversible')
    lines.push(`  ${paint('yellow', paint('bold', 'not reversible'))}`, wrap(wayBack.because, '    ', width));
  return lines;
}
