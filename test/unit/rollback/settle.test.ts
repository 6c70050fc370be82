import { describe, expect, test } from '@jest/globals';

import { emptyStatus, type MigrationTarget, type TargetStatus } from '../../../src/api/target.ts';
import type { Ports } from '../../../src/rollback/ports.ts';
import { settle } from '../../../src/rollback/settle.ts';
import type { Asked, Visit } from '../../../src/rollback/visit.ts';
import { identity } from './histories.ts';
import { targetWith } from './targets.ts';

const now = new Date('2026-01-01T12:00:00Z');

function target(
  changes: { generation?: number; requestedAt?: string; drift?: string; restoreFrom?: string } = {},
): MigrationTarget {
  return targetWith(
    {
      policy: { drift: changes.drift ?? 'Report' },
      ...(changes.restoreFrom === undefined ? {} : { restoreFrom: { backup: changes.restoreFrom } }),
    },
    {
      generation: changes.generation ?? 1,
      annotations: changes.requestedAt === undefined ? {} : { 'migrationtarget.dev/requestedAt': changes.requestedAt },
    },
  );
}

const condition = (type: string, status: 'True' | 'False', reason: string): TargetStatus['conditions'][number] => ({
  type,
  status,
  reason,
  message: `because ${reason}`,
  observedGeneration: 1,
  lastTransitionTime: now.toISOString(),
});

const waiting = [condition('ApprovalRequired', 'True', 'ApprovalRequired')];
const handled = { generation: 1, requestedAt: null };
const reached = { generation: 1, revisions: ['a1'], at: now.toISOString() };
const correction = {
  operationId: 'x',
  kind: 'downgrade',
  from: ['a2'],
  to: ['a1'],
  result: 'success',
  reason: 'Downgraded',
  startedAt: now.toISOString(),
  finishedAt: now.toISOString(),
  message: '',
  report: null,
} as const;

const restored = { ...correction, kind: 'restore', to: ['a2'], reason: 'RestoredFromBackup' } as const;

interface Case {
  target?: MigrationTarget;
  status?: Partial<TargetStatus>;
  asked?: Asked;
  current?: string[] | null;
  restorePending?: boolean;
  backupDue?: boolean;
  isApproved?: boolean;
}

function judge({
  target: declared = target(),
  status = {},
  asked = { kind: 'reconcile' },
  current = ['a2'],
  restorePending = false,
  backupDue = false,
  isApproved = false,
}: Case) {
  const visit: Visit = {
    key: { namespace: 'default', name: 'unicorn' },
    target: declared,
    status: { ...emptyStatus, ...status },
    journal: null,
    asked,
    ports: {} as Ports, // settle is pure: it has no use for them
    signal: new AbortController().signal,
    save: async (operation) => operation,
  };
  const versionTable =
    current === null ? ({ kind: 'missing' } as const) : ({ kind: 'present', revisions: current } as const);
  return settle(
    visit,
    { identity, versionTable },
    {
      now,
      restorePending,
      backupDue,
      approval: { isApproved, because: null },
    },
  );
}

describe('whether anything is to be done', () => {
  test.each<[string, Case, Record<string, unknown>]>([
    ['a new target that is elsewhere is due', {}, { kind: 'due', trigger: 'generation' }],
    ['a new target that is there is in sync', { current: ['a1'] }, { outcome: { kind: 'ready', reason: 'InSync' } }],
    [
      'a target that waits for an approval goes on waiting',
      { status: { handled, conditions: waiting } },
      { outcome: { kind: 'awaitingApproval', message: 'because ApprovalRequired' } },
    ],
    [
      'it goes on once the approval is there',
      { status: { handled, conditions: waiting }, isApproved: true },
      { kind: 'due', trigger: 'approval' },
    ],
    [
      'it waits though the revision was reached before, and drift is corrected',
      { status: { handled, conditions: waiting, reached } },
      { outcome: { kind: 'awaitingApproval' } },
    ],
    [
      'another declaration ends the waiting',
      { status: { handled: { ...handled, generation: 0 }, conditions: waiting } },
      { kind: 'due', trigger: 'generation' },
    ],
    ['a missing version table is not base', { current: null }, { kind: 'due' }],
    [
      'a target that reached its revision stays ready, with the words of the operation',
      { current: ['a1'], status: { handled, reached, conditions: [condition('Ready', 'True', 'Downgraded')] } },
      { outcome: { kind: 'ready', reason: 'Downgraded', message: 'because Downgraded' } },
    ],
    [
      'heads that amount to the declared ones count as reached',
      { current: ['b9'], status: { handled, reached: { ...reached, revisions: ['b9'] } } },
      { outcome: { kind: 'ready' } },
    ],
    [
      'a target that stalled is not tried again',
      { status: { handled, conditions: [condition('Stalled', 'True', 'DowngradeFailed')] } },
      { outcome: { kind: 'stalled', reason: 'DowngradeFailed', message: 'because DowngradeFailed' } },
    ],
    [
      'a stalled target is due once its spec changes',
      {
        target: target({ generation: 2 }),
        status: { handled, conditions: [condition('Stalled', 'True', 'DowngradeFailed')] },
      },
      { kind: 'due', trigger: 'generation' },
    ],
    [
      'a stalled target is due once it is asked for',
      {
        target: target({ requestedAt: 'now' }),
        status: { handled, conditions: [condition('Stalled', 'True', 'DowngradeFailed')] },
      },
      { kind: 'due', trigger: 'reconcile' },
    ],
    [
      'a stalled target is due when a person applies it',
      { asked: { kind: 'apply' }, status: { handled, conditions: [condition('Stalled', 'True', 'DowngradeFailed')] } },
      { kind: 'due', trigger: 'apply' },
    ],
    [
      'a stalled target that somebody mended is ready',
      { current: ['a1'], status: { handled, conditions: [condition('Stalled', 'True', 'DowngradeFailed')] } },
      { outcome: { kind: 'ready', reason: 'InSync' } },
    ],
    [
      'a declared restore that was refused goes on being refused, though the revision is right',
      {
        target: target({ restoreFrom: 'b1' }),
        current: ['a1'],
        status: { handled, conditions: [condition('Stalled', 'True', 'TargetConflict')] },
      },
      { outcome: { kind: 'stalled', reason: 'TargetConflict' } },
    ],
    [
      'a declared restore that was carried out leaves the target in sync',
      {
        target: target({ restoreFrom: 'b1' }),
        current: ['a1'],
        status: { handled, reached, conditions: [condition('Stalled', 'True', 'ChangedOutside')] },
      },
      { outcome: { kind: 'ready', reason: 'InSync' } },
    ],
    ['what has not ended is gone on with', { status: { handled: null } }, { kind: 'due' }],
    [
      'a database that somebody moved is reported, not fought',
      { status: { handled, reached } },
      { outcome: { kind: 'stalled', reason: 'ChangedOutside' } },
    ],
    [
      'a database that somebody moved can be kept there, or taken back',
      { status: { handled, reached } },
      {
        outcome: {
          message:
            'Database unicorn_db was at a1, and was moved to a2 since, not by what is declared here. To keep it at a2, declare a2; to take it to a1: migration-target reconcile unicorn',
        },
      },
    ],
    [
      'a restore that was asked for is told as one, and the ways out of it, though a backup was taken since',
      { status: { handled, reached, history: [{ ...correction, kind: 'backup', to: ['a2'] }, restored] } },
      {
        outcome: {
          reason: 'ChangedOutside',
          message:
            'Database unicorn_db was restored from a backup at a2, as was asked for, and verified; a1 is declared. To keep it at a2: migration-target apply unicorn --revision a2; to take it to a1: migration-target reconcile unicorn',
        },
      },
    ],
    [
      'a database that somebody moved on since its restore was moved',
      { status: { handled, reached, history: [restored] }, current: ['a3'] },
      { outcome: { message: expect.stringContaining('was moved to a3 since') } },
    ],
    [
      'a database that somebody moved is corrected where that is declared',
      { target: target({ drift: 'Correct' }), status: { handled, reached } },
      { kind: 'due', trigger: 'drift' },
    ],
    [
      'the third identical correction in an hour is flapping',
      { target: target({ drift: 'Correct' }), status: { handled, reached, history: [correction, correction] } },
      { outcome: { kind: 'stalled', reason: 'Flapping' } },
    ],
    [
      'a correction that failed waits for a human',
      {
        target: target({ drift: 'Correct' }),
        status: {
          handled,
          reached,
          history: [{ ...correction, result: 'failure' }, correction],
          conditions: [condition('Stalled', 'True', 'UpgradeFailed')],
        },
      },
      { outcome: { kind: 'stalled', reason: 'UpgradeFailed' } },
    ],
    [
      'a correction that failed is tried anew once the database was put right in between',
      {
        target: target({ drift: 'Correct' }),
        status: {
          handled,
          reached,
          history: [{ ...correction, result: 'failure' }],
          conditions: [condition('Stalled', 'False', 'InSync')],
        },
      },
      { kind: 'due', trigger: 'drift' },
    ],
    [
      'corrections of long ago do not count',
      {
        target: target({ drift: 'Correct' }),
        status: { handled, reached, history: [correction, { ...correction, finishedAt: '2026-01-01T10:00:00Z' }] },
      },
      { kind: 'due', trigger: 'drift' },
    ],
    [
      'a backup that is asked for is due, whatever else',
      { asked: { kind: 'backup', reason: 'Requested' }, current: ['a1'], status: { handled, reached } },
      { kind: 'due', trigger: 'backup' },
    ],
    [
      'a backup that grew old is due in a database that is there',
      { current: ['a1'], backupDue: true },
      { kind: 'due', trigger: 'backup' },
    ],
    [
      'restoreFrom is due though the database is there',
      { current: ['a1'], restorePending: true },
      { kind: 'due', trigger: 'generation' },
    ],
    [
      'restoreFrom is not due again for the same generation',
      { current: ['a1'], restorePending: true, status: { handled, reached } },
      { outcome: { kind: 'ready' } },
    ],
  ])('%s', (_, input, expected) => {
    expect(judge(input)).toMatchObject(expected);
  });
});
