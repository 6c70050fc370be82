/**
 * What a pipeline is told of a migration that was run up, down and up again where nothing is live: what fails, what does not
 * come back, what is lost, and what others would wait for. Pure.
 */
import { compareSchemas, describeDifference, isSame, type SchemaDifference } from './compare.ts';
import { describeLoss } from './gate.ts';
import { describe } from './migration-errors.ts';
import { count } from './numbers.ts';
import type { DataLoss, Revision, RowCounts, SchemaFacts } from './model.ts';
import type { HeldLock, MigrationError } from './ports.ts';
import { asPart } from './sentences.ts';

/** `error`: it can't be applied, or not be taken back. `warning`: it can, and something is not as it was. */
export type CheckLevel = 'error' | 'warning' | 'note';

export type CheckKind =
  | 'upFails'
  | 'downFails'
  | 'againFails'
  | 'passDowngrade'
  | 'irreversible'
  | 'losesData'
  | 'mayLoseData'
  | 'downgradeLosesData'
  | 'blocksOthers';

export interface CheckFinding {
  readonly level: CheckLevel;
  readonly kind: CheckKind;
  readonly message: string;
  /** Relative to the working directory. */
  readonly file: string;
  readonly line: number | null;
}

/** One run of one migration in one direction. */
export interface Ran {
  readonly ms: number;
  readonly error: MigrationError | null;
}

/** What was seen of one migration. */
export interface Seen {
  readonly revision: Revision;
  readonly up: Ran;
  /** null: not come to. */
  readonly down: Ran | null;
  readonly again: Ran | null;
  readonly before: SchemaFacts;
  readonly after: SchemaFacts | null;
  /** Once it was taken back. */
  readonly back: SchemaFacts | null;
  readonly afterAgain: SchemaFacts | null;
  /** Of the upgrade; of the downgrade against the state before it; of both against the state before either. */
  readonly loss: { readonly up: DataLoss | null; readonly down: DataLoss | null; readonly round: DataLoss | null };
  /** At the end of the upgrade, on tables that were there before. */
  readonly locks: readonly TableLock[];
  readonly hasSample: boolean;
}

export interface TableLock {
  readonly table: string;
  readonly mode: string;
  /** In the sample. */
  readonly rows: number;
}

/** Weakest first, as PostgreSQL orders them. */
const lockModes = [
  'AccessShareLock',
  'RowShareLock',
  'RowExclusiveLock',
  'ShareUpdateExclusiveLock',
  'ShareLock',
  'ShareRowExclusiveLock',
  'ExclusiveLock',
  'AccessExclusiveLock',
] as const;
const strengthOf = (mode: string): number => lockModes.findIndex((known) => known === mode);

/** What others may not do meanwhile; null: nothing that an application does. */
export function lockRemark(mode: string): string | null {
  if (mode === 'AccessExclusiveLock') return 'nobody reads or writes it until the migration has committed';
  if (mode === 'ExclusiveLock' || mode === 'ShareRowExclusiveLock' || mode === 'ShareLock')
    return 'nobody writes it until the migration has committed';
  return null;
}

/** The strongest lock on each table that was there before; what every statement takes is left out. */
export function tableLocks(
  held: readonly HeldLock[],
  tables: ReadonlyMap<number, string>,
  rows: RowCounts,
): readonly TableLock[] {
  const strongest = new Map<string, string>();
  for (const { relation, mode } of held) {
    const table = tables.get(relation);
    if (table === undefined || strengthOf(mode) < strengthOf('RowExclusiveLock')) continue;
    if (strengthOf(mode) > strengthOf(strongest.get(table) ?? '')) strongest.set(table, mode);
  }
  return [...strongest]
    .map(([table, mode]) => ({ table, mode, rows: rows[table] ?? 0 }))
    .toSorted((a, b) => strengthOf(b.mode) - strengthOf(a.mode) || (a.table < b.table ? -1 : 1));
}

export function findingsOf(seen: Seen): readonly CheckFinding[] {
  const { revision, up } = seen;
  const say = (level: CheckLevel, kind: CheckKind, message: string, line: number | null = null): CheckFinding => ({
    level,
    kind,
    message,
    file: revision.file,
    line,
  });
  if (up.error !== null) return [say('error', 'upFails', `upgrade() fails: ${textOf(up.error)}`, up.error.line)];
  return [...wayBack(seen, say), ...losses(seen, say), ...blocking(seen, say)];
}

type Say = (level: CheckLevel, kind: CheckKind, message: string, line?: number | null) => CheckFinding;

/** The step that fails is known from where it is told. */
const textOf = (error: MigrationError): string => asPart(describe({ ...error, step: null }));

function wayBack({ revision, down, again, before, after, back, afterAgain }: Seen, say: Say): readonly CheckFinding[] {
  const { shape } = revision.downgrade;
  if (down?.error != null) {
    const what = shape === 'missing' ? 'there is no downgrade()' : `downgrade() fails: ${textOf(down.error)}`;
    return [say('error', 'downFails', `it can't be taken back: ${what}`, down.error.line)];
  }
  if (after === null || back === null) return [];
  const found: CheckFinding[] = [];
  const left = compareSchemas(before.lines, back.lines);
  const isUnmoved = after.digest !== before.digest && back.digest === after.digest;
  if (isUnmoved || (shape === 'pass' && revision.upgrade.shape === 'code')) {
    const level = isUnmoved ? 'warning' : 'note';
    const which = shape === 'pass' ? 'downgrade() is pass' : 'downgrade() does nothing';
    const schema = isUnmoved
      ? `what upgrade() made stays (${describeDifference(left)})`
      : 'the schema is the one of before all the same, since upgrade() changes data alone';
    found.push(say(level, 'passDowngrade', `${which}: ${schema}`));
  } else if (!isSame(left)) {
    found.push(
      say('warning', 'irreversible', `after downgrade() the schema is another one than before (${sides(left)})`),
    );
  }
  // What stayed behind is in the way of the second time: that was told.
  const level = found.some((finding) => finding.level === 'warning') ? 'warning' : 'error';
  if (again?.error != null) {
    found.push(say(level, 'againFails', `upgrade() fails the second time: ${textOf(again.error)}`, again.error.line));
  } else if (afterAgain !== null) {
    const difference = compareSchemas(after.lines, afterAgain.lines);
    if (!isSame(difference))
      found.push(say('warning', 'irreversible', `the second upgrade() leads to another schema (${sides(difference)})`));
  }
  return found;
}

const sides = (difference: SchemaDifference): string => describeDifference(difference);

function losses({ revision, loss, hasSample }: Seen, say: Say): readonly CheckFinding[] {
  const found: CheckFinding[] = [];
  const told = (of: DataLoss): string => describeLoss(of, of.rows);
  if (hasSample) {
    const isLost = loss.up !== null && loss.up.tables.length > 0;
    if (loss.up !== null && isLost)
      found.push(say('warning', 'losesData', `upgrade() loses data of the sample: ${told(loss.up)}`));
    if (loss.round !== null && loss.round.tables.length > 0)
      found.push(
        say('warning', 'losesData', `downgrade() does not bring back what the sample had before: ${told(loss.round)}`),
      );
    // The sample ends before the migration: what the downgrade takes away is what the upgrade put there.
    else if (loss.down !== null && loss.down.tables.length > 0)
      found.push(
        say('note', 'downgradeLosesData', `downgrade() takes away what upgrade() put there: ${told(loss.down)}`),
      );
  } else {
    for (const { what, line } of revision.upgrade.risks)
      found.push(say('warning', 'mayLoseData', `upgrade() may lose data: ${what}; with --sample it is measured`, line));
  }
  return found;
}

function blocking({ locks }: Seen, say: Say): readonly CheckFinding[] {
  return locks.flatMap(({ table, mode, rows }) => {
    const remark = lockRemark(mode);
    if (remark === null || rows === 0) return [];
    return [
      say(
        'note',
        'blocksOthers',
        `upgrade() holds ${mode} on ${table} (${count(rows, 'row')} in the sample): ${remark}`,
      ),
    ];
  });
}
