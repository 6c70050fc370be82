/** `approve` in a folder, as a person types it; the status of a target that waits is written by hand. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { createDirectoryHome } from '../../../src/adapters/directory/index.ts';
import { emptyStatus } from '../../../src/api/target.ts';
import { summarize, type Outcome } from '../../../src/api/conditions.ts';
import type { Approval, Home } from '../../../src/rollback/ports.ts';
import { contentOf, startProgram, type Ended } from '../../integration/cli/bench.ts';

const key = { namespace: 'default', name: 'unicorn-db' };
const digest = '0123456789abcdef';
const statements = ['DROP TABLE a', 'DROP TABLE b', 'DROP TABLE c', 'DROP TABLE d'].map((what, index) => ({
  revision: 'a1',
  file: 'versions/a1.py',
  line: index + 1,
  what,
}));
const loss = {
  measured: false,
  rows: null,
  tables: [],
  moreTables: 0,
  objects: [],
  moreObjects: 0,
  statements,
};
const waiting: Outcome = { kind: 'awaitingApproval', message: 'Four tables would go.' };

let dir: string;
let home: Home;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'cli-approve-'));
  home = createDirectoryHome(dir);
  await mkdir(join(dir, 'targets'));
  await writeFile(
    join(dir, 'targets/unicorn-db.yaml'),
    `apiVersion: migrationtarget.dev/v1alpha1
kind: MigrationTarget
metadata: {name: unicorn-db}
spec:
  revision: "a1"
  database: {urlFrom: {env: URL}}
  alembic: {workingDir: /app}
  runtime: {process: {}}
  backup: {storage: {directory: {path: /backups}}}
`,
  );
});
afterEach(() => rm(dir, { recursive: true }));

async function say(outcome: Outcome, plan: string | null, rows: number | null = null): Promise<void> {
  const conditions = summarize(outcome, {
    generation: 1,
    lastBackup: null,
    backupProblem: null,
    rehearsal: null,
    isRehearsing: true,
    applicationDeclared: false,
    application: null,
    previous: [],
    now: new Date(),
  });
  // Whoever looks at it first counts its generation.
  await home.get(key);
  await home.saveStatus(key, {
    ...emptyStatus,
    observedGeneration: 1,
    conditions: [...conditions],
    plan:
      plan === null ? null : { digest: plan, kind: 'downgrade', steps: [], loss: { ...loss, rows }, fallback: null },
  });
}

const approve = (...args: readonly string[]): Promise<Ended> =>
  startProgram(['approve', ...args], {
    PATH: process.env['PATH'],
    MIGRATION_TARGET_DIR: dir,
    SUDO_USER: 'jane',
    HOME: dir,
  }).ended;

test('the plan that waits is approved, and told: what, by whom, until when, how much, and what to type next', async () => {
  await say(waiting, digest);
  const { code, stdout, stderr } = await approve(
    'unicorn-db',
    '--plan',
    digest,
    '--max-row-loss',
    '25',
    '--reason',
    'seen',
  );
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const [approval] = await home.approvals(key);
  expect(approval).toMatchObject({
    planDigest: digest,
    maxRowLoss: 25,
    reason: 'seen',
    approvedBy: 'jane',
    usedBy: null,
  });
  expect(stdout).toContain(`✓ unicorn-db   Approved   plan ${digest}\n`);
  expect(stdout).toMatch(/By jane, once, until \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ \(in 24 h\), for 25 rows at most\./);
  expect(stdout).toContain(
    'It may lose data: DROP TABLE a (versions/a1.py:1); DROP TABLE b (versions/a1.py:2); DROP TABLE c (versions/a1.py:3); and 1 more.',
  );
  expect(stdout).toContain(`approval ${approval?.name}\n`);
  expect(stdout).toMatch(/next +migration-target reconcile unicorn-db\n +or +migration-target watch unicorn-db/);
});

test('an approval of fewer rows than the plan would lose says at once that it does not count, and how one would', async () => {
  await say(waiting, digest, 60_500);
  const { code, stdout } = await approve('unicorn-db', '--plan', digest, '--max-row-loss', '5');
  expect(code).toBe(0);
  expect(stdout).toContain(
    `! As it is now, the plan would lose 60500 rows: until that is less, this approval does not count. To allow it: migration-target approve unicorn-db --plan ${digest} --max-row-loss 60500\n`,
  );
  expect((await approve('unicorn-db', '--plan', digest)).stdout).not.toContain('does not count');
});

test('of a restore that was asked for says that it has to be asked for again: nothing declared leads there', async () => {
  const again = 'migration-target restore unicorn-db default.unicorn-db-1';
  const message = `Rows would go. To approve: migration-target approve unicorn-db --plan ${digest} --max-row-loss 3, then: ${again}`;
  await say({ kind: 'awaitingApproval', message }, digest);
  const { stdout } = await approve('unicorn-db', '--plan', digest);
  expect(stdout).toMatch(/ +next +migration-target restore unicorn-db default\.unicorn-db-1\n$/);
});

test('for programs it is an object, or a name', async () => {
  await say(waiting, digest);
  const first = await approve('unicorn-db', '--plan', digest, '-o', 'json');
  const approval = JSON.parse(first.stdout) as Approval;
  expect(await home.approvals(key)).toEqual([expect.objectContaining({ name: approval.name, maxRowLoss: null })]);
  expect(approval).toMatchObject({ namespace: 'default', target: 'unicorn-db', planDigest: digest, reason: null });
  const second = await approve('unicorn-db', '--plan', digest, '-o', 'name');
  expect(second.stdout).toMatch(/^migrationapproval\/unicorn-db-\w{5}\n$/);
  expect(second.stdout).not.toContain(approval.name);
});

test.each<[string, Outcome, string | null, readonly string[], RegExp]>([
  [
    'another plan than the one that waits',
    waiting,
    'fedcba9876543210',
    ['unicorn-db', '--plan', digest],
    /✗ Not the plan of unicorn-db\n.*no plan 0123456789abcdef; plan fedcba9876543210 waits now\. It may lose data: DROP TABLE a .* To see it: migration-target status unicorn-db$/,
  ],
  [
    'the beginning of a digest',
    waiting,
    digest,
    ['unicorn-db', '--plan', digest.slice(0, 12)],
    /✗ Not the plan of unicorn-db/,
  ],
  ['a plan, where there is none', waiting, null, ['unicorn-db', '--plan', digest], /none waits now/],
  [
    'a plan that waits for nobody',
    { kind: 'working', reason: 'Progressing', message: 'It is at its step change.' },
    digest,
    ['unicorn-db', '--plan', digest],
    /✗ Nothing to approve for unicorn-db\n.*It waits for no approval: It is at its step change\. To see it: /,
  ],
  ['what nobody has seen', waiting, digest, ['unicorn-db'], /required option '--plan <DIGEST>' not specified/],
  ['a target that is not named', waiting, digest, ['--plan', digest], /missing required argument 'NAME'/],
  ['what is not declared', waiting, digest, ['other', '--plan', digest], /✗ No target other/],
  ['fewer rows than none', waiting, digest, ['unicorn-db', '--plan', digest, '--max-row-loss=-1'], /a number of rows/],
  ['part of a row', waiting, digest, ['unicorn-db', '--plan', digest, '--max-row-loss', '1.5'], /a number of rows/],
  [
    'an endless reason',
    waiting,
    digest,
    ['unicorn-db', '--plan', digest, '--reason', 'x'.repeat(1025)],
    /spec\.reason: is longer/,
  ],
])('%s is not approved, and nothing is written', async (_name, outcome, plan, args, said) => {
  await say(outcome, plan);
  const before = await contentOf(dir);
  const { code, stdout, stderr } = await approve(...args);
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  expect(stderr.trim()).toMatch(said);
  expect(await contentOf(dir)).toEqual(before);
});
