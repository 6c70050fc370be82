import { describe, expect, test } from '@jest/globals';

import { decide, decideRestore, type PlanInput } from '../../../src/rollback/plan.ts';
import type { RevisionGraph } from '../../../src/rollback/model.ts';
import { at, backupAt, history, identity, risky, state } from './histories.ts';

const graph = history('a1', 'a2 < a1', 'a3 < a2', 'b2 < a1');
const lossy: RevisionGraph = {
  ...graph,
  revisions: graph.revisions.map((revision) => ({ ...revision, downgrade: risky(revision.id) })),
};

const input = (changes: Partial<PlanInput> = {}): PlanInput => ({
  uid: 'uid-1',
  name: 'unicorn',
  desired: ['a1'],
  policy: { rehearsal: 'Never', downgrade: 'Allow', restore: 'Allow', dataLoss: 'Allow' },
  state: at('a3'),
  versionTable: 'public.alembic_version',
  graph,
  backups: [],
  broken: [],
  ...changes,
});

describe('the plan', () => {
  test.each<[string, Partial<PlanInput>, Record<string, unknown>]>([
    ['is nothing where the database is there', { state: at('a1') }, { kind: 'nothing' }],
    ['is an upgrade', { state: at('a1'), desired: ['a3'] }, { kind: 'upgrade', desired: ['a3'] }],
    ['is a downgrade', {}, { kind: 'downgrade', current: ['a3'], desired: ['a1'] }],
    ['is a switch across branches', { desired: ['b2'] }, { kind: 'switch' }],
    ['goes to base', { desired: [] }, { kind: 'downgrade', desired: [] }],
    [
      'starts an empty database from base',
      { state: state({ versionTable: { kind: 'missing' }, empty: true }) },
      { kind: 'upgrade' },
    ],
    [
      'refuses tables without a version table: missing is not empty',
      { state: state({ versionTable: { kind: 'missing' } }) },
      { kind: 'refuse', reason: 'VersionTableMissing' },
    ],
    ['takes an empty version table for base', { state: at(), desired: ['a1'] }, { kind: 'upgrade', current: [] }],
    ['refuses a revision that nobody knows', { desired: ['zz'] }, { kind: 'refuse', reason: 'RevisionNotFound' }],
    [
      'refuses to leave a revision that the scripts lack',
      { state: at('zz') },
      { kind: 'refuse', reason: 'RevisionNotFound' },
    ],
    [
      'restores where the scripts lack the current revision and a backup is at the desired one',
      { state: at('zz'), backups: [backupAt(['a1'])] },
      { kind: 'restore', backup: backupAt(['a1']).id },
    ],
    [
      'refuses that restore where the policy forbids restoring',
      {
        state: at('zz'),
        backups: [backupAt(['a1'])],
        policy: { rehearsal: 'Never', downgrade: 'Allow', restore: 'Forbid', dataLoss: 'Allow' },
      },
      { kind: 'refuse', reason: 'RestoreForbidden' },
    ],
    [
      'refuses that restore where the policy forbids loss',
      {
        state: at('zz'),
        backups: [backupAt(['a1'])],
        policy: { rehearsal: 'Never', downgrade: 'Allow', restore: 'Allow', dataLoss: 'Forbid' },
      },
      { kind: 'refuse', reason: 'DataLossForbidden' },
    ],
    [
      'refuses steps that lead nowhere: of scripts that were not read oldest first',
      { graph: history('a2 < a1', 'a1'), state: at(), desired: ['a2'] },
      {
        kind: 'refuse',
        reason: 'RevisionUnreachable',
        message: expect.stringMatching(/from base to exactly a2: simulated, it ends at a step that cannot be run\./),
      },
    ],
    [
      'refuses a downgrade where the policy forbids it',
      { policy: { rehearsal: 'Never', downgrade: 'Forbid', restore: 'Allow', dataLoss: 'Allow' } },
      { kind: 'refuse', reason: 'DowngradeForbidden', change: { kind: 'downgrade', risks: [] } },
    ],
    [
      'lets an upgrade pass where downgrades are forbidden',
      {
        state: at('a1'),
        desired: ['a3'],
        policy: { rehearsal: 'Never', downgrade: 'Forbid', restore: 'Allow', dataLoss: 'Allow' },
      },
      { kind: 'upgrade' },
    ],
    [
      'refuses what may lose data, naming the statement and the field',
      { graph: lossy, policy: { rehearsal: 'Never', downgrade: 'Allow', restore: 'Allow', dataLoss: 'Forbid' } },
      {
        kind: 'refuse',
        reason: 'DataLossForbidden',
        message: expect.stringMatching(
          /drop_column\('users', 'email'\) \(versions\/a3\.py:7\).*spec\.policy\.dataLoss/s,
        ),
        // To be shown with all that would run, and all that may be lost.
        change: {
          steps: ['a3', 'a2'].map((revision) => ({ direction: 'down', revision })),
          risks: [...risky('a3').risks, ...risky('a2').risks],
        },
      },
    ],
    [
      'lets through what is known to lose nothing',
      { policy: { rehearsal: 'Never', downgrade: 'Allow', restore: 'Allow', dataLoss: 'Forbid' } },
      { kind: 'downgrade' },
    ],
    [
      'refuses whatever a blocker blocks',
      {
        state: state({
          versionTable: { kind: 'present', revisions: ['a3'] },
          blockers: [{ reason: 'DatabaseReadOnly', message: 'a replica', blocks: 'change' }],
        }),
      },
      { kind: 'refuse', reason: 'DatabaseReadOnly' },
    ],
  ])('%s', (_, changes, expected) => {
    expect(decide(input(changes))).toMatchObject(expected);
  });
});

describe('the fallback', () => {
  test.each<[string, Partial<PlanInput>, Record<string, unknown>]>([
    [
      'is the backup at the desired revision',
      { backups: [backupAt(['a1'])] },
      { kind: 'restore', backup: backupAt(['a1']).id },
    ],
    ['is never the backup of the revision that is left', { backups: [backupAt(['a3'])] }, { kind: 'origin' }],
    [
      'is never a backup that was not verified, and says so',
      { backups: [backupAt(['a1'], { verifiedAt: null })] },
      { kind: 'origin', because: expect.stringMatching(/no verified backup at a1 \(.+: it was never verified\)$/) },
    ],
    [
      'is never a damaged one, and says which and why',
      { broken: [{ id: 'b9', problem: 'dump/1.dat is missing. Look at it: ls -la' }] },
      { kind: 'origin', because: 'there is no verified backup at a1 (b9 is damaged: dump/1.dat is missing)' },
    ],
    [
      'is never a backup of another server',
      { backups: [backupAt(['a1'], { database: { ...identity, systemIdentifier: '8' } })] },
      { kind: 'origin' },
    ],
    [
      'is the origin where the policy forbids restoring',
      {
        backups: [backupAt(['a1'])],
        policy: { rehearsal: 'Never', downgrade: 'Allow', restore: 'Forbid', dataLoss: 'Allow' },
      },
      { kind: 'origin' },
    ],
    [
      'is the origin where the policy forbids loss',
      {
        backups: [backupAt(['a1'])],
        policy: { rehearsal: 'Never', downgrade: 'Allow', restore: 'Allow', dataLoss: 'Forbid' },
      },
      { kind: 'origin' },
    ],
    [
      'of an upgrade is always the origin',
      { state: at('a1'), desired: ['a3'], backups: [backupAt(['a3'])] },
      { kind: 'origin' },
    ],
    [
      'is the origin where the database holds another history too',
      {
        state: state({
          versionTable: { kind: 'present', revisions: ['a3'] },
          versionTables: ['public.alembic_version', 'billing.alembic_version'],
        }),
        backups: [backupAt(['a1'])],
      },
      { kind: 'origin', because: expect.stringContaining('billing.alembic_version') },
    ],
  ])('%s', (_, changes, expected) => {
    expect(decide(input(changes))).toMatchObject({ fallback: expected });
  });
});

describe('a restore that is declared', () => {
  const wanted = { backup: backupAt(['a1']).id, because: 'spec.restoreFrom declares it' };

  test('needs a backup of this very database', () => {
    expect(decideRestore(input({ backups: [backupAt(['a1'])] }), wanted)).toMatchObject({
      kind: 'restore',
      desired: ['a1'],
    });
    expect(decideRestore(input(), wanted)).toMatchObject({ kind: 'refuse', reason: 'BackupNotFound' });
    const foreign = backupAt(['a1'], { database: { ...identity, name: 'other_db' } });
    expect(decideRestore(input({ backups: [foreign] }), wanted)).toMatchObject({
      kind: 'refuse',
      reason: 'BackupInvalid',
    });
  });

  test('of a damaged backup tells what is damaged', () => {
    const broken = [{ id: wanted.backup, problem: 'dump/1.dat is missing' }];
    expect(decideRestore(input({ broken }), wanted)).toMatchObject({
      kind: 'refuse',
      reason: 'BackupInvalid',
      message: expect.stringContaining('dump/1.dat is missing'),
    });
  });

  test('is refused where it would rewind another history', () => {
    const shared = state({ versionTables: ['public.alembic_version', 'public.alembic_version_b'] });
    expect(decideRestore(input({ state: shared, backups: [backupAt(['a1'])] }), wanted)).toMatchObject({
      kind: 'refuse',
      reason: 'TargetConflict',
    });
  });
});

describe('the digest', () => {
  const digest = (changes: Partial<PlanInput> = {}): string => {
    const plan = decide(input(changes));
    return 'digest' in plan ? plan.digest : plan.kind;
  };

  test('is the same for the same plan', () => {
    expect(digest()).toBe(digest());
    expect(digest()).toMatch(/^[0-9a-f]{16}$/);
  });

  test.each<[string, Partial<PlanInput>]>([
    ['target', { uid: 'uid-2' }],
    ['database', { state: { ...at('a3'), identity: { ...identity, oid: 16_501 } } }],
    ['origin', { state: at('a2') }],
    ['revision', { desired: ['a2'] }],
    ['scripts', { graph: { ...graph, digest: 'other' } }],
    ['fallback', { backups: [backupAt(['a1'])] }],
    ['list of what may be lost', { graph: { ...lossy, digest: graph.digest } }],
  ])('is another for another %s', (_, changes) => {
    expect(digest(changes)).not.toBe(digest());
  });
});
