import { expect, test } from '@jest/globals';

import { parseTarget, type MigrationTarget, type TargetStatus } from '../../../src/api/target.ts';
import { emptyStatus } from '../../../src/api/target.ts';
import { summarize } from '../../../src/api/conditions.ts';
import type { Screen } from '../../../src/cli/output.ts';
import { planObject, renderPlan } from '../../../src/cli/render-plan.ts';
import { renderStatus } from '../../../src/cli/render-status.ts';
import { renderStatuses } from '../../../src/cli/render-statuses.ts';
import type { BackupManifest, ChangePlan, Plan } from '../../../src/rollback/model.ts';
import type { Preview } from '../../../src/rollback/preview.ts';

const now = new Date('2026-01-02T12:00:00Z');
const screen: Screen = { write: () => {}, paint: (_, text) => text, isTerminal: false, width: null };
const say = (message: string): string => message;
const command = (rest: string): string => `mt ${rest}`;

const target = (status: Partial<TargetStatus> | null, generation = 2): MigrationTarget => {
  const parsed = parseTarget({
    apiVersion: 'migrationtarget.dev/v1alpha1',
    kind: 'MigrationTarget',
    metadata: { name: 'unicorn-db' },
    spec: {
      revision: 'a100',
      database: { urlFrom: { env: 'URL' } },
      alembic: { workingDir: '/app' },
      runtime: { process: {} },
      backup: { storage: { directory: { path: '/backups' } } },
    },
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  return {
    ...parsed.target,
    metadata: { ...parsed.target.metadata, generation },
    status: status === null ? null : { ...emptyStatus, ...status },
  };
};

const lastBackup = {
  id: 'default.unicorn-db-1',
  revisions: ['b200'],
  finishedAt: '2026-01-02T11:00:00Z',
  verified: true,
  sizeBytes: 12_345_678,
};
const conditions = (outcome: Parameters<typeof summarize>[0]): TargetStatus['conditions'] => [
  ...summarize(outcome, {
    generation: 2,
    lastBackup,
    backupProblem: null,
    rehearsal: null,
    isRehearsing: false,
    applicationDeclared: false,
    application: null,
    previous: [],
    now: new Date('2026-01-02T11:50:00Z'),
  }),
];

test('a target that fell back to a backup, on one screen', () => {
  const status = {
    observedGeneration: 2,
    currentRevision: 'a100',
    currentRevisions: ['a100'],
    lastBackup,
    keptAside: [{ name: 'unicorn__o1', oid: 1, systemIdentifier: '7', keptUntil: '2026-01-03T11:00:00Z' }],
    history: [
      {
        operationId: 'f00',
        kind: 'downgrade',
        from: ['b200'],
        to: ['a100'],
        result: 'success',
        reason: 'RestoredFromBackup',
        startedAt: '2026-01-02T11:49:50Z',
        finishedAt: '2026-01-02T11:50:00Z',
        message: 'm',
        report: '/state/f00.md',
      },
    ],
    conditions: conditions({ kind: 'ready', reason: 'RestoredFromBackup', message: 'It was restored.' }),
  } satisfies Partial<TargetStatus>;
  expect(renderStatus({ kind: 'target', target: target(status) }, { screen, now, say, command }))
    .toBe(`✓ unicorn-db   Ready RestoredFromBackup
  It was restored.

  current     a100
  desired     a100
  backup      default.unicorn-db-1, at b200, 60 min ago, 12.3 MB, verified
  kept aside  database unicorn__o1, until 2026-01-03 11:00:00Z (in 23 h)
  last        downgrade b200 → a100: RestoredFromBackup, 10 min ago, took 10 s
  report      /state/f00.md
  next        mt history unicorn-db
`);
});

test('a target that is being worked on says at what and for how long', () => {
  const status = {
    observedGeneration: 2,
    currentRevision: 'b200',
    plan: { digest: null, kind: 'downgrade', steps: [], loss: null, fallback: null },
    operation: { version: 1, id: 'f00', step: 'change', startedAt: '2026-01-02T11:59:48Z' },
    conditions: conditions({ kind: 'working', reason: 'Progressing', message: 'Operation f00 is at its step change.' }),
  } satisfies Partial<TargetStatus>;
  const text = renderStatus({ kind: 'target', target: target(status) }, { screen, now, say, command });
  expect(text).toContain('… unicorn-db   Not ready Progressing\n');
  expect(text).toContain('  now         downgrade, at its step change, for 12 s (operation f00)\n');
  expect(text).toContain('  next        mt watch unicorn-db\n');
  expect(text).not.toContain('reconcile');
  // In a folder nobody may be at it.
  const inFolder = renderStatus(
    { kind: 'target', target: target(status) },
    { screen, now, say, command, inFolder: true },
  );
  expect(inFolder).toContain(
    '  next        mt watch unicorn-db\n  or          mt reconcile unicorn-db (where no controller runs)\n',
  );
});

test('an operation that was interrupted in a folder, where nobody goes on with it, is gone on with by a command', () => {
  const interrupted = conditions({ kind: 'retrying', reason: 'OperationInterrupted', message: 'It was stopped.' });
  const declared = { kind: 'target', target: target({ observedGeneration: 2, conditions: interrupted }) } as const;
  const options = { screen, now, say, command };
  expect(renderStatus(declared, { ...options, inFolder: true })).toMatch(/  next        mt reconcile unicorn-db\n$/);
  // In a cluster its controller does.
  expect(renderStatus(declared, options)).toMatch(/  next        mt watch unicorn-db\n$/);
});

test('what to type next stands there a command a line, whole however narrow the terminal', () => {
  const status = {
    observedGeneration: 2,
    conditions: conditions({ kind: 'stalled', reason: 'UpgradeFailed', message: 'Then: migration-target reconcile u' }),
  } satisfies Partial<TargetStatus>;
  const narrow: Screen = { ...screen, isTerminal: true, width: 30 };
  const typed = (rest: string): string => `migration-target --dir ops ${rest}`;
  const text = renderStatus({ kind: 'target', target: target(status) }, { screen: narrow, now, say, command: typed });
  expect(text).toContain('\n  migration-target reconcile u\n');
  expect(text).toContain(
    `\n  next        ${typed('doctor unicorn-db')}\n  then        ${typed('reconcile unicorn-db')}\n`,
  );
});

test('where somebody moved the database no command to move it back is put into the mouth', () => {
  const status = {
    observedGeneration: 2,
    conditions: conditions({ kind: 'stalled', reason: 'ChangedOutside', message: 'It was moved.' }),
  } satisfies Partial<TargetStatus>;
  const text = renderStatus({ kind: 'target', target: target(status) }, { screen, now, say, command });
  expect(text).toContain('\n  next        mt plan unicorn-db\n');
  expect(text).not.toContain('reconcile');
});

test('a declaration that is newer than what is known of it is never shown as ready', () => {
  const status = {
    observedGeneration: 1,
    currentRevision: 'b200',
    conditions: conditions({ kind: 'ready', reason: 'InSync', message: '' }),
  };
  const declarations = [
    { kind: 'target', target: target(status) },
    {
      kind: 'invalid',
      key: { namespace: 'default', name: 'broken' },
      generation: 1,
      problem: 'spec.polcy: unknown field',
      status: null,
    },
  ] as const;
  expect(renderStatuses(declarations, { screen, wide: false, now }))
    .toBe(`NAME         CURRENT   DESIRED   READY     REASON              AGE
unicorn-db   b200      a100      Unknown   not looked at yet   10m
broken                           False     InvalidSpec`);
  expect(renderStatus(declarations[0], { screen, now, say, command })).toContain(
    '? unicorn-db   declared anew since it was',
  );
  expect(renderStatus({ kind: 'target', target: target(null) }, { screen, now, say, command })).toContain(
    '? unicorn-db   not looked at yet',
  );
});

const backup: BackupManifest = {
  version: 1,
  id: 'default.unicorn-db-1',
  target: { namespace: 'default', name: 'unicorn-db' },
  operation: null,
  database: { systemIdentifier: '7', name: 'unicorn', oid: 5 },
  server: { version: '16.4', major: 16 },
  tools: { pgDump: 'pg_dump (PostgreSQL) 16.4' },
  format: 'directory',
  revisions: ['a100'],
  versionTable: { schema: 'public', name: 'alembic_version' },
  schema: null,
  rowCounts: {},
  properties: {
    owner: 'u',
    encoding: 'UTF8',
    collate: 'C',
    ctype: 'C',
    localeProvider: 'c',
    icuLocale: null,
    icuRules: null,
    tablespace: 'pg_default',
    connectionLimit: -1,
    comment: null,
    statements: [],
  },
  scripts: null,
  files: [],
  sizeBytes: 1000,
  startedAt: '2026-01-01T11:59:00Z',
  finishedAt: '2026-01-01T12:00:00Z',
  reason: 'BeforeChange',
  verifiedAt: '2026-01-01T12:00:00Z',
  keptUntil: '2026-01-02T12:00:00Z',
};
const preview = (plan: Plan, declared = plan.desired): Preview => ({
  plan,
  desired: plan.desired,
  declared,
  state: {
    identity: { systemIdentifier: '7', name: 'unicorn', oid: 5 },
    server: { version: '16.4', major: 16 },
    versionTable: { kind: 'present', revisions: ['b200'] },
    versionTables: [],
    empty: false,
    role: { name: 'u', createDatabase: true, superuser: false },
    blockers: [],
    sizeBytes: 45_000_000,
  },
  graph: null,
  backups: [backup],
  sql: null,
  unfinished: null,
});

const downgrade: ChangePlan = {
  kind: 'downgrade',
  current: ['b200'],
  desired: ['a100'],
  steps: [{ direction: 'down', revision: 'b200' }],
  risks: [{ revision: 'b200', file: 'versions/b200.py', line: 12, what: 'drop_column("users", "email")' }],
  fallback: { kind: 'restore', backup: backup.id, takenAt: backup.finishedAt },
  digest: 'abcd',
};

test('a plan says what runs, what may be lost with file and line, and which backup stands behind it', () => {
  expect(renderPlan('unicorn-db', preview(downgrade), { screen, now, say, isRehearsing: false }))
    .toBe(`unicorn-db   downgrade   b200 → a100
  database unicorn, 45.0 MB, PostgreSQL 16.4

  1 migration
    ↓ down   b200

  may lose data: 1 statement that can take it away, or can't be judged
    drop_column("users", "email")   versions/b200.py:12

  before it
    a backup of the database as it is, restored once to see that it is whole
  if it fails
    this backup is restored, since it is at the desired revision:
    default.unicorn-db-1   at a100, 24 h ago, 1.0 kB, verified
    What was written since 2026-01-01 12:00:00Z (24 h ago) is not in it.

  digest abcd
`);
});

test('on a narrow terminal the place of what may be lost, and what a backup is, have lines of their own, and no blank stands at the end of one', () => {
  const sql = { kind: 'sql', sql: 'BEGIN;\n\nCOMMIT;' } as const;
  const narrow: Screen = { ...screen, isTerminal: true, width: 40 };
  const text = renderPlan(
    'unicorn-db',
    { ...preview(downgrade), sql },
    { screen: narrow, now, say, isRehearsing: false },
  );
  expect(text).toContain('\n    drop_column("users", "email")\n      versions/b200.py:12\n');
  expect(text).toContain(`\n    ${backup.id}\n      at a100, 24 h ago, 1.0 kB,\n      verified\n`);
  expect(text).toContain('\n    BEGIN;\n\n    COMMIT;\n');
  expect(text).not.toMatch(/ $/m);
});

test('a plan that the policy refuses shows what it would have run, what may be lost, and last what to declare', () => {
  const refused = preview({
    kind: 'refuse',
    current: ['b200'],
    desired: ['a100'],
    reason: 'DataLossForbidden',
    message: 'To permit it: spec.policy.dataLoss: Allow',
    change: downgrade,
  });
  expect(renderPlan('unicorn-db', refused, { screen, now, say, isRehearsing: false }))
    .toBe(`unicorn-db   refused   b200 → a100   DataLossForbidden
  database unicorn, 45.0 MB, PostgreSQL 16.4

  1 migration
    ↓ down   b200

  may lose data: 1 statement that can take it away, or can't be judged
    drop_column("users", "email")   versions/b200.py:12

  To permit it: spec.policy.dataLoss: Allow
`);
  const { steps, risks } = downgrade;
  expect(planObject('unicorn-db', refused)).toMatchObject({ kind: 'refuse', steps, risks, digest: null });
});

test('a plan that is refused, and one with nothing to do, say so in their first line', () => {
  const refused = renderPlan(
    'u',
    preview({
      kind: 'refuse',
      current: ['b200'],
      desired: ['a100'],
      reason: 'DowngradeForbidden',
      message: 'Because.',
      change: null,
    }),
    { screen, now, say, isRehearsing: false },
  );
  expect(refused).toMatch(/^u {3}refused {3}b200 → a100 {3}DowngradeForbidden\n[^]*\n\n {2}Because\.\n$/);
  expect(
    renderPlan('u', preview({ kind: 'nothing', current: ['a100'], desired: ['a100'] }), {
      screen,
      now,
      say,
      isRehearsing: false,
    }),
  ).toMatch(/^u {3}nothing to do: at a100, as declared\n/);
});

test('a plan of what was typed does not call it declared', () => {
  const typed = preview({ kind: 'nothing', current: ['a100'], desired: ['a100'] }, ['b200']);
  expect(renderPlan('u', typed, { screen, now, say, isRehearsing: false })).toMatch(
    /^u {3}nothing to do: at a100, as was typed; b200 is declared\n/,
  );
});

test.each<[string, Partial<TargetStatus> | null, string]>([
  ['never looked at', null, '? unicorn-db   not looked at since it was suspended\n'],
  [
    'was ready before',
    { observedGeneration: 1, conditions: conditions({ kind: 'ready', reason: 'Upgraded', message: 'Up.' }) },
    '? unicorn-db   suspended since it was Ready Upgraded\n',
  ],
])('a target that is declared to be suspended and %s says so', (_, status, expected) => {
  const { spec, ...rest } = target(status);
  const suspended = { ...rest, spec: { ...spec, suspend: true } };
  const text = renderStatus({ kind: 'target', target: suspended }, { screen, now, say, command });
  expect(text.startsWith(expected)).toBe(true);
});
