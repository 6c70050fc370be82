/** The directory home on a real file system: what people, editors, git and crashes do to its files. */
import { execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmod,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { createDirectoryHome } from '../../src/adapters/directory/index.ts';
import { emptyStatus, keyOf, keyText, type MigrationTarget, type TargetKey } from '../../src/api/target.ts';
import type { Declaration, Home } from '../../src/rollback/ports.ts';

let dir: string;
let home: Home;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'directory-home-'));
  home = createDirectoryHome(dir, { env: { GIVEN: 'value', EMPTY: '', LINE: 'value\n' } });
});
afterEach(() => rm(dir, { recursive: true }));

const key: TargetKey = { namespace: 'default', name: 'unicorn-db' };

const yaml = (name: string, revision = '"a1"', more = ''): string => `# who to ask: the database team
apiVersion: migrationtarget.dev/v1alpha1
kind: MigrationTarget
metadata:
  name: ${name} # as in the inventory
spec:
  # before the merge
  revision: ${revision}
  database: {urlFrom: {env: GIVEN}}
  alembic: {workingDir: /app}
  runtime: {process: {}}
  backup: {storage: {directory: {path: /backups}}}
${more}`;

async function write(path: string, content: string | Buffer): Promise<string> {
  const file = join(dir, path);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, content);
  return file;
}

const declare = (name: string, revision?: string, more?: string): Promise<string> =>
  write(`targets/${name}.yaml`, yaml(name, revision, more));

const stateFile = (name: string): string => join(dir, 'state', 'default', 'unicorn-db', name);

async function target(of = key): Promise<MigrationTarget> {
  const declaration = await home.get(of);
  if (declaration?.kind !== 'target') throw new Error(`no target: ${JSON.stringify(declaration)}`);
  return declaration.target;
}

const nameOf = (declaration: Declaration): string =>
  keyText(declaration.kind === 'target' ? keyOf(declaration.target) : declaration.key);

/** Everything that is declared, e.g. `default/a: target`, or its problem. */
async function listed(): Promise<Readonly<Record<string, string>>> {
  return Object.fromEntries(
    (await home.list()).map((one) => [nameOf(one), one.kind === 'target' ? 'target' : one.problem]),
  );
}

async function until(holds: () => boolean | Promise<boolean>, withinMs = 10_000): Promise<number> {
  const start = performance.now();
  while (!(await holds())) {
    if (performance.now() - start > withinMs) throw new Error(`it did not come to hold within ${withinMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return performance.now() - start;
}

describe('declarations', () => {
  test('a file is a target, with its namespace, a uid that stays, and the first generation', async () => {
    await declare('unicorn-db');
    const first = await target();
    expect(first.metadata).toMatchObject({ ...key, generation: 1, deletionTimestamp: null });
    expect(first.metadata.uid).toMatch(/^[0-9a-f-]{36}$/);
    home = createDirectoryHome(dir);
    expect((await target()).metadata.uid).toBe(first.metadata.uid);
  });

  test.each<[string, string, string, string]>([
    ['YAML that is none', 'bad.yaml', 'a: [', 'default/bad'],
    [
      'YAML that is none, of a target whose name can be read',
      'x.yaml',
      yaml('named', '[').replace(/\n$/, ''),
      'default/named',
    ],
    ['a field twice', 'x.yaml', `${yaml('named')}  revision: "b2"\n`, 'default/named'],
    ['two documents', 'two.yaml', `${yaml('named')}---\n${yaml('other')}`, 'default/named'],
    ['nothing', 'empty.yaml', '# to come\n', 'default/empty'],
    ['another kind', 'secret.yaml', 'apiVersion: v1\nkind: Secret\nmetadata: {name: good}\n', 'default/secret'],
    ['no kind', 'none.yaml', 'metadata: {name: good}\n', 'default/none'],
    ['an unknown field', 'x.yaml', yaml('named', '"a1"', '  revison: "b2"\n'), 'default/named'],
    ['an unquoted revision', 'x.yaml', yaml('named', '066'), 'default/named'],
    ['a name that is a path', 'path.yaml', yaml('../../etc'), 'default/path'],
    ['a name that is none', 'Ünï.yaml', yaml('x y'), 'default/n'],
    ['a list', 'list.yml', '- a\n', 'default/list'],
    [
      'aliases that multiply',
      'lol.yaml',
      `kind: MigrationTarget\na: &a [1,2,3,4,5,6,7,8,9]\nb: &b [${'*a,'.repeat(9)}]\nc: &c [${'*b,'.repeat(9)}]\nd: [${'*c,'.repeat(9)}]\n`,
      'default/lol',
    ],
    ['bytes that are no text', 'bytes.yaml', '\u0000\u0001', 'default/bytes'],
  ])(
    '%s is an invalid declaration that names its file, and takes no other down',
    async (_name, file, content, shownAs) => {
      await declare('good');
      const written = await write(`targets/${file}`, content);
      const found = await listed();
      expect(Object.keys(found).sort()).toEqual(['default/good', shownAs].sort());
      expect(found['default/good']).toBe('target');
      expect(found[shownAs]).toContain(written);
      const [namespace = '', name = ''] = shownAs.split('/');
      expect(await home.get({ namespace, name })).toMatchObject({ kind: 'invalid', generation: 1 });
    },
  );

  test('an unquoted revision is told how to be quoted, and an unknown field which one was meant', async () => {
    await declare('a', '066');
    await declare('b', '"a1"', '  revison: "b2"\n');
    const found = await listed();
    expect(found['default/a']).toContain('write the revision in quotes');
    expect(found['default/b']).toContain('spec.revison: unknown field: did you mean "revision"?');
  });

  test('two files with one name are one invalid declaration that names both', async () => {
    const files = [await write('targets/x.yaml', yaml('twin')), await write('targets/y.yml', yaml('twin', '"b2"'))];
    await declare('good');
    const found = await listed();
    expect(Object.keys(found).sort()).toEqual(['default/good', 'default/twin']);
    for (const file of files) expect(found['default/twin']).toContain(file);
  });

  test('the same name in two namespaces is two targets', async () => {
    await declare('unicorn-db');
    await write('targets/other.yaml', yaml('unicorn-db').replace('metadata:', 'metadata:\n  namespace: ops'));
    expect(await listed()).toEqual({ 'default/unicorn-db': 'target', 'ops/unicorn-db': 'target' });
  });

  test('a trailing document marker, files of editors, links and other files do no harm', async () => {
    await write('targets/unicorn-db.yaml', `---\n${yaml('unicorn-db')}---\n`);
    await write('targets/.unicorn-db.yaml', 'swap');
    await write('targets/unicorn-db.yaml~', 'backup');
    await write('targets/README.md', 'x');
    const outside = await write('git/linked.yaml', yaml('linked'));
    await symlink(outside, join(dir, 'targets', 'linked.yaml'));
    expect(await listed()).toEqual({ 'default/linked': 'target', 'default/unicorn-db': 'target' });
  });

  test.each<[string, (file: string) => Promise<unknown>, string]>([
    ['a folder', (file) => mkdir(file), 'is not a file'],
    ['a pipe, which is not waited for', (file) => promisify(execFile)('mkfifo', [file]), 'is not a file'],
    ['a link that leads nowhere', (file) => symlink(join(dir, 'gone'), file), 'leads nowhere'],
    ['a huge file', (file) => writeFile(file, '#'.repeat(1024 * 1024 + 1)), 'larger than 1 MiB'],
  ])('%s in place of a file is told', async (_name, make, problem) => {
    await declare('good');
    await make(join(dir, 'targets', 'odd.yaml'));
    const found = await listed();
    expect(found['default/good']).toBe('target');
    expect(found['default/odd']).toContain(problem);
  });

  test('a folder that is not there is an error with the next command; one without targets is just empty', async () => {
    expect(await home.list()).toEqual([]);
    home = createDirectoryHome(join(dir, 'typo'));
    await expect(home.list()).rejects.toThrow(/typo does not exist.*migration-target apply -f FILE --dir/);
    await expect(home.get(key)).rejects.toThrow('does not exist');
  });

  test('what was never declared is null', async () => {
    expect(await home.get(key)).toBeNull();
  });

  test('a status in the file, as kubectl get -o yaml writes one, counts for nothing', async () => {
    await write(
      'targets/unicorn-db.yaml',
      `${yaml('unicorn-db')}status: {currentRevision: x, observedGeneration: 9}\n`,
    );
    expect((await target()).status).toBeNull();
  });
});

describe('the generation', () => {
  const generation = async (): Promise<number> => (await target()).metadata.generation;

  test('counts changes of the spec, not of comments, order, annotations or the status', async () => {
    await declare('unicorn-db');
    expect(await generation()).toBe(1);
    await declare('unicorn-db', '"a1" # a comment');
    expect(await generation()).toBe(1);
    const text = yaml('unicorn-db');
    await write('targets/unicorn-db.yaml', text.replace('metadata:', 'metadata:\n  annotations: {a: b}'));
    expect(await generation()).toBe(1);
    await home.saveStatus(key, { ...emptyStatus, observedGeneration: 1 });
    expect(await generation()).toBe(1);
    const line = '  runtime: {process: {}}\n';
    await write('targets/unicorn-db.yaml', text.replace(line, '').replace('spec:\n', `spec:\n${line}`));
    expect(await generation()).toBe(1);
    const { uid } = (await target()).metadata;
    await declare('unicorn-db', '"b2"');
    expect(await generation()).toBe(2);
    await declare('unicorn-db', '"a1"');
    expect(await generation()).toBe(3);
    expect((await target()).metadata.uid).toBe(uid);
  });

  test('outlives the process, the removal of the file, and leaves one file behind', async () => {
    await declare('unicorn-db');
    await generation();
    await declare('unicorn-db', '"b2"');
    await generation();
    home = createDirectoryHome(dir);
    expect(await generation()).toBe(2);
    await rm(join(dir, 'targets', 'unicorn-db.yaml'));
    expect(await home.get(key)).toBeNull();
    await declare('unicorn-db', '"c3"');
    expect(await generation()).toBe(3);
    expect(await readdir(join(dir, 'state', 'default', 'unicorn-db'))).toEqual(['generation-3.json']);
  });

  test('is counted once by several who see a change at the same time, and takes nobody’s status away', async () => {
    await declare('unicorn-db');
    await home.saveStatus(key, emptyStatus);
    const homes = Array.from({ length: 8 }, () => createDirectoryHome(dir));
    for (let round = 1; round <= 5; round++) {
      await declare('unicorn-db', `"r${round}"`);
      const [seen] = await Promise.all([
        Promise.all(homes.map((one) => one.get(key))),
        home.saveStatus(key, { ...emptyStatus, currentRevision: `r${round}` }),
      ]);
      const metadata = seen.map((one) => (one?.kind === 'target' ? one.target.metadata : null));
      expect(new Set(metadata.map((one) => one?.generation))).toEqual(new Set([round]));
      expect(new Set(metadata.map((one) => one?.uid)).size).toBe(1);
      expect((await target()).status?.currentRevision).toBe(`r${round}`);
    }
  });

  test('is counted for a broken file too, and again when it is mended', async () => {
    await declare('unicorn-db');
    await generation();
    await declare('unicorn-db', '"-1"');
    expect(await home.get(key)).toMatchObject({ kind: 'invalid', key, generation: 2 });
    await declare('unicorn-db');
    expect(await generation()).toBe(3);
  });
});

describe('the status', () => {
  const operation = { version: 1, id: 'o1', step: 'change', startedAt: 'x', plan: { steps: ['whatever'] } };

  test('is not written over a journal that another process wrote meanwhile', async () => {
    await declare('unicorn-db');
    const read = (await target()).status;
    const journalled = { ...emptyStatus, operation };
    await createDirectoryHome(dir).saveStatus(key, journalled, read);
    await expect(home.saveStatus(key, { ...emptyStatus, currentRevision: 'a1' }, read)).rejects.toMatchObject({
      kind: 'retry',
      reason: 'DatabaseLocked',
    });
    expect((await target()).status?.operation).toMatchObject(operation);
    await home.saveStatus(key, { ...emptyStatus, currentRevision: 'a1' }, journalled);
    expect((await target()).status?.currentRevision).toBe('a1');
  });

  test('is not written over the end of an operation of another process', async () => {
    await declare('unicorn-db');
    const read = (await target()).status;
    const aside = { name: 'unicorn_db__o1', oid: 5, systemIdentifier: '7', keptUntil: '2026-01-02T03:04:05Z' };
    const ended = { ...emptyStatus, keptAside: [aside] };
    await createDirectoryHome(dir).saveStatus(key, ended, read);
    await expect(home.saveStatus(key, { ...emptyStatus, currentRevision: 'a1' }, read)).rejects.toMatchObject({
      kind: 'retry',
      reason: 'DatabaseLocked',
    });
    expect((await target()).status?.keptAside).toEqual([aside]);
  });

  test('is written though a process died while it had it for itself', async () => {
    await declare('unicorn-db');
    await home.saveStatus(key, emptyStatus);
    const gone = spawnSync(process.execPath, ['-e', '0']).pid;
    const pids = `${hostname()} ${await readlink('/proc/self/ns/pid')}`;
    await writeFile(stateFile('status.lock'), `${gone}\n${pids}\n`);
    await home.saveStatus(key, { ...emptyStatus, currentRevision: 'a1' });
    expect((await target()).status?.currentRevision).toBe('a1');
  });

  test('comes back as it was saved, the whole journal with it, to any process', async () => {
    await declare('unicorn-db');
    const status = { ...emptyStatus, observedGeneration: 1, operation, currentRevisions: [] };
    await home.saveStatus(key, status);
    home = createDirectoryHome(dir);
    expect((await target()).status).toEqual(status);
  });

  test('is nobody else’s to read, nor is anything beside it', async () => {
    await declare('unicorn-db');
    await target();
    await home.saveStatus(key, emptyStatus);
    await home.requestReconcile(key, 'now');
    await home.hold(key);
    await home.record(key, { type: 'Normal', reason: 'InSync', message: 'm' });
    await home.saveReport(key, 'o1', { markdown: '# m', json: '{}' });
    for (const entry of await readdir(join(dir, 'state'), { recursive: true, withFileTypes: true })) {
      const { mode } = await stat(join(entry.parentPath, entry.name));
      expect([entry.name, (mode & 0o777).toString(8)]).toEqual([entry.name, entry.isDirectory() ? '700' : '600']);
    }
  });

  test.each([
    ['cut short', '{"version": 1, "sta'],
    ['empty', ''],
    ['of an unknown version', '{"version": 2, "status": {}}'],
    ['of another shape', '{"version": 1, "status": {"conditions": "none"}}'],
  ])('that is %s is told under its target, never written over, and takes no other down', async (_name, content) => {
    await declare('unicorn-db');
    await declare('good');
    await home.saveStatus(key, emptyStatus);
    await writeFile(stateFile('status.json'), content);
    const found = await listed();
    expect(found['default/good']).toBe('target');
    expect(found['default/unicorn-db']).toContain(`${stateFile('status.json')} cannot be read`);
    expect(found['default/unicorn-db']).toContain(`mv ${stateFile('status.json')}`);
    await expect(home.saveStatus(key, emptyStatus)).rejects.toMatchObject({
      kind: 'stalled',
      reason: 'JournalUnknown',
    });
    expect(await readFile(stateFile('status.json'), 'utf8')).toBe(content);
  });

  test('is whole at every instant while it is replaced, and leaves nothing behind', async () => {
    await declare('unicorn-db');
    const statuses = Array.from({ length: 30 }, (_, round) => ({
      ...emptyStatus,
      currentRevision: `${round}`.repeat(2000),
    }));
    let done = false;
    const writing = (async () => {
      for (const status of statuses) await home.saveStatus(key, status);
      done = true;
    })();
    await until(async () => {
      expect((await home.get(key))?.kind).toBe('target');
      return done;
    });
    await writing;
    expect((await readdir(join(dir, 'state', 'default', 'unicorn-db'))).sort()).toEqual([
      'generation-1.json',
      'status.json',
    ]);
  });

  test('that was saved survives kill -9 of its writer, at whatever moment, and what is left over goes', async () => {
    await declare('unicorn-db');
    const writer = `
      import { createDirectoryHome } from ${JSON.stringify(new URL('../../src/adapters/directory/index.ts', import.meta.url).href)};
      import { emptyStatus } from ${JSON.stringify(new URL('../../src/api/target.ts', import.meta.url).href)};
      const home = createDirectoryHome(${JSON.stringify(dir)});
      const key = ${JSON.stringify(key)};
      for (let count = 1; ; count++) {
        await home.saveStatus(key, { ...emptyStatus, observedGeneration: count, currentRevision: 'x'.repeat(100_000) });
        console.log(count);
        await home.hold(key);
        await home.get(key);
      }`;
    for (let round = 0; round < 6; round++) {
      const child = spawn(process.execPath, ['--input-type=module', '--no-warnings', '-e', writer], {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: { ...process.env, NODE_OPTIONS: '' },
      });
      let printed = '';
      child.stdout.on('data', (chunk: Buffer) => (printed += chunk.toString()));
      const gone = once(child, 'close');
      await until(() => printed.split('\n').length > 3 + round, 60_000);
      child.kill('SIGKILL');
      await gone;
      const acknowledged = Number(printed.trim().split('\n').at(-1));
      const saved = (await target()).status?.observedGeneration ?? 0;
      expect([acknowledged, acknowledged + 1]).toContain(saved);
    }
    const folder = join(dir, 'state', 'default', 'unicorn-db');
    const old = await write('state/default/unicorn-db/.status.json.0.tmp', 'cut sh');
    const fresh = await write('state/default/unicorn-db/.status.json.1.tmp', 'being written');
    await utimes(old, 0, 0);
    await home.release(key);
    expect(await readdir(folder)).not.toContain(basename(old));
    expect(await readdir(folder)).toContain(basename(fresh));
  });

  test.each([
    { namespace: '..', name: 'x' },
    { namespace: 'default', name: '../../x' },
    { namespace: 'a/b', name: 'x' },
  ])('of %j is not written anywhere', async (odd) => {
    await expect(async () => home.saveStatus(odd, emptyStatus)).rejects.toThrow('is not the name of a target');
  });
});

describe('a target that is held', () => {
  test('outlives its file, being deleted since one moment, until it is released', async () => {
    await declare('unicorn-db');
    await target();
    await home.hold(key);
    await home.saveStatus(key, { ...emptyStatus, currentRevision: 'a1' });
    await rm(join(dir, 'targets', 'unicorn-db.yaml'));
    home = createDirectoryHome(dir);
    const held = await target();
    expect(held).toMatchObject({
      metadata: { generation: 1 },
      spec: { revision: 'a1' },
      status: { currentRevision: 'a1' },
    });
    expect(Date.parse(held.metadata.deletionTimestamp ?? '')).not.toBeNaN();
    expect((await target()).metadata.deletionTimestamp).toBe(held.metadata.deletionTimestamp);
    expect(await listed()).toEqual({ 'default/unicorn-db': 'target' });
    await home.release(key);
    expect(await home.get(key)).toBeNull();
    expect(await home.list()).toEqual([]);
  });

  test('is not deleted while its file is there, and no more once it is back', async () => {
    await declare('unicorn-db');
    await home.hold(key);
    expect((await target()).metadata.deletionTimestamp).toBeNull();
    await rm(join(dir, 'targets', 'unicorn-db.yaml'));
    expect((await target()).metadata.deletionTimestamp).not.toBeNull();
    await declare('unicorn-db', '"b2"');
    expect((await target()).metadata).toMatchObject({ deletionTimestamp: null, generation: 2 });
  });

  test('may be held and released twice, and released without having been held', async () => {
    await declare('unicorn-db');
    await home.release(key);
    await home.hold(key);
    await home.hold(key);
    await home.release(key);
    await home.release(key);
    await rm(join(dir, 'targets', 'unicorn-db.yaml'));
    await home.hold(key);
    expect(await home.get(key)).toBeNull();
  });
});

describe('a request to reconcile', () => {
  const requested = async () => (await target()).metadata.annotations['migrationtarget.dev/requestedAt'];

  test('is an annotation of the target; the later one of the file’s and the command’s counts', async () => {
    await declare('unicorn-db');
    expect(await requested()).toBeUndefined();
    await home.requestReconcile(key, '2026-01-02T00:00:00Z');
    expect(await requested()).toBe('2026-01-02T00:00:00Z');
    const annotate = (at: string) =>
      write(
        'targets/unicorn-db.yaml',
        yaml('unicorn-db').replace('metadata:', `metadata:\n  annotations: {migrationtarget.dev/requestedAt: "${at}"}`),
      );
    await annotate('2026-01-01T00:00:00Z');
    expect(await requested()).toBe('2026-01-02T00:00:00Z');
    await annotate('2026-01-03T00:00:00Z');
    expect(await requested()).toBe('2026-01-03T00:00:00Z');
  });

  test('of Flux’s spelling is left for others to read', async () => {
    await write(
      'targets/unicorn-db.yaml',
      yaml('unicorn-db').replace('metadata:', 'metadata:\n  annotations: {reconcile.fluxcd.io/requestedAt: "1"}'),
    );
    expect((await target()).metadata.annotations).toEqual({ 'reconcile.fluxcd.io/requestedAt': '1' });
  });
});

describe('suspending', () => {
  test('changes one field of the file, and keeps comments, order, mode and a link', async () => {
    const file = await write('git/unicorn-db.yaml', yaml('unicorn-db'));
    await chmod(file, 0o640);
    await mkdir(join(dir, 'targets'));
    await symlink(file, join(dir, 'targets', 'unicorn-db.yaml'));
    await home.setSuspended(key, true);
    expect((await target()).spec.suspend).toBe(true);
    const text = await readFile(file, 'utf8');
    expect(text.replace('  suspend: true\n', '').replaceAll(/[{} ]/g, '')).toBe(
      yaml('unicorn-db').replaceAll(/[{} ]/g, ''),
    );
    expect((await stat(file)).mode & 0o777).toBe(0o640);
    await home.setSuspended(key, false);
    expect((await target()).spec.suspend).toBe(false);
  });

  test('what is so already leaves the file as it is', async () => {
    const file = await declare('unicorn-db');
    await home.setSuspended(key, false);
    expect(await readFile(file, 'utf8')).toBe(yaml('unicorn-db'));
  });

  test('what is not declared, or twice, is refused', async () => {
    await mkdir(join(dir, 'targets'));
    await expect(home.setSuspended(key, true)).rejects.toThrow('default/unicorn-db is not declared');
    await declare('unicorn-db');
    await write('targets/b.yaml', yaml('unicorn-db'));
    await expect(home.setSuspended(key, true)).rejects.toThrow('declared more than once');
  });
});

describe('applying', () => {
  const document = {
    apiVersion: 'migrationtarget.dev/v1alpha1',
    kind: 'MigrationTarget',
    metadata: { name: 'unicorn-db' },
  };
  const spec = {
    revision: '066',
    database: { urlFrom: { env: 'GIVEN' } },
    alembic: { workingDir: '/app' },
    runtime: { process: {} },
    backup: { storage: { directory: { path: '/backups' } } },
  };

  test('makes the folder and the file, in which a revision of digits stays text', async () => {
    home = createDirectoryHome(join(dir, 'new'));
    expect(await home.apply({ ...document, spec }, { dryRun: false })).toMatchObject({
      kind: 'target',
      target: { metadata: { generation: 1 }, spec: { revision: '066' } },
    });
    expect(await readFile(join(dir, 'new/targets/unicorn-db.yaml'), 'utf8')).toContain('revision: "066"');
  });

  test('YAML text is copied as it is, comments and all', async () => {
    await home.apply(yaml('unicorn-db'), { dryRun: false });
    expect(await readFile(join(dir, 'targets/unicorn-db.yaml'), 'utf8')).toBe(yaml('unicorn-db'));
  });

  test('a dry run writes nothing, and tells the generation to come', async () => {
    await declare('unicorn-db');
    const { uid } = (await target()).metadata;
    const before = await readdir(dir, { recursive: true });
    expect(await home.apply({ ...document, spec }, { dryRun: true })).toMatchObject({
      kind: 'target',
      target: { metadata: { generation: 2, uid }, spec: { revision: '066' } },
    });
    expect(await readdir(dir, { recursive: true })).toEqual(before);
    expect((await target()).spec.revision).toBe('a1');
  });

  test('what is declared already, in whatever file, leaves that file as it is; what differs replaces it', async () => {
    const file = await write('targets/mine.yml', yaml('unicorn-db'));
    await home.apply(
      { ...document, spec: { ...spec, revision: 'a1', backup: { storage: { directory: { path: '/backups' } } } } },
      { dryRun: false },
    );
    expect(await readFile(file, 'utf8')).toBe(yaml('unicorn-db'));
    await home.apply({ ...document, spec }, { dryRun: false });
    expect(await readdir(join(dir, 'targets'))).toEqual(['mine.yml']);
    expect((await target()).spec.revision).toBe('066');
  });

  test('what is wrong is told, and changes nothing', async () => {
    await declare('unicorn-db');
    const wrong = await home.apply({ ...document, spec: { ...spec, revision: '-1' } }, { dryRun: false });
    expect(wrong).toMatchObject({ kind: 'invalid', problem: expect.stringContaining('cannot begin with') });
    expect(await home.apply({ kind: 'MigrationTarget' }, { dryRun: false })).toMatchObject({ kind: 'invalid' });
    expect(await home.apply('a: [', { dryRun: false })).toMatchObject({ kind: 'invalid' });
    expect((await target()).spec.revision).toBe('a1');
  });

  test('a file that holds more than this target is not written over', async () => {
    const both = `${yaml('unicorn-db')}---\n${yaml('other')}`;
    const file = await write('targets/both.yaml', both);
    expect(await home.apply({ ...document, spec }, { dryRun: false })).toMatchObject({
      kind: 'invalid',
      problem: expect.stringContaining('2 documents'),
    });
    expect(await readFile(file, 'utf8')).toBe(both);
  });

  test('a file of that name that declares another target is left alone', async () => {
    const file = await write('targets/unicorn-db.yaml', yaml('other'));
    await home.apply({ ...document, spec }, { dryRun: false });
    expect(await readFile(file, 'utf8')).toBe(yaml('other'));
    expect(await listed()).toEqual({ 'default/other': 'target', 'default/unicorn-db': 'target' });
  });
});

describe('watching', () => {
  /** Generous where the machine is busy; the poll alone is within a second. */
  const withinMs = 2000;

  async function watched(): Promise<{
    readonly seen: TargetKey[];
    readonly problems: Error[];
    forget(): void;
    stop(): void;
  }> {
    const seen: TargetKey[] = [];
    const problems: Error[] = [];
    const abort = new AbortController();
    await home.watch(
      (one) => seen.push(one),
      (problem) => problems.push(problem),
      abort.signal,
    );
    return { seen, problems, forget: () => void seen.splice(0), stop: () => abort.abort() };
  }

  test.each<[string, (file: string) => Promise<unknown>]>([
    ['is written in place', (file) => writeFile(file, yaml('unicorn-db', '"b2"'))],
    [
      'is replaced by a rename, as editors and git do',
      async (file) => {
        await writeFile(join(dir, 'elsewhere'), yaml('unicorn-db', '"b2"'));
        await rename(join(dir, 'elsewhere'), file);
      },
    ],
    [
      'is moved away and written anew, as vim does',
      async (file) => {
        await rename(file, `${file}~`);
        await writeFile(file, yaml('unicorn-db', '"b2"'));
      },
    ],
    ['is removed', (file) => rm(file)],
    ['becomes invalid', (file) => writeFile(file, 'a: [')],
    [
      'lies behind a link to a folder that is exchanged, as mounts do',
      async () => {
        await write('v2/unicorn-db.yaml', yaml('unicorn-db', '"b2"'));
        await symlink(join(dir, 'v2'), join(dir, 'next'));
        await rename(join(dir, 'next'), join(dir, 'current'));
      },
    ],
    ['is asked to be reconciled', () => home.requestReconcile(key, 'now')],
  ])('a target whose file %s is told within two seconds', async (_name, change) => {
    await write('v1/unicorn-db.yaml', yaml('unicorn-db'));
    await symlink(join(dir, 'v1'), join(dir, 'current'));
    await mkdir(join(dir, 'targets'));
    const file = join(dir, 'targets', 'unicorn-db.yaml');
    await (_name.startsWith('lies behind')
      ? symlink(join(dir, 'current', 'unicorn-db.yaml'), file)
      : writeFile(file, yaml('unicorn-db')));
    const watch = await watched();
    try {
      expect(watch.seen).toEqual([key]);
      watch.forget();
      await change(file);
      await until(() => watch.seen.some((one) => keyText(one) === keyText(key)), withinMs);
      expect(watch.problems).toEqual([]);
    } finally {
      watch.stop();
    }
  });

  test('a status that is saved tells nobody, nor does a file that stays as it is', async () => {
    const file = await declare('unicorn-db');
    const watch = await watched();
    watch.forget();
    await home.saveStatus(key, emptyStatus);
    await writeFile(file, yaml('unicorn-db'));
    // Something that is told, after what should not be.
    await declare('other');
    await until(() => watch.seen.length > 0);
    expect(watch.seen).toEqual([{ namespace: 'default', name: 'other' }]);
    watch.stop();
  });

  test('a folder that goes away is told once, and what is declared when it is back, too', async () => {
    await declare('unicorn-db');
    const watch = await watched();
    await rename(dir, `${dir}-gone`);
    await until(() => watch.problems.length > 0);
    expect(watch.problems[0]?.message).toContain('does not exist');
    await rename(`${dir}-gone`, dir);
    watch.forget();
    await declare('unicorn-db', '"b2"');
    await until(() => watch.seen.length > 0);
    expect(watch.problems.filter(({ message }) => message.includes('does not exist'))).toHaveLength(1);
    watch.stop();
  });

  test('a folder of targets that is exchanged, as a pull in another work tree does, is told, and what happens in it next', async () => {
    await write('v1/unicorn-db.yaml', yaml('unicorn-db'));
    await write('v2/unicorn-db.yaml', yaml('unicorn-db', '"b2"'));
    await symlink(join(dir, 'v1'), join(dir, 'targets'));
    const watch = await watched();
    try {
      watch.forget();
      await symlink(join(dir, 'v2'), join(dir, 'next'));
      await rename(join(dir, 'next'), join(dir, 'targets'));
      await until(() => watch.seen.length > 0);
      expect((await target()).spec.revision).toBe('b2');
      watch.forget();
      await write('v2/unicorn-db.yaml', yaml('unicorn-db', '"c3"'));
      await until(() => watch.seen.length > 0);
      expect((await target()).spec.revision).toBe('c3');
    } finally {
      watch.stop();
    }
  });

  // Elsewhere a folder that was removed has no path.
  (process.platform === 'linux' ? describe : describe.skip)('below a mount', () => {
    test('a folder that was removed below its mount is a problem, and no removal of its targets', async () => {
      await write('mounted/unicorn-db.yaml', yaml('unicorn-db'));
      // As a bind mount: whatever happens to the name, it is that folder.
      await using handle = await open(join(dir, 'mounted'));
      await symlink(`/proc/${process.pid}/fd/${handle.fd}`, join(dir, 'targets'));
      const watch = await watched();
      try {
        expect(watch.seen).toEqual([key]);
        watch.forget();
        await rm(join(dir, 'mounted'), { recursive: true });
        await until(() => watch.problems.length > 0);
        expect(watch.problems[0]?.message).toContain('another was put in its place');
        await expect(home.get(key)).rejects.toThrow('another was put in its place');
        expect(watch.seen).toEqual([]);
      } finally {
        watch.stop();
      }
    });
  });

  test('after the signal nothing is told', async () => {
    const watch = await watched();
    watch.stop();
    const other = await watched();
    await declare('unicorn-db');
    await until(() => other.seen.length > 0);
    expect(watch.seen).toEqual([]);
    other.stop();
  });
});

describe('a value', () => {
  const resolve = (source: Parameters<Home['resolve']>[0]): Promise<string> =>
    home.resolve(source, { namespace: 'default', name: 'unicorn' });
  const refusal = (source: Parameters<Home['resolve']>[0]): Promise<string> =>
    resolve(source).then(
      (value) => `it was resolved: ${value}`,
      (error: unknown) => {
        expect(error).toMatchObject({ name: 'Failure', reason: 'SecretNotFound' });
        return (error as Error).message;
      },
    );
  const secret = { secretKeyRef: { name: 'db', key: 'url' } };

  test.each([
    ['value', 'value'],
    ['value\n', 'value'],
    ['value\r\n', 'value'],
    ['value\n\n', 'value\n'],
    [' p@:/ß ', ' p@:/ß '],
  ])('in a secret as %j is %j', async (content, expected) => {
    await write('secrets/db/url', content);
    expect(await resolve(secret)).toBe(expected);
  });

  test('comes from a file, from the environment, and loses one newline', async () => {
    const file = await write('anywhere', 'value\n');
    expect(await resolve({ file })).toBe('value');
    expect(await resolve({ env: 'GIVEN' })).toBe('value');
    expect(await resolve({ env: 'LINE' })).toBe('value');
  });

  test('that is missing is refused, with the place where it should be', async () => {
    await write('secrets/other/key', 'x');
    expect(await refusal(secret)).toContain(`install -D -m 600 /dev/stdin ${join(dir, 'secrets/db/url')}`);
    expect(await refusal({ file: join(dir, 'nothing') })).toContain(join(dir, 'nothing'));
    expect(await refusal({ env: 'MISSING' })).toContain('export MISSING=');
  });

  test.each<[string, string | Buffer, string]>([
    ['empty', '', 'is empty'],
    ['only a newline', '\n', 'is empty'],
    ['with a NUL', 'hunter2\0x', 'NUL'],
    ['not text', Buffer.from([0xff, 0xfe]), 'is not UTF-8 text'],
    ['huge', 'x'.repeat(1024 * 1024 + 1), 'larger than 1 MiB'],
  ])('that is %s is refused, and never told', async (_name, content, problem) => {
    await write('secrets/db/url', content);
    const message = await refusal(secret);
    expect(message).toContain(problem);
    expect(message).not.toContain('hunter2');
    expect(await refusal({ env: 'EMPTY' })).toContain('EMPTY is empty');
  });

  test('is never read from outside of the secrets’ folder, by a name or by a link', async () => {
    await write('outside', 'hunter2');
    await write('secrets/db/other', 'x');
    await symlink(join(dir, 'outside'), join(dir, 'secrets/db/url'));
    expect(await refusal(secret)).toContain('is a link to outside');
    expect(await refusal({ secretKeyRef: { name: '..', key: 'outside' } })).toContain('does not name a file below');
    expect(await refusal({ secretKeyRef: { name: 'db', key: '../../outside' } })).toContain(
      'does not name a file below',
    );
    expect(await refusal({ secretKeyRef: { name: 'db/../..', key: 'outside' } })).toContain(
      'does not name a file below',
    );
    await symlink(dir, join(dir, 'secrets/folder'));
    expect(await refusal({ secretKeyRef: { name: 'folder', key: 'outside' } })).toContain('is a link to outside');
    await symlink(join(dir, 'secrets/db/other'), join(dir, 'secrets/db/inside'));
    expect(await resolve({ secretKeyRef: { name: 'db', key: 'inside' } })).toBe('x');
  });

  test('is no folder and no pipe', async () => {
    await mkdir(join(dir, 'secrets/db/url'), { recursive: true });
    expect(await refusal(secret)).toContain('is not a file');
    await promisify(execFile)('mkfifo', [join(dir, 'pipe')]);
    expect(await refusal({ file: join(dir, 'pipe') })).toContain('is not a file');
  });
});

describe('what happened', () => {
  test('is kept as one line an event, the last two hundred', async () => {
    for (let count = 0; count < 205; count++) {
      await home.record(key, { type: 'Normal', reason: 'InSync', message: `${count}\nline` });
    }
    const lines = (await readFile(stateFile('events.jsonl'), 'utf8')).trim().split('\n');
    expect(lines).toHaveLength(200);
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ type: 'Normal', reason: 'InSync', message: '5\nline' });
    expect(JSON.parse(lines.at(-1) ?? '')).toMatchObject({ message: '204\nline' });
  });

  test('is reported in Markdown and JSON, under the id of an operation only', async () => {
    const file = await home.saveReport(key, 'o1', { markdown: '# done', json: '{"a":1}' });
    expect(file).toBe(stateFile('reports/o1.md'));
    expect(await readFile(stateFile('reports/o1.md'), 'utf8')).toBe('# done');
    expect(await readFile(stateFile('reports/o1.json'), 'utf8')).toBe('{"a":1}');
    await expect(home.saveReport(key, '../o1', { markdown: '', json: '' })).rejects.toThrow('is not the id');
  });

  test('is reported of the last fifty operations, and of those that the status tells of, however old', async () => {
    const report = { markdown: '', json: '' };
    const told = { kind: 'backup', from: ['a1'], to: ['a1'], result: 'success', reason: 'BackupVerified' } as const;
    const entry = { ...told, operationId: 'o1', startedAt: 'x', finishedAt: 'x', message: '', report: 'reports/o1.md' };
    await declare('unicorn-db');
    await home.saveStatus(key, { ...emptyStatus, history: [entry] });
    for (let number = 0; number < 52; number++) {
      const file = await home.saveReport(key, `o${number}`, report);
      await utimes(file ?? '', number, number);
    }
    await home.saveReport(key, 'last', report);
    const kept = ['last', 'o1', ...Array.from({ length: 49 }, (_, index) => `o${index + 3}`)];
    expect(new Set(await readdir(stateFile('reports')))).toEqual(
      new Set(kept.flatMap((id) => [`${id}.json`, `${id}.md`])),
    );
  });
});
