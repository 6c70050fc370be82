import type { DataLoss, TableLoss } from '../../rollback/model.ts';
import { grouped } from '../../rollback/numbers.ts';
import { mostTablesTold } from '../../rollback/model.ts';

/** What was found of one table. */
export interface Judged {
  readonly loss: TableLoss;
  /** Rows that go, change, or have a value of a column that goes: each once. null: could not be told apart. */
  readonly rows: number | null;
}

const losesSomething = ({ loss, rows }: Judged): boolean =>
  loss.notCompared !== null || rows !== 0 || loss.columnsGone.length > 0;

/** What is not compared counts as lost. */
const weight = ({ loss, rows }: Judged): number => rows ?? loss.rowsBefore;

/** The tables that lose most, and the sum of all. */
export function sumUp(judged: readonly Judged[]): DataLoss {
  const losing = judged
    .filter(losesSomething)
    .toSorted((a, b) => weight(b) - weight(a) || (a.loss.table < b.loss.table ? -1 : 1));
  return {
    tables: losing.slice(0, mostTablesTold).map(({ loss }) => loss),
    moreTables: Math.max(0, losing.length - mostTablesTold),
    rows: losing.reduce<number | null>((sum, { rows }) => (sum === null || rows === null ? null : sum + rows), 0),
  };
}

/** Part of a sentence about a table of so many rows. */
export const tooManyRows = (differing: number, rows: number, mostRows: number): string =>
  differing === rows
    ? `it has ${grouped(rows)} rows, more than the ${grouped(mostRows)} that are compared one by one`
    : `up to ${grouped(differing)} of its ${grouped(rows)} rows differ, more than the ${grouped(mostRows)} that are compared one by one`;
