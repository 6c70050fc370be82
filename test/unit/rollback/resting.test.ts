import { describe, expect, test } from '@jest/globals';
import { emptyStatus, type TargetStatus } from '../../../src/api/target.ts';
import { restingRevisions, restsAt } from '../../../src/rollback/resting.ts';
import type { ApplicationRecord, Operation, RestoreIntent } from '../../../src/rollback/model.ts';

const database = { name: 'd', oid: 1 };
const restoreTo = (goal: RestoreIntent['goal']): RestoreIntent => ({
  backup: 'b',
  goal,
  into: database,
  aside: database,
});
const stopped: ApplicationRecord = {
  workloads: [],
  stoppedAt: '2026-01-31T12:00:00Z',
  resumedAt: null,
  downMs: null,
  health: null,
  log: [],
};
const failure = { reason: 'UpgradeFailed', message: '', passing: false, committed: null } as const;

/** From a1 to a2. */
const during = (change: Partial<Operation>): TargetStatus => ({
  ...emptyStatus,
  currentRevisions: ['a1'],
  operation: {
    version: 1,
    id: 'op',
    startedAt: '2026-01-31T12:00:00Z',
    plan: { kind: 'upgrade', desired: ['a2'] },
    origin: { revisions: ['a1'] },
    application: null,
    begun: false,
    restore: null,
    swapped: false,
    failure: null,
    ...change,
  } as unknown as Operation,
});

describe('an application that starts may count on', () => {
  test.each<[string, TargetStatus, readonly string[] | null]>([
    ['nothing, where nobody has looked yet', emptyStatus, null],
    ['what was read, where nothing is under way', { ...emptyStatus, currentRevisions: ['a1'] }, ['a1']],
    ['no revision at all, which is one too', { ...emptyStatus, currentRevisions: [] }, []],
    ['where it was, while it is backed up first', during({ step: 'backup' }), ['a1']],
    ['where it was, while the change is tried on a copy', during({ step: 'rehearse' }), ['a1']],
    ['where it was, while an approval is asked for', during({ step: 'report' }), ['a1']],
    ['nothing, once the application is stopped', during({ step: 'quiesce', application: stopped }), null],
    ['nothing, while it is changed', during({ step: 'change', begun: true }), null],
    ['nothing, before it is verified', during({ step: 'verify', begun: true }), null],
    ['nothing, while it is put back', during({ step: 'restore', begun: true, failure }), null],
    ['nothing, while a backup takes its place', during({ step: 'restore', restore: restoreTo('desired') }), null],
    [
      'where it was to go, once that is verified, though the application is not up yet',
      during({ step: 'resume', begun: true, application: stopped }),
      ['a2'],
    ],
    ['the same where the report is written', during({ step: 'report', begun: true }), ['a2']],
    [
      'where it was to go, where a backup led there',
      during({ step: 'resume', begun: true, failure, swapped: true, restore: restoreTo('desired') }),
      ['a2'],
    ],
    [
      'where it was, where a backup led back',
      during({ step: 'resume', begun: true, failure, swapped: true, restore: restoreTo('origin') }),
      ['a1'],
    ],
    ['where it was, where nothing was committed', during({ step: 'resume', begun: true, failure }), ['a1']],
    ['nothing, where a newer program journalled', during({ version: 2 as 1, step: 'backup' }), null],
  ])('%s', (_, status, expected) => {
    expect(restingRevisions(status)).toEqual(expected);
  });
});

describe('a database', () => {
  const at = (currentRevisions: readonly string[], more: Partial<TargetStatus> = {}): TargetStatus => ({
    ...emptyStatus,
    observedGeneration: 2,
    currentRevisions,
    ...more,
  });
  // b2 depends on a2, so that the version table holds only b2.
  const reached = { generation: 2, revisions: ['b2'], at: '2026-01-31T12:00:00Z' };

  test.each<[string, TargetStatus, readonly string[], boolean]>([
    ['is at what is wanted, in any order', at(['a2', 'b2']), ['b2', 'a2'], true],
    ['is not where one of two heads is missing', at(['a2']), ['a2', 'b2'], false],
    ['is not where it has one more', at(['a2', 'b2']), ['a2'], false],
    ['is at base where that is wanted', at([]), [], true],
    ['is not at base where nothing is known', { ...emptyStatus }, [], false],
    ['is at heads that were reached', at(['b2'], { reached, desiredRevisions: ['a2', 'b2'] }), ['a2', 'b2'], true],
    [
      'is not where they were reached for another declaration',
      at(['b2'], { reached: { ...reached, generation: 1 }, desiredRevisions: ['a2', 'b2'] }),
      ['a2', 'b2'],
      false,
    ],
    ['is not where it was moved since', at(['c1'], { reached, desiredRevisions: ['a2', 'b2'] }), ['a2', 'b2'], false],
  ])('%s', (_, status, wanted, expected) => {
    expect(restsAt(status, wanted)).toBe(expected);
  });
});
