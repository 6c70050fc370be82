import { describe, expect, test } from '@jest/globals';

import {
  askText,
  describeTableLoss,
  gateDigest,
  judgeGate,
  typedAgain,
  type AtGate,
} from '../../../src/rollback/gate.ts';
import type {
  ChangePlan,
  DataLoss,
  Operation,
  Rehearsal,
  RestorePlan,
  TableLoss,
} from '../../../src/rollback/model.ts';
import { newOperation } from '../../../src/rollback/operation.ts';
import type { Policy } from '../../../src/rollback/plan.ts';
import { at } from './histories.ts';

const downgrade: ChangePlan = {
  kind: 'downgrade',
  current: ['b2'],
  desired: ['a1'],
  steps: [{ direction: 'down', revision: 'b2' }],
  risks: [],
  fallback: { kind: 'origin', because: 'there is no backup at a1' },
  digest: 'p'.repeat(16),
};
const risky: ChangePlan = {
  ...downgrade,
  risks: [{ revision: 'b2', file: 'versions/b2.py', line: 9, what: "drop_column('users', 'email')" }],
};
const withFallback: ChangePlan = {
  ...risky,
  fallback: { kind: 'restore', backup: 'backup-1', takenAt: '2026-01-01T00:00:00Z' },
};
const restore: RestorePlan = {
  kind: 'restore',
  current: ['b2'],
  desired: ['a1'],
  backup: 'backup-1',
  takenAt: '2026-01-01T00:00:00Z',
  because: 'it was asked for',
  digest: 'r'.repeat(16),
};

const table = (changes: Partial<TableLoss> = {}): TableLoss => ({
  table: 'public.users',
  rowsBefore: 1_000,
  gone: false,
  rowsGone: 0,
  rowsChanged: 0,
  columnsChanged: [],
  columnsGone: [{ column: 'email', values: 900 }],
  notCompared: null,
  ...changes,
});
const emails: DataLoss = { tables: [table()], moreTables: 0, rows: 900 };
const nothing: DataLoss = { tables: [], moreTables: 0, rows: 0 };

const rehearsal = (changes: Partial<Rehearsal> = {}): Rehearsal => ({
  backup: 'backup-2',
  xmax: '800',
  inProgress: [],
  origin: 'schema-1',
  finishedAt: '2026-01-02T00:00:00Z',
  route: 'planned',
  fault: null,
  notTried: null,
  loss: nothing,
  objectsGone: [],
  moreObjects: 0,
  atRisk: [],
  schema: 'schema-2',
  rowChanges: [],
  wayBack: { kind: 'reversible' },
  stepMs: [5],
  restoreMs: null,
  tookMs: 50,
  ...changes,
});

const operation = (plan: ChangePlan | RestorePlan, changes: Partial<Operation> = {}): AtGate['operation'] => ({
  ...newOperation(
    at('b2'),
    { id: 'op', trigger: 'generation', generation: 1, requestedAt: null, plan },
    new Date('2026-01-02T00:00:00Z'),
  ),
  ...changes,
  plan,
});

const gate = (
  plan: ChangePlan | RestorePlan,
  dataLoss: Policy['dataLoss'],
  tried: Rehearsal | null,
  writtenSince = 0,
): AtGate => ({
  name: 'unicorn',
  operation: operation(plan, { rehearsal: tried }),
  policy: { rehearsal: tried === null ? 'Never' : 'Always', downgrade: 'Allow', restore: 'Allow', dataLoss },
  writtenSince,
  isKeptRunning: false,
});

describe('the gate', () => {
  test.each<[string, AtGate, Record<string, unknown>]>([
    ['opens where nothing is lost', gate(risky, 'RequireApproval', rehearsal()), { kind: 'open' }],
    ['opens where nothing is lost, though loss is forbidden', gate(risky, 'Forbid', rehearsal()), { kind: 'open' }],
    [
      'asks where something is lost',
      gate(risky, 'RequireApproval', rehearsal({ loss: emails })),
      { kind: 'ask', rows: 900 },
    ],
    [
      'opens for a loss that is allowed',
      gate(risky, 'Allow', rehearsal({ loss: emails })),
      { kind: 'open', coversFallback: true },
    ],
    [
      'refuses a loss that is forbidden',
      gate(risky, 'Forbid', rehearsal({ loss: emails })),
      { kind: 'refuse', reason: 'DataLossForbidden' },
    ],
    [
      'asks where the loss could not be told in numbers',
      gate(risky, 'RequireApproval', rehearsal({ loss: { ...emails, rows: null } })),
      { kind: 'ask', rows: null },
    ],
    [
      'asks where nobody knows the loss',
      gate(risky, 'RequireApproval', rehearsal({ loss: null })),
      { kind: 'ask', rows: null },
    ],
    [
      'counts what was written since to what goes',
      gate(risky, 'RequireApproval', rehearsal({ loss: emails }), 7),
      { kind: 'ask', rows: 907 },
    ],
    [
      'asks about what could not be tried, though loss is allowed',
      gate(risky, 'Allow', rehearsal({ loss: null, notTried: 'the disk is full' })),
      { kind: 'ask', rows: null, what: expect.stringContaining('the disk is full') },
    ],
    [
      'refuses what could not be tried where loss is forbidden',
      gate(downgrade, 'Forbid', rehearsal({ loss: null, notTried: 'the disk is full' })),
      { kind: 'refuse', message: expect.stringContaining('the disk is full') },
    ],
    [
      'opens without a rehearsal for what is known to lose nothing',
      gate(downgrade, 'RequireApproval', null),
      { kind: 'open', coversFallback: false },
    ],
    [
      'asks without a rehearsal about statements that may lose data, and names the fallback',
      gate(withFallback, 'RequireApproval', null),
      {
        kind: 'ask',
        rows: null,
        coversFallback: true,
        what: expect.stringMatching(/drop_column.*versions\/b2\.py:9.*backup-1/),
      },
    ],
    ['asks without a rehearsal about a restore', gate(restore, 'RequireApproval', null), { kind: 'ask', rows: null }],
    ['opens for a restore that loses nothing', gate(restore, 'RequireApproval', rehearsal()), { kind: 'open' }],
    [
      'opens for the fallback that the copy led to, where it loses nothing',
      gate(withFallback, 'RequireApproval', rehearsal({ route: 'fallback' })),
      { kind: 'open', coversFallback: true },
    ],
    [
      'has an approval of the change not cover a fallback that was not needed on the copy',
      gate(withFallback, 'RequireApproval', rehearsal({ loss: emails })),
      { kind: 'ask', coversFallback: false },
    ],
    [
      'has an approval cover the fallback that the copy led to',
      gate(withFallback, 'RequireApproval', rehearsal({ route: 'fallback', loss: emails })),
      { kind: 'ask', coversFallback: true },
    ],
  ])('%s', (_, place, expected) => {
    expect(judgeGate(place)).toMatchObject(expected);
  });

  test('names what is lost, the digest and the command to type', () => {
    const place = gate(risky, 'RequireApproval', rehearsal({ loss: emails }));
    const verdict = judgeGate(place);
    if (verdict.kind !== 'ask') throw new Error(verdict.kind);
    expect(askText(place, verdict, { digest: 'abc', because: null, again: null })).toBe(
      'The downgrade to a1 would lose data: 900 rows in 1 table: public.users (column email goes, with 900 values). Nothing was changed, and nothing is until somebody approves this very plan. To approve: migration-target approve unicorn --plan abc --max-row-loss 900; to take it back: declare b2',
    );
    expect(askText(place, verdict, { digest: 'abc', because: 'it expired', again: null })).toContain(
      'does not count: it expired.',
    );
  });

  test('tells of what has to be typed once more, whatever else it says', () => {
    const place = gate(risky, 'RequireApproval', rehearsal({ loss: emails }));
    const verdict = judgeGate(place);
    if (verdict.kind !== 'ask') throw new Error(verdict.kind);
    const again = 'migration-target restore unicorn default.unicorn-20260102T030405Z-57a1c6';
    const told = { digest: 'abc', because: 'it expired' };
    expect(typedAgain(askText(place, verdict, { ...told, again }))).toBe(again.replace('migration-target ', ''));
    expect(askText(place, verdict, { ...told, again })).toMatch(/; to leave it: migration-target reconcile unicorn$/);
    expect(typedAgain(askText(place, verdict, { ...told, again: null }))).toBeNull();
  });
});

describe('what an approval is bound to', () => {
  const digest = (plan: ChangePlan | RestorePlan, tried: Rehearsal | null): string =>
    gateDigest(operation(plan, { rehearsal: tried }));
  const before = digest(risky, rehearsal({ loss: emails }));

  test.each<[string, ChangePlan, Rehearsal]>([
    ['another plan', { ...risky, digest: 'q'.repeat(16) }, rehearsal({ loss: emails })],
    ['another schema', risky, rehearsal({ loss: emails, origin: 'schema-9' })],
    ['another way', risky, rehearsal({ loss: emails, route: 'fallback' })],
    ['another table', risky, rehearsal({ loss: { ...emails, tables: [table({ table: 'public.orders' })] } })],
    [
      'another column',
      risky,
      rehearsal({ loss: { ...emails, tables: [table({ columnsGone: [{ column: 'phone', values: 900 }] })] } }),
    ],
    ['rows that go where none did', risky, rehearsal({ loss: { ...emails, tables: [table({ rowsGone: 3 })] } })],
    ['what could not be tried', risky, rehearsal({ loss: emails, notTried: 'no space' })],
  ])('is another for %s', (_, plan, tried) => {
    expect(digest(plan, tried)).not.toBe(before);
  });

  test('stays the same while only counts move', () => {
    const more = table({ rowsBefore: 2_000, columnsGone: [{ column: 'email', values: 1_900 }] });
    expect(digest(risky, rehearsal({ loss: { ...emails, tables: [more], rows: 1_900 } }))).toBe(before);
    expect(digest(risky, null)).toBe(risky.digest);
  });
});

test.each<[Partial<TableLoss>, string]>([
  [{ gone: true, rowsGone: 1_000, columnsGone: [] }, 'the table goes, with 1,000 rows'],
  [{ columnsGone: [], rowsGone: 1 }, '1 row of 1,000 go'],
  [{ columnsGone: [], rowsChanged: 2, columnsChanged: ['name', 'city'] }, '2 rows change in name, city'],
  [{ columnsGone: [{ column: 'x', values: 1 }], rowsGone: 5 }, '5 rows of 1,000 go; column x goes, with 1 value'],
  [{ columnsGone: [], rowsGone: null, notCompared: 'it is too large' }, 'not compared: it is too large'],
])('a table that loses %j is told in words', (changes, text) => {
  expect(describeTableLoss(table(changes))).toBe(text);
});
