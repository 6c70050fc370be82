import { describe, expect, test } from '@jest/globals';
import { boundMessage, summarize, type ConditionFacts, type Outcome } from '../../../src/api/conditions.ts';
import { reasons } from '../../../src/api/reasons.ts';
import { conditionTypes, maxMessageLength, type Condition } from '../../../src/api/status.ts';

const now = new Date('2026-01-02T03:04:05Z');
const facts: ConditionFacts = {
  generation: 7,
  lastBackup: null,
  backupProblem: null,
  rehearsal: null,
  isRehearsing: false,
  applicationDeclared: false,
  application: null,
  previous: [],
  now,
};
const ready: Outcome = { kind: 'ready', reason: 'InSync', message: 'At a1.' };
const stalled: Outcome = { kind: 'stalled', reason: 'DowngradeFailed', message: 'It raised.' };

function one(type: string, conditions: readonly Condition[]): Condition {
  const found = conditions.filter((condition) => condition.type === type);
  expect(found).toHaveLength(1);
  return found[0] as Condition;
}

describe('what came of a target is said by', () => {
  test.each<[Outcome, string]>([
    [ready, 'True InSync, False InSync, False InSync, False ApprovalNotRequired'],
    [
      { kind: 'working', reason: 'Progressing', message: 'm' },
      'False Progressing, True Progressing, False Progressing, False ApprovalNotRequired',
    ],
    [
      { kind: 'retrying', reason: 'DatabaseUnreachable', message: 'm' },
      'False DatabaseUnreachable, True DatabaseUnreachable, False DatabaseUnreachable, False ApprovalNotRequired',
    ],
    [
      { kind: 'awaitingApproval', message: 'm' },
      'False ApprovalRequired, False ApprovalRequired, False ApprovalRequired, True ApprovalRequired',
    ],
    [stalled, 'False DowngradeFailed, False DowngradeFailed, True DowngradeFailed, False ApprovalNotRequired'],
    [
      { kind: 'suspended', message: 'm' },
      'False Suspended, False Suspended, False Suspended, False ApprovalNotRequired',
    ],
  ])('%j: Ready, Reconciling, Stalled, ApprovalRequired are %s', (outcome, expected) => {
    const conditions = summarize(outcome, facts);
    const row = ['Ready', 'Reconciling', 'Stalled', 'ApprovalRequired'].map((type) => one(type, conditions));
    expect(row.map(({ status, reason }) => `${status} ${reason}`).join(', ')).toBe(expected);
    expect(row[0]?.message).toBe(outcome.message);
    // Whatever is True says why; what is False keeps silent, but for Ready.
    for (const { status, message } of row.slice(1)) expect(message).toBe(status === 'True' ? outcome.message : '');
  });

  test('all conditions, always, each for the generation that it is about', () => {
    for (const outcome of [ready, stalled]) {
      const conditions = summarize(outcome, facts);
      expect(conditions.map(({ type }) => type)).toEqual(conditionTypes);
      expect(conditions.every(({ observedGeneration }) => observedGeneration === 7)).toBe(true);
      expect(conditions.every(({ reason }) => reason in reasons)).toBe(true);
    }
  });
});

describe('the last backup', () => {
  const backup = { id: 'b1', revisions: ['a1'], finishedAt: '2026-01-01T00:00:00Z', verified: true, sizeBytes: 1 };
  test.each<[string, Partial<ConditionFacts>, string, string]>([
    [
      'that was restored once',
      { lastBackup: backup },
      'True BackupVerified',
      'Backup b1 of a1, finished 2026-01-01T00:00:00Z, was restored',
    ],
    [
      'that never was',
      { lastBackup: { ...backup, verified: false } },
      'False BackupNotVerified',
      'migration-target backups verify b1',
    ],
    ['at base', { lastBackup: { ...backup, revisions: [] } }, 'True BackupVerified', 'Backup b1 of base'],
    ['that there is none of', {}, 'False NoBackup', 'migration-target backup NAME'],
    [
      'that fell short',
      { lastBackup: backup, backupProblem: { reason: 'BackupFailed', message: 'The disk is full.' } },
      'False BackupFailed',
      'The disk is full.',
    ],
  ])('%s', (_name, change, expected, message) => {
    const condition = one('BackupReady', summarize(ready, { ...facts, ...change }));
    expect(`${condition.status} ${condition.reason}`).toBe(expected);
    expect(condition.message).toContain(message);
  });
});

describe('the application', () => {
  const said = { at: '2026-01-01T00:00:00Z', message: 'It said so.', log: null, generation: facts.generation };
  test.each<[string, Partial<ConditionFacts>, string]>([
    ['is not declared', { applicationDeclared: false }, 'Unknown NotDeclared'],
    ['was not asked yet', {}, 'Unknown HealthNotChecked'],
    ['is healthy', { application: { ...said, state: 'healthy' } }, 'True ApplicationHealthy'],
    [
      'was healthy for an older generation',
      { application: { ...said, state: 'healthy', generation: facts.generation - 1 } },
      'Unknown HealthNotChecked',
    ],
    ['is unhealthy', { application: { ...said, state: 'unhealthy' } }, 'False ApplicationUnhealthy'],
    [
      'is stopped, since whatever generation',
      { application: { ...said, state: 'stopped', generation: facts.generation - 1 } },
      'False ApplicationStopped',
    ],
  ])('%s', (_name, change, expected) => {
    const { status, reason } = one(
      'ApplicationHealthy',
      summarize(ready, { ...facts, applicationDeclared: true, ...change }),
    );
    expect(`${status} ${reason}`).toBe(expected);
  });

  test('that is unhealthy is told with what it wrote', () => {
    const application = { ...said, state: 'unhealthy', log: 'Its last errors: ✗ api: no.' } as const;
    const { message } = one(
      'ApplicationHealthy',
      summarize(ready, { ...facts, applicationDeclared: true, application }),
    );
    expect(message).toBe('It said so. Its last errors: ✗ api: no.');
  });
});

describe('the time of the last transition', () => {
  const before = summarize(ready, facts);
  const later = new Date('2026-02-02T00:00:00Z');

  test('stays while the status does, though reason, message and generation change', () => {
    const after = summarize(
      { kind: 'ready', reason: 'Upgraded', message: 'n' },
      { ...facts, generation: 8, previous: before, now: later },
    );
    expect(one('Ready', after)).toMatchObject({
      reason: 'Upgraded',
      observedGeneration: 8,
      lastTransitionTime: now.toISOString(),
    });
  });

  test('moves with the status, of those conditions that changed only', () => {
    const after = summarize(stalled, { ...facts, previous: before, now: later });
    expect(one('Ready', after).lastTransitionTime).toBe(later.toISOString());
    expect(one('Stalled', after).lastTransitionTime).toBe(later.toISOString());
    expect(one('Reconciling', after).lastTransitionTime).toBe(now.toISOString());
  });
});

test('no condition carries a message that is longer than that', () => {
  const conditions = summarize({ ...stalled, message: 'x'.repeat(100_000) }, facts);
  for (const { message } of conditions) expect(message.length).toBeLessThanOrEqual(maxMessageLength);
});

test('a message that is too long keeps its beginning and its end', () => {
  const bounded = boundMessage(`begin ${'\u{1F984}'.repeat(maxMessageLength)} end`);
  expect(bounded.length).toBeLessThanOrEqual(maxMessageLength);
  expect(bounded).toMatch(/^begin .* … .* end$/su);
  expect(bounded.isWellFormed()).toBe(true);
});
