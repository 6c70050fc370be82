import { describe, expect, test } from '@jest/globals';
import { findApproval, judgeApproval, type Wanted } from '../../../src/rollback/approval.ts';
import type { Approval } from '../../../src/rollback/ports.ts';

const digest = '0123456789abcdef';
const other = 'fedcba9876543210';
const now = new Date('2026-05-02T12:00:00Z');
const yesterday = '2026-05-01T12:00:00Z';
const tomorrow = '2026-05-03T11:00:00Z';

const approval = (name: string, change: Partial<Approval> = {}): Approval => ({
  name,
  target: 'unicorn-db',
  planDigest: digest,
  maxRowLoss: null,
  reason: null,
  approvedBy: 'jane',
  createdAt: yesterday,
  expiresAt: tomorrow,
  usedBy: null,
  ...change,
});

describe('an approval counts', () => {
  test.each<[string, readonly Approval[], Partial<Wanted>, string]>([
    ['of this plan, not used and not expired', [approval('a')], {}, 'a'],
    ['of an unknown number of rows', [approval('a')], { rows: null, rowsAsked: null }, 'a'],
    ['for as many rows as it allows', [approval('a', { maxRowLoss: 25 })], { rows: 25 }, 'a'],
    ['for no rows', [approval('a', { maxRowLoss: 0 })], { rows: 0 }, 'a'],
    ['in the last second', [approval('a', { expiresAt: '2026-05-02T12:00:01Z' })], {}, 'a'],
    ['used by this operation', [approval('a', { usedBy: 'op1' })], {}, 'a'],
    ['used by this operation, expired since', [approval('a', { usedBy: 'op1', expiresAt: yesterday })], {}, 'a'],
    ['the newest of several', [approval('new'), approval('old')], {}, 'new'],
    ['the one that this operation used', [approval('new'), approval('old', { usedBy: 'op1' })], {}, 'old'],
    [
      'beside some that do not',
      [
        approval('few', { maxRowLoss: 1 }),
        approval('used', { usedBy: 'op0' }),
        approval('late', { expiresAt: yesterday }),
        approval('other', { planDigest: other }),
        approval('right', { maxRowLoss: 30 }),
      ],
      {},
      'right',
    ],
  ])('%s', (_name, approvals, change, name) => {
    const found = findApproval(approvals, { digest, rows: 25, rowsAsked: 25, operationId: 'op1', now, ...change });
    expect(found).toMatchObject({ kind: 'approved', approval: { name } });
  });
});

describe('no approval counts', () => {
  const few = approval('few', { maxRowLoss: 10 });
  const late = approval('late', { expiresAt: yesterday });
  const used = approval('used', { usedBy: 'op0' });
  const elsewhere = approval('elsewhere', { planDigest: other });
  test.each<[string, readonly Approval[], Partial<Wanted>, string | null]>([
    ['there is none', [], {}, null],
    ['too many rows', [few], {}, 'approval few allows 10 rows at most and 25 would be lost'],
    [
      'more rows than the status said, where it names no number',
      [approval('a')],
      { rowsAsked: 24 },
      'approval a allows 24 rows at most and 25 would be lost',
    ],
    [
      'without a number, where nobody knows any more how many it was asked for',
      [approval('a')],
      { rowsAsked: null },
      'approval a names no number of rows, and how many it was asked for is not known any more',
    ],
    ['one row', [approval('a', { maxRowLoss: 1 })], {}, 'approval a allows 1 row at most and 25 would be lost'],
    [
      'an unknown number of rows',
      [few],
      { rows: null },
      'approval few allows 10 rows at most and how many rows would be lost is not known',
    ],
    [
      'too many rows, though this operation used it',
      [approval('a', { usedBy: 'op1', maxRowLoss: 24 })],
      {},
      'approval a allows 24 rows at most and 25 would be lost',
    ],
    ['expired', [late], {}, `approval late expired at ${yesterday}`],
    [
      'at the very moment',
      [approval('a', { expiresAt: now.toISOString() })],
      {},
      `approval a expired at ${now.toISOString()}`,
    ],
    ['an expiry that is no time', [approval('a', { expiresAt: 'never' })], {}, 'approval a expired at never'],
    ['used', [used], {}, 'approval used was used for operation op0'],
    ['of another plan', [elsewhere], {}, `approval elsewhere is of another plan, ${other}`],
    ['of another plan, used', [{ ...elsewhere, usedBy: 'op0' }], {}, null],
    ['of another plan, expired', [{ ...elsewhere, expiresAt: yesterday }], {}, null],
    ['of another plan, used by this operation', [{ ...elsewhere, usedBy: 'op1' }], {}, null],
    [
      'rows before all else',
      [elsewhere, used, late, few],
      {},
      'approval few allows 10 rows at most and 25 would be lost',
    ],
    ['expiry before use', [elsewhere, used, late], {}, `approval late expired at ${yesterday}`],
    ['use before another plan', [elsewhere, used], {}, 'approval used was used for operation op0'],
  ])('%s', (_name, approvals, change, because) => {
    const found = findApproval(approvals, { digest, rows: 25, rowsAsked: 25, operationId: 'op1', now, ...change });
    expect(found).toEqual({ kind: 'none', because });
  });
});

describe('what an approval says of itself', () => {
  test.each<[string, Partial<Approval>, { readonly digest: string | null } | null, string, RegExp]>([
    [
      'it counts',
      {},
      { digest },
      'ready Approved',
      /^Plan 0123456789abcdef of MigrationTarget ops\/unicorn-db may .*Z\.$/,
    ],
    ['with a bound', { maxRowLoss: 1 }, { digest }, 'ready Approved', /if it loses 1 row at most\.$/],
    ['used', { usedBy: 'op1' }, { digest }, 'ready ApprovalUsed', /operation op1, and counts once/],
    ['used, the target gone', { usedBy: 'op1' }, null, 'ready ApprovalUsed', /op1/],
    [
      'used, the plan carried out',
      { usedBy: 'op1', expiresAt: yesterday },
      { digest: null },
      'ready ApprovalUsed',
      /op1/,
    ],
    ['no target', {}, null, 'stalled TargetNotFound', /kubectl -n ops delete migrationapproval one$/],
    [
      'expired',
      { expiresAt: yesterday },
      { digest: other },
      'stalled ApprovalExpired',
      /: migration-target approve unicorn-db --plan fedcba9876543210$/,
    ],
    ['of another plan', {}, { digest: other }, 'stalled ApprovalOfOtherPlan', /has plan fedcba9876543210 now/],
    ['of a plan that is no more', {}, { digest: null }, 'stalled ApprovalOfOtherPlan', /has none now/],
  ])('%s', (_name, change, plan, expected, message) => {
    const outcome = judgeApproval('ops', approval('one', change), plan, now);
    expect(`${outcome.kind} ${'reason' in outcome ? outcome.reason : ''}`).toBe(expected);
    expect(outcome.message).toMatch(message);
  });
});
