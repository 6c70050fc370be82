/** Which approval counts for a plan, and what is said of each. Pure. */
import type { Outcome } from '../api/conditions.ts';
import { keyText, type TargetKey } from '../api/target.ts';
import { retry, stalled, type Failure } from './errors.ts';
import type { Approval } from './ports.ts';

/** What is to be carried out. */
export interface Wanted {
  readonly digest: string;
  /** How many rows would be lost; null: nobody knows. */
  readonly rows: number | null;
  /** How many the status said when it asked, which is what an approval without a number allows; null: it could not say. */
  readonly rowsAsked: number | null;
  readonly operationId: string;
  readonly now: Date;
}

/** Why an approval does not count. Those that come first are the nearer misses, which a person can most easily mend. */
const misses = ['rows', 'expired', 'used', 'otherPlan'] as const;
interface Miss {
  readonly kind: (typeof misses)[number];
  readonly because: string;
}

/**
 * The approval that counts for this plan now; or why none does: a part of a sentence about the nearest miss, null where
 * there is nothing to say of any. One that this very operation used already still counts, though it has expired since:
 * the operation was killed after it had marked it. But never for more rows than it allows.
 */
export function findApproval(
  approvals: readonly Approval[],
  wanted: Wanted,
):
  | { readonly kind: 'approved'; readonly approval: Approval }
  | { readonly kind: 'none'; readonly because: string | null } {
  const judged = approvals.map((approval) => ({ approval, miss: missOf(approval, wanted) }));
  const counting = judged.filter(({ miss }) => miss === null).map(({ approval }) => approval);
  const approval = counting.find(({ usedBy }) => usedBy !== null) ?? counting[0];
  if (approval !== undefined) return { kind: 'approved', approval };
  const [nearest] = judged
    // What was used up, or expired, for another plan is of the past: nobody meant it for this one.
    .filter(({ approval: { usedBy, expiresAt }, miss }) =>
      miss?.kind === 'otherPlan' ? usedBy === null && !isExpired(expiresAt, wanted.now) : miss !== null,
    )
    .map(({ miss }) => miss)
    .filter((miss) => miss !== null)
    .toSorted((a, b) => misses.indexOf(a.kind) - misses.indexOf(b.kind));
  return { kind: 'none', because: nearest?.because ?? null };
}

const isExpired = (expiresAt: string, now: Date): boolean => !(now.getTime() < Date.parse(expiresAt));

function missOf(
  { name, planDigest, usedBy, expiresAt, maxRowLoss }: Approval,
  { digest, rows, rowsAsked, operationId, now }: Wanted,
): Miss | null {
  const miss = (kind: Miss['kind'], what: string): Miss => ({ kind, because: `approval ${name} ${what}` });
  if (planDigest !== digest) return miss('otherPlan', `is of another plan, ${planDigest}`);
  if (usedBy !== null && usedBy !== operationId) return miss('used', `was used for operation ${usedBy}`);
  if (usedBy === null && isExpired(expiresAt, now)) return miss('expired', `expired at ${expiresAt}`);
  const most = maxRowLoss ?? rowsAsked;
  if (most === null && rows !== null)
    return miss('rows', 'names no number of rows, and how many it was asked for is not known any more');
  if (most === null || (rows !== null && rows <= most)) return null;
  const allows = `allows ${rowsText(most)} at most and`;
  return rows === null
    ? miss('rows', `${allows} how many rows would be lost is not known`)
    : miss('rows', `${allows} ${rows} would be lost`);
}

export const rowsText = (rows: number): string => `${rows} ${rows === 1 ? 'row' : 'rows'}`;

/** What an approval's own status says of it. `plan`: what the target waits with; null: there is no such target. */
export function judgeApproval(
  namespace: string,
  { name, target, planDigest, usedBy, expiresAt, maxRowLoss }: Approval,
  plan: { readonly digest: string | null } | null,
  now: Date,
): Outcome {
  const targetText = `MigrationTarget ${keyText({ namespace, name: target })}`;
  const remove = `delete this one: kubectl -n ${namespace} delete migrationapproval ${name}`;
  if (usedBy !== null)
    // It has done what it was made for: nothing is the matter with it.
    return {
      kind: 'ready',
      reason: 'ApprovalUsed',
      message: `It was used for operation ${usedBy}, and counts once. See: migration-target history ${target}`,
    };
  if (plan === null)
    return {
      kind: 'stalled',
      reason: 'TargetNotFound',
      message: `${targetText} is not declared. Declare it, or ${remove}`,
    };
  if (isExpired(expiresAt, now))
    return {
      kind: 'stalled',
      reason: 'ApprovalExpired',
      message: `It expired at ${expiresAt}. If ${targetText} still waits: migration-target approve ${target} --plan ${plan.digest ?? 'DIGEST'}`,
    };
  if (plan.digest !== planDigest)
    return {
      kind: 'stalled',
      reason: 'ApprovalOfOtherPlan',
      message: `It is of plan ${planDigest}, and ${targetText} has ${plan.digest === null ? 'none' : `plan ${plan.digest}`} now. See: migration-target status ${target}`,
    };
  return {
    kind: 'ready',
    reason: 'Approved',
    message: `Plan ${planDigest} of ${targetText} may be carried out once, until ${expiresAt}${maxRowLoss === null ? '' : `, if it loses ${rowsText(maxRowLoss)} at most`}.`,
  };
}

export const newestFirst = (approvals: readonly Approval[]): readonly Approval[] =>
  approvals.toSorted((a, b) => Date.parse(b.createdAt) - Date.parse(a.createdAt) || (a.name < b.name ? -1 : 1));

/** What a home throws that was to mark an approval used. */
export const approvalUsed = (key: TargetKey, name: string, usedBy: string): Failure =>
  stalled(
    'ApprovalUsed',
    `Approval ${name} of ${keyText(key)} was used for operation ${usedBy}, and counts once. To see which plan waits now: migration-target status ${key.name}`,
  );

export const approvalGone = (key: TargetKey, name: string): Failure =>
  retry(
    'ApprovalNotFound',
    `Approval ${name} of ${keyText(key)} was taken back before it was used; nothing was changed. Another one is waited for: migration-target status ${key.name}`,
  );
