import { describe, expect, test } from '@jest/globals';
import type { Outcome } from '../../../src/api/conditions.ts';
import { emptyStatus, type HistoryEntry, type TargetStatus } from '../../../src/api/target.ts';
import { concludedStatus } from '../../../src/rollback/status.ts';
import { targetWith } from './targets.ts';

const ready: Outcome = { kind: 'ready', reason: 'InSync', message: 'Database unicorn is at a1, as declared.' };
const working: Outcome = { kind: 'working', reason: 'Progressing', message: 'A backup is being taken.' };

const ended = (entry: Partial<HistoryEntry>): HistoryEntry => ({
  operationId: 'op',
  kind: 'backup',
  from: ['a1'],
  to: ['a1'],
  result: 'success',
  reason: 'BackupVerified',
  startedAt: '2026-01-31T12:00:00Z',
  finishedAt: '2026-01-31T12:00:20Z',
  message: 'It was said.',
  report: null,
  ...entry,
});

function backupReady(history: readonly HistoryEntry[], outcome: Outcome): string {
  const lastBackup = {
    id: 'b1',
    revisions: ['a1'],
    finishedAt: '2026-01-30T12:00:00Z',
    verified: true,
    sizeBytes: 1,
  };
  const before: TargetStatus = { ...emptyStatus, lastBackup, history };
  const facts = { outcome, now: new Date('2026-01-31T12:01:00Z'), answers: true, journal: null };
  const { conditions } = concludedStatus(targetWith({}), before, facts);
  const { status, reason } = conditions.find(({ type }) => type === 'BackupReady') ?? {};
  return `${status} ${reason}`;
}

describe('that a backup fell short', () => {
  const failed = ended({ result: 'failure', reason: 'RowsHidden' });

  test.each([ready, working])('stays told, whatever is read or going on since (%j)', (outcome) => {
    expect(backupReady([failed, ended({})], outcome)).toBe('False RowsHidden');
  });

  test('is told of a change too, which did not begin for that', () => {
    const change = ended({ kind: 'downgrade', result: 'failure', reason: 'BackupFailed' });
    expect(backupReady([change], ready)).toBe('False BackupFailed');
  });

  test.each<Partial<HistoryEntry>>([{}, { kind: 'downgrade', result: 'failure', reason: 'DowngradeFailed' }])(
    'is over with the next one, whatever became of the change (%j)',
    (next) => {
      expect(backupReady([ended(next), failed], ready)).toBe('True BackupVerified');
    },
  );
});
