/** Approvals in a folder: what a person, a repository, a clock and two processes do to them. */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { createDirectoryHome, type DirectoryHomeOptions } from '../../src/adapters/directory/index.ts';
import { keyText, type TargetKey } from '../../src/api/target.ts';
import { findApproval } from '../../src/rollback/approval.ts';
import type { Consent, Home } from '../../src/rollback/ports.ts';

const key: TargetKey = { namespace: 'default', name: 'unicorn-db' };
const digest = '0123456789abcdef';
const consent: Consent = { planDigest: digest, maxRowLoss: null, reason: null, approvedBy: 'jane' };
const noon = new Date('2026-05-02T12:00:00.000Z');
const hoursLater = (hours: number): Date => new Date(noon.getTime() + hours * 3_600_000);

let dir: string;
let now: Date;
let problems: string[];
const home = (options: DirectoryHomeOptions = {}): Home =>
  createDirectoryHome(dir, {
    clock: { now: () => now },
    onProblem: (problem) => void problems.push(problem.message),
    ...options,
  });

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'directory-approvals-'));
  now = noon;
  problems = [];
  await declare('unicorn-db');
});
afterEach(() => rm(dir, { recursive: true }));

async function write(path: string, content: string): Promise<string> {
  const file = join(dir, path);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, content);
  return file;
}

const declare = (name: string): Promise<string> =>
  write(
    `targets/${name}.yaml`,
    `apiVersion: migrationtarget.dev/v1alpha1
kind: MigrationTarget
metadata: {name: ${name}}
spec:
  revision: "a1"
  database: {urlFrom: {env: URL}}
  alembic: {workingDir: /app}
  runtime: {process: {}}
  backup: {storage: {directory: {path: /backups}}}
`,
  );

const yaml = (name: string, { spec = '', target = 'unicorn-db', more = '' } = {}): string =>
  `apiVersion: migrationtarget.dev/v1alpha1
kind: MigrationApproval
metadata: {name: ${name}}
spec:
  targetRef: {name: ${target}}
  planDigest: "${digest}"
  approvedBy: joe
${spec}${more}`;

/** A file that a person wrote at that moment. */
async function place(path: string, content: string, at = noon): Promise<string> {
  const file = await write(`approvals/${path}`, content);
  await utimes(file, at, at);
  return file;
}

const namesOf = async (from: Home): Promise<readonly string[]> => (await from.approvals(key)).map(({ name }) => name);

async function until(holds: () => boolean): Promise<void> {
  const start = performance.now();
  while (!holds()) {
    if (performance.now() - start > 10_000) throw new Error('it did not come to hold');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

describe('an approval that was given by the command', () => {
  test('is a file that people can read, and an approval to every process', async () => {
    const name = await home().approve(key, { ...consent, maxRowLoss: 10, reason: 'seen by the team' });
    expect(name).toMatch(/^unicorn-db-[a-z0-9]{5}$/);
    const file = join(dir, 'approvals', `${name}.yaml`);
    expect(parse(await readFile(file, 'utf8'))).toEqual({
      apiVersion: 'migrationtarget.dev/v1alpha1',
      kind: 'MigrationApproval',
      metadata: { name, namespace: 'default' },
      spec: {
        targetRef: { name: 'unicorn-db' },
        planDigest: digest,
        maxRowLoss: 10,
        reason: 'seen by the team',
        approvedBy: 'jane',
      },
    });
    expect([(await stat(file)).mode & 0o777, (await stat(dirname(file))).mode & 0o777]).toEqual([0o644, 0o755]);
    expect(await home().approvals(key)).toEqual([
      {
        name,
        target: 'unicorn-db',
        planDigest: digest,
        maxRowLoss: 10,
        reason: 'seen by the team',
        approvedBy: 'jane',
        createdAt: noon.toISOString(),
        expiresAt: hoursLater(24).toISOString(),
        usedBy: null,
      },
    ]);
    expect(problems).toEqual([]);
  });

  test('a digest that looks like a number stays one of text', async () => {
    await home().approve(key, { ...consent, planDigest: '0123456789012345' });
    expect(await home().approvals(key)).toMatchObject([{ planDigest: '0123456789012345' }]);
  });

  test('the newest comes first, and those of others are not among them', async () => {
    await declare('other-db');
    const first = await home().approve(key, consent);
    now = hoursLater(1);
    const second = await home().approve(key, consent);
    await home().approve({ namespace: 'default', name: 'other-db' }, consent);
    expect(await namesOf(home())).toEqual([second, first]);
    expect(await home().approvals({ namespace: 'ops', name: 'unicorn-db' })).toEqual([]);
  });

  test('counts for a day, whatever becomes of its file', async () => {
    const name = await home().approve(key, consent);
    await utimes(join(dir, 'approvals', `${name}.yaml`), hoursLater(24), hoursLater(24));
    const at = async (hours: number) => {
      now = hoursLater(hours);
      return findApproval(await home().approvals(key), { digest, rows: 1, rowsAsked: 1, operationId: 'op1', now });
    };
    expect(await at(23.9)).toMatchObject({ kind: 'approved', approval: { name } });
    expect(await at(24)).toEqual({
      kind: 'none',
      because: `approval ${name} expired at ${hoursLater(24).toISOString()}`,
    });
  });

  test('what the API refuses is not written', async () => {
    await expect(home().approve(key, { ...consent, planDigest: 'latest' })).rejects.toThrow(
      'The approval is refused: spec.planDigest: ',
    );
    expect(await readdir(dir)).toEqual(['targets']);
  });
});

describe('an approval that a person wrote', () => {
  test('was made when its file was last written, as it was first seen', async () => {
    const file = await place('mine.yaml', yaml('mine'), hoursLater(-2));
    const madeAt = hoursLater(-2).toISOString();
    expect(await home().approvals(key)).toMatchObject([{ name: 'mine', approvedBy: 'joe', createdAt: madeAt }]);
    await utimes(file, noon, noon);
    expect(await home().approvals(key)).toMatchObject([{ createdAt: madeAt }]);
  });

  test('was not made in the future', async () => {
    await place('mine.yaml', yaml('mine'), hoursLater(48));
    expect(await home().approvals(key)).toMatchObject([{ createdAt: noon.toISOString() }]);
  });

  test('a status, as kubectl get -o yaml writes one, counts for nothing, whatever is in it', async () => {
    await place('mine.yaml', yaml('mine', { more: 'status: {usedBy: 9, of: "another version"}\n' }));
    expect(await home().approvals(key)).toMatchObject([{ usedBy: null, expiresAt: hoursLater(24).toISOString() }]);
  });

  test('is another approval once it says something else', async () => {
    await place('mine.yaml', yaml('mine'));
    await home().useApproval(key, 'mine', 'op1');
    await place('mine.yaml', `# seen again\n${yaml('mine')}`, hoursLater(1));
    expect(await home().approvals(key)).toMatchObject([{ usedBy: 'op1', createdAt: noon.toISOString() }]);
    now = hoursLater(2);
    await place('mine.yaml', yaml('mine', { spec: '  maxRowLoss: 5\n' }), hoursLater(1));
    expect(await home().approvals(key)).toMatchObject([
      { usedBy: null, maxRowLoss: 5, createdAt: hoursLater(1).toISOString() },
    ]);
  });

  test.each<[string, string, string | RegExp]>([
    ['YAML that is none', 'a: [', 'is not YAML'],
    ['two documents', `${yaml('bad')}---\n${yaml('worse')}`, 'holds 2 documents: write one a file'],
    [
      'a target',
      yaml('bad').replace('MigrationApproval', 'MigrationTarget'),
      'only MigrationApproval belongs into approvals/',
    ],
    [
      'an unknown field',
      yaml('bad', { spec: '  maxRowLos: 5\n' }),
      'spec.maxRowLos: unknown field: did you mean "maxRowLoss"?',
    ],
    ['no name', yaml('bad').replace('{name: bad}', '{}'), 'metadata.name: is missing: write it'],
    [
      'a digest that is none',
      yaml('bad').replace(digest, 'newest-plan-of-all'),
      'spec.planDigest: write the digest as status.plan.digest has it',
    ],
    [
      'a digest without quotes',
      yaml('bad').replace(`"${digest}"`, '1234567890123456'),
      'spec.planDigest: write text, in quotes',
    ],
    [
      'fewer rows than none',
      yaml('bad', { spec: '  maxRowLoss: -1\n' }),
      'spec.maxRowLoss: write a number of at least 0',
    ],
    ['the name of another one', yaml('good'), /good\.yaml are the same approval default\/good, so neither counts/],
    [
      'a target that is not declared',
      yaml('bad', { target: 'unicron-db' }),
      'approves a plan of default/unicron-db, which is not declared',
    ],
  ])('%s approves nothing, is told once, and takes no other down', async (_name, content, problem) => {
    await place('other.yaml', yaml('other'));
    await place('good.yaml', yaml('good'));
    const bad = await place('bad.yaml', content);
    const one = home();
    expect(await namesOf(one)).toEqual(problem instanceof RegExp ? ['other'] : ['good', 'other']);
    expect(problems).toEqual([expect.stringMatching(problem instanceof RegExp ? problem : bad)]);
    expect(problems[0]).toMatch(
      problem instanceof RegExp ? problem : new RegExp(problem.replaceAll(/[.?()[\]]/g, '\\$&')),
    );
    await one.approvals(key);
    expect(problems).toHaveLength(1);
    await rm(bad);
    expect(await namesOf(one)).toEqual(['good', 'other']);
  });
});

describe('an approval counts once', () => {
  const program = `
import { createDirectoryHome } from ${JSON.stringify(new URL('../../src/adapters/directory/index.ts', import.meta.url).href)};
process.on('message', async ({ dir, key, name, operationId }) => {
  const said = await createDirectoryHome(dir).useApproval(key, name, operationId).then(
    () => 'used',
    ({ kind, reason, message }) => [kind, reason, message].join(' '),
  );
  process.send(said);
});
process.send('ready');
`;
  let workers: readonly ChildProcess[];
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'approvals-worker-'));
    await writeFile(join(folder, 'worker.mjs'), program);
    workers = [1, 2, 3].map(() => fork(join(folder, 'worker.mjs'), { execArgv: [] }));
    await Promise.all(workers.map((each) => once(each, 'message')));
  });
  afterAll(async () => {
    for (const each of workers) {
      const ended = once(each, 'exit');
      each.kill();
      await ended;
    }
    await rm(folder, { recursive: true });
  });

  test('of several processes that use it at once, one does; and all know which', async () => {
    for (let round = 0; round < 20; round += 1) {
      const name = await home().approve(key, consent);
      const answers = workers.map((each) => once(each, 'message'));
      for (const [index, each] of workers.entries()) each.send({ dir, key, name, operationId: `op${index}` });
      const said = (await Promise.all(answers)).map(([text]) => String(text));
      const usedBy = `op${said.indexOf('used')}`;
      expect(said.filter((text) => text === 'used')).toHaveLength(1);
      const refused = `stalled ApprovalUsed Approval ${name} of default/unicorn-db was used for operation ${usedBy}, and counts once.`;
      expect(said.filter((text) => text.startsWith(refused))).toHaveLength(2);
      const found = (await home().approvals(key)).find((one) => one.name === name);
      expect(found?.usedBy).toBe(usedBy);
    }
  });

  test('for the same operation it may be used again, which changes nothing', async () => {
    const name = await home().approve(key, consent);
    await home().useApproval(key, name, 'op1');
    await home().useApproval(key, name, 'op1');
    await expect(home().useApproval(key, name, 'op2')).rejects.toMatchObject({ reason: 'ApprovalUsed' });
    expect(await home().approvals(key)).toMatchObject([{ usedBy: 'op1' }]);
  });

  test('though its file goes and comes back', async () => {
    const file = await place('mine.yaml', yaml('mine'));
    await home().useApproval(key, 'mine', 'op1');
    await rm(file);
    expect(await home().approvals(key)).toEqual([]);
    await place('mine.yaml', yaml('mine'));
    expect(await home().approvals(key)).toMatchObject([{ name: 'mine', usedBy: 'op1' }]);
  });

  test('one that was taken back is not used, and may be waited for again', async () => {
    const file = await place('mine.yaml', yaml('mine'));
    const one = home();
    await one.approvals(key);
    await rm(file);
    await expect(one.useApproval(key, 'mine', 'op1')).rejects.toMatchObject({
      kind: 'retry',
      reason: 'ApprovalNotFound',
    });
  });

  test('what cannot be read again is not taken for unused', async () => {
    const name = await home().approve(key, consent);
    await home().useApproval(key, name, 'op1');
    const state = join(dir, 'state/default/unicorn-db/approvals');
    const used = (await readdir(state)).find((file) => file.endsWith('.used.json'));
    await writeFile(join(state, used ?? ''), '');
    await expect(home().approvals(key)).rejects.toMatchObject({ kind: 'stalled', reason: 'JournalUnknown' });
  });
});

describe('watching', () => {
  test('an approval makes its target due, and no other; what is none is told', async () => {
    await declare('other-db');
    const one = home({ watch: { pollMs: 100, gatherMs: 10 } });
    const due: string[] = [];
    const told: string[] = [];
    const stop = new AbortController();
    await one.watch(
      (of) => void due.push(keyText(of)),
      (problem) => void told.push(problem.message),
      stop.signal,
    );
    due.length = 0;
    const name = await one.approve(key, consent);
    await until(() => due.length > 0);
    await write('approvals/bad.yaml', 'a: [');
    await until(() => told.length > 0);
    await rm(join(dir, 'approvals', `${name}.yaml`));
    await until(() => due.length > 1);
    stop.abort();
    expect(due).toEqual(['default/unicorn-db', 'default/unicorn-db']);
    expect(told).toEqual([expect.stringMatching(/approvals\/bad\.yaml is not YAML/)]);
    // Whoever looks at it otherwise is not told a second time.
    await one.approvals(key);
    expect(problems).toEqual([]);
  });

  test('an approval is of the moment when it was seen first, though nothing waited for it', async () => {
    const one = home({ watch: { pollMs: 100, gatherMs: 10 } });
    await place('mine.yaml', yaml('mine'));
    const stop = new AbortController();
    await one.watch(
      () => {},
      () => {},
      stop.signal,
    );
    stop.abort();
    now = hoursLater(30);
    await utimes(join(dir, 'approvals/mine.yaml'), now, now);
    expect(await home().approvals(key)).toMatchObject([{ createdAt: noon.toISOString() }]);
  });
});

describe('who approves', () => {
  test('is whoever logged in, before sudo', async () => {
    expect(await home({ env: {} }).userName()).toBe(userInfo().username);
    expect(await home({ env: { SUDO_USER: 'jane' } }).userName()).toBe('jane');
  });
});
