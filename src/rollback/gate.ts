/**
 * May it be done? From the policy, and from what would be lost: measured on a copy where there was a rehearsal, else told
 * by reading the migrations. Unknown loss counts as loss. Pure.
 */
import { createHash } from 'node:crypto';
import type { Reason } from '../api/reasons.ts';
import type { MigrationTarget } from '../api/target.ts';
import { formatHeads } from './graph.ts';
import type { ChangePlan, DataLoss, Operation, RestorePlan, TableLoss } from './model.ts';
import { count, grouped } from './numbers.ts';
import type { Policy } from './plan.ts';

export type Verdict =
  /** Nothing is lost, or the policy allows it. */
  | { readonly kind: 'open'; readonly coversFallback: boolean }
  /** A person has to approve: `rows` would be lost (null: unknown). */
  | { readonly kind: 'ask'; readonly rows: number | null; readonly what: string; readonly coversFallback: boolean }
  | { readonly kind: 'refuse'; readonly reason: Reason; readonly message: string };

/** Where the operation is at its gate: what was rehearsed, and how many rows were written to what goes since. */
export interface AtGate {
  readonly name: string;
  readonly operation: Operation & { readonly plan: ChangePlan | RestorePlan };
  readonly policy: Policy;
  readonly writtenSince: number;
  /** Whether the application is declared to run on meanwhile. */
  readonly isKeptRunning: boolean;
}

/** What the declaration and the journal tell of it. */
export const atGate = (
  { metadata, spec }: MigrationTarget,
  operation: AtGate['operation'],
  writtenSince: number,
): AtGate => ({
  name: metadata.name,
  operation,
  policy: spec.policy,
  writtenSince,
  isKeptRunning: spec.application?.during === 'Keep',
});

/** Whether a backup is what is restored, be it as declared or for want of another way. */
export const isRestore = ({ plan, rehearsal }: Operation): boolean =>
  plan.kind === 'restore' || rehearsal?.route === 'fallback';

export function judgeGate(at: AtGate): Verdict {
  const { operation, policy } = at;
  const lost = lossOf(at);
  // Not to be skipped in silence: what could not be tried is asked about even where loss is allowed.
  const isUntried = operation.rehearsal !== null && operation.rehearsal.notTried !== null;
  if (lost === null && !isUntried) {
    // A fallback that loses nothing is as good as a change that does.
    const isAllowed = policy.dataLoss === 'Allow' && !at.isKeptRunning;
    return { kind: 'open', coversFallback: isAllowed || operation.rehearsal?.route === 'fallback' };
  }
  if (at.isKeptRunning) {
    return {
      kind: 'refuse',
      reason: 'DataLossForbidden',
      message: `${whatIsDone(operation)} would lose data: ${lost?.what ?? 'how much is not known'}. spec.application.during is Keep: what the application writes meanwhile would go as well, and nobody could tell how much. To have it stopped meanwhile: spec.application.during: Stop${backToCurrent(operation)}`,
    };
  }
  if (policy.dataLoss === 'Allow' && !isUntried) return { kind: 'open', coversFallback: true };
  const what = isUntried ? `it could not be tried on a copy: ${operation.rehearsal?.notTried}` : (lost?.what ?? '');
  if (policy.dataLoss === 'Forbid') {
    return {
      kind: 'refuse',
      reason: 'DataLossForbidden',
      message: `${whatIsDone(operation)} would lose data: ${what}. spec.policy.dataLoss is Forbid. To have it ask instead: spec.policy.dataLoss: RequireApproval${backToCurrent(operation)}`,
    };
  }
  return {
    kind: 'ask',
    rows: isUntried ? null : (lost?.rows ?? null),
    what,
    coversFallback: policy.dataLoss === 'Allow' || isFallbackTold(operation),
  };
}

/** Whether whoever approves is told of the fallback's restore, and so approves that too. */
const isFallbackTold = ({ plan, rehearsal }: AtGate['operation']): boolean =>
  rehearsal?.route === 'fallback' ||
  (rehearsal === null && plan.kind !== 'restore' && plan.fallback.kind === 'restore');

interface Lost {
  readonly rows: number | null;
  readonly what: string;
}

/** null: nothing is lost. */
function lossOf({ operation, writtenSince }: AtGate): Lost | null {
  const { plan, rehearsal } = operation;
  if (rehearsal === null) return lossByReading(plan);
  const { loss } = rehearsal;
  if (loss === null) return { rows: null, what: 'how much is not known' };
  if (loss.tables.length === 0 && writtenSince === 0) return null;
  if (loss.tables.length === 0)
    return { rows: writtenSince, what: `${rowsText(writtenSince)} written since it was tried` };
  const rows = loss.rows === null ? null : loss.rows + writtenSince;
  const since = writtenSince === 0 ? '' : ` (${rowsText(writtenSince)} written since it was tried among them)`;
  return { rows, what: `${describeLoss(loss, rows)}${since}` };
}

function lossByReading(plan: ChangePlan | RestorePlan): Lost | null {
  if (plan.kind === 'restore')
    return { rows: null, what: `whatever was written since backup ${plan.backup} of ${plan.takenAt}` };
  const shown = plan.risks.slice(0, 3).map(({ what, file, line }) => `${what} (${file}:${line})`);
  const more = plan.risks.length > 3 ? `, and ${plan.risks.length - 3} more` : '';
  const fallback =
    plan.fallback.kind === 'restore'
      ? `; if it fails, backup ${plan.fallback.backup} of ${plan.fallback.takenAt} is restored, without what was written since`
      : '';
  if (plan.risks.length === 0) return null;
  return { rows: null, what: `nothing was tried on a copy, and ${shown.join('; ')}${more} may lose data${fallback}` };
}

const rowsText = (rows: number): string => count(rows, 'row');

/** e.g. `1,204 rows in 3 tables: public.users (1,000 rows go), public.orders (column note with 204 values goes)`. */
export function describeLoss({ tables, moreTables }: DataLoss, rows: number | null): string {
  const all = tables.length + moreTables;
  const shown = tables.slice(0, 3).map((table) => `${table.table} (${describeTableLoss(table)})`);
  const more = all > shown.length ? `, and ${all - shown.length} more` : '';
  const total = rows === null ? 'an unknown number of rows' : rowsText(rows);
  return `${total} in ${all === 1 ? '1 table' : `${all} tables`}: ${shown.join(', ')}${more}`;
}

/** What one table loses, as a list in words. */
export function describeTableLoss(table: TableLoss): string {
  const { gone, rowsGone, rowsBefore, rowsChanged, columnsChanged, columnsGone, notCompared } = table;
  if (gone) return `the table goes, with ${rowsText(rowsBefore)}`;
  const parts = [
    ...(rowsGone === null || rowsGone === 0 ? [] : [`${rowsText(rowsGone)} of ${grouped(rowsBefore)} go`]),
    ...columnsGone.map(({ column, values }) => `column ${column} goes, with ${count(values, 'value')}`),
    ...(rowsChanged === null || rowsChanged === 0
      ? []
      : [
          `${rowsText(rowsChanged)} change${rowsChanged === 1 ? 's' : ''} in ${columnsChanged.slice(0, 3).join(', ')}${columnsChanged.length > 3 ? ', …' : ''}`,
        ]),
    ...(notCompared === null ? [] : [`not compared: ${notCompared}`]),
  ];
  return parts.join('; ');
}

function whatIsDone({ plan, rehearsal }: AtGate['operation']): string {
  if (plan.kind === 'restore') return `Restoring backup ${plan.backup}`;
  const change = `The ${plan.kind} to ${formatHeads(plan.desired)}`;
  return rehearsal?.route === 'fallback' && plan.fallback.kind === 'restore'
    ? `${change} failed on a copy, and restoring backup ${plan.fallback.backup} instead`
    : change;
}

const backToCurrent = ({ plan }: AtGate['operation']): string =>
  plan.kind === 'restore' || plan.current.length === 0 ? '' : `; to take it back: declare ${formatHeads(plan.current)}`;

/** The message of the condition: what would be lost, and what to type. */
export function askText(
  { name, operation }: AtGate,
  { what, rows }: Extract<Verdict, { readonly kind: 'ask' }>,
  {
    digest,
    because,
    again,
  }: {
    readonly digest: string;
    readonly because: string | null;
    /** What was typed, where nothing declared leads there once more. */
    readonly again: string | null;
  },
): string {
  const failed = operation.failure === null ? '' : `${operation.failure.message} `;
  const bound = rows === null ? '' : ` --max-row-loss ${rows}`;
  return withMiss(
    `${failed}${whatIsDone(operation)} would lose data: ${what}. Nothing was changed, and nothing is until somebody approves this very plan.${toApprove} migration-target approve ${name} --plan ${digest}${bound}${again === null ? backToCurrent(operation) : `${thenAgain}${again}; to leave it: migration-target reconcile ${name}`}`,
    because,
  );
}

const toApprove = ' To approve:';
const thenAgain = ', then: ';
const missed = / An approval does not count: .*?(?= To approve:)/s;

/** Of such a message: what has to be typed once it is approved, since nothing declared leads there; null: nothing. */
export const typedAgain = (message: string): string | null =>
  new RegExp(`${thenAgain}migration-target (restore \\S+ [^\\s;]+)`).exec(message)?.[1] ?? null;

/** The same message, with why the approval that is there does not count; null: none is there. */
export function withMiss(message: string, because: string | null): string {
  const text = because === null ? '' : ` An approval does not count: ${because}.`;
  return message.replace(missed, '').replace(toApprove, () => `${text}${toApprove}`);
}

/**
 * What an approval is bound to: the plan (whose, which database, from where to where, with which scripts and which
 * fallback), the schema that it was tried on, which way is left, and which tables and columns lose something. Not counts,
 * which move while an application writes.
 */
export function gateDigest({ plan, rehearsal }: AtGate['operation']): string {
  if (rehearsal === null) return plan.digest;
  const lossy = (rehearsal.loss?.tables ?? [])
    .map(({ table, gone, columnsGone, columnsChanged, rowsGone }) => ({
      table,
      gone,
      columnsGone: columnsGone.map(({ column }) => column).toSorted(),
      columnsChanged: columnsChanged.toSorted(),
      rows: rowsGone === null || rowsGone > 0,
    }))
    .toSorted((a, b) => (a.table < b.table ? -1 : 1));
  const covered = {
    plan: plan.digest,
    schema: rehearsal.origin,
    route: rehearsal.route,
    moreTables: rehearsal.loss?.moreTables ?? 0,
    tried: rehearsal.notTried === null,
    lossy,
  };
  return createHash('sha256').update(JSON.stringify(covered)).digest('hex').slice(0, 16);
}
