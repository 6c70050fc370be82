import {
  appendFile,
  chmod,
  chown,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  unlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, test } from '@jest/globals';
import { createAlembicRunner } from '../../../src/adapters/alembic/index.ts';
import { examine } from '../../../src/rollback/doctor.ts';
import type { RevisionGraph } from '../../../src/rollback/model.ts';
import { python, writeHistory, type AlembicProject } from '../../support/alembic.ts';
import { contentChecksum } from '../../support/postgres.ts';
import { createScene, said, threeSteps, type Scene } from '../../support/scene.ts';
import { down, folder, major, settingsFor, until, type SettingsOver } from './scene.ts';

const url = 'postgresql://nobody:secret-word@127.0.0.1:1/nothing';
const ofTheRun = process.env['MIGRATION_TARGET_GRAPHS'];
const history = { revisions: [{ id: 'a1' }, { id: 'b2' }] };

/** Where the graphs of one test are. */
let graphs: string;
beforeEach(async () => {
  graphs = join(await folder(), 'graphs');
  process.env['MIGRATION_TARGET_GRAPHS'] = graphs;
});
afterAll(() => {
  process.env['MIGRATION_TARGET_GRAPHS'] = ofTheRun;
});

const entries = async (): Promise<string[]> => readdir(graphs).catch(() => []);

interface Project extends AlembicProject {
  readonly interpreter: string;
  /** From then on its Python does this instead. */
  insteadOfPython(command: string): Promise<void>;
}

/** With an interpreter that can be made to fail though its file stays as it is. */
async function project(spec: Parameters<typeof writeHistory>[1] = history): Promise<Project> {
  const written = await writeHistory(await folder(), spec);
  const interpreter = join(written.dir, 'bin', 'python');
  const instead = join(written.dir, 'bin', 'instead');
  await mkdir(join(written.dir, 'bin'));
  await writeFile(interpreter, `#!/bin/sh\n[ -e '${instead}' ] && . '${instead}'\nexec '${await python()}' "$@"\n`, {
    mode: 0o755,
  });
  return { ...written, interpreter, insteadOfPython: (command) => writeFile(instead, `${command}\n`) };
}

const settingsOf = (of: Project, over: SettingsOver = {}) =>
  settingsFor(of, url, { ...over, spec: { python: of.interpreter, ...over.spec } });

async function graphOf(of: Project, over: SettingsOver = {}): Promise<RevisionGraph> {
  await using session = await createAlembicRunner().start(await settingsOf(of, over));
  return await session.graph();
}

/** Files that are too new are not remembered, so it may take more than one reading. */
async function remember(of: Project, over: SettingsOver = {}): Promise<RevisionGraph> {
  const before = await entries();
  let graph = await graphOf(of, over);
  await until('the graph is remembered', async () => {
    graph = await graphOf(of, over);
    return (await entries()).length > before.length;
  });
  return graph;
}

/** Whether the graph is known without Python. Afterwards Python is broken. */
async function isKnown(of: Project, over: SettingsOver = {}): Promise<boolean> {
  await of.insteadOfPython('exit 3');
  return graphOf(of, over).then(
    () => true,
    (error: unknown) => {
      expect(error).toMatchObject({ reason: 'PythonNotFound' });
      return false;
    },
  );
}

describe('a graph that was read before', () => {
  test('is told while Python hangs; without what was remembered it is waited for', async () => {
    const of = await project();
    const read = await remember(of);
    const hanging = join(of.dir, 'hanging');
    await of.insteadOfPython(`touch '${hanging}'; exec sleep 600`);
    const giveUp = new AbortController();
    {
      await using session = await createAlembicRunner().start(await settingsOf(of, { signal: giveUp.signal }));
      expect(await session.graph()).toEqual(read);
      expect(read.revisions.map(({ id }) => id)).toEqual(['a1', 'b2']);
    }
    await rm(graphs, { recursive: true });
    await rm(hanging, { force: true });
    const reading = graphOf(of, { signal: giveUp.signal }).catch((error: unknown) => error);
    await until('Python hangs', async () => Boolean(await stat(hanging).catch(() => false)));
    giveUp.abort();
    expect(await reading).toMatchObject({ reason: 'TimedOut' });
  });

  test('whatever needs Python fails as it would have at the start', async () => {
    const of = await project();
    await remember(of);
    await of.insteadOfPython('echo broken >&2; exit 3');
    await using session = await createAlembicRunner().start(await settingsOf(of));
    await session.graph();
    const failure = { reason: 'PythonNotFound', message: expect.stringMatching(/exit code 3.*broken/s) };
    await expect(session.prove()).rejects.toMatchObject(failure);
    await expect(session.offlineSql({ from: ['b2'], steps: down('b2') })).rejects.toMatchObject(failure);
    const database = { name: 'any', oid: 1, systemIdentifier: '1' };
    await expect(session.probe({ database, lock: null })).rejects.toMatchObject(failure);
    const steps = down('b2');
    await expect(session.migrate({ from: ['b2'], steps, database, lock: null }, () => {})).rejects.toMatchObject(
      failure,
    );
  });

  test('is not remembered where a file changed while it was read', async () => {
    const of = await project();
    const file = join(of.versionsDir, '0001_a1.py');
    const text = await readFile(file, 'utf8');
    await appendFile(file, 'import os\nos.utime(__file__, (1, 1))\n');
    for (let times = 0; times < 3; times += 1) await graphOf(of);
    expect(await entries()).toEqual([]);
    await writeFile(file, text);
    await remember(of);
  });

  const sameGraph: readonly (readonly [string, (of: Project) => Promise<unknown>])[] = [
    ['other times', ({ versionsDir }) => utimes(join(versionsDir, '0001_a1.py'), 1, 1)],
    [
      'the same file, written anew',
      async ({ versionsDir }) => {
        const file = join(versionsDir, '0001_a1.py');
        const text = await readFile(file);
        await unlink(file);
        await writeFile(file, text);
      },
    ],
    ['what Python compiled', ({ versionsDir }) => mkdir(join(versionsDir, '__pycache__'))],
    ['another env.py', ({ envPyPath }) => appendFile(envPyPath, '# later\n')],
  ];
  test.each(sameGraph)('is told in spite of %s', async (_, change) => {
    const of = await project();
    await remember(of);
    await change(of);
    expect(await isKnown(of)).toBe(true);
  });
});

describe('a graph is read again', () => {
  const recursive = async ({ dir, versionsDir }: Project): Promise<void> => {
    const file = join(dir, 'alembic.ini');
    const text = await readFile(file, 'utf8');
    await writeFile(file, text.replace('[alembic]\n', '[alembic]\nrecursive_version_locations = true\n'));
    await mkdir(join(versionsDir, 'deep'));
    await rename(join(versionsDir, '0002_b2.py'), join(versionsDir, 'deep', 'b2.py'));
  };
  const helper = async ({ dir, versionsDir }: Project): Promise<void> => {
    await writeFile(join(dir, 'naming.py'), 'label = "one"\n');
    await appendFile(join(versionsDir, '0001_a1.py'), 'from naming import label\nbranch_labels = (label,)\n');
  };
  const linked = async ({ dir, versionsDir }: Project): Promise<void> => {
    await rename(join(versionsDir, '0002_b2.py'), join(dir, 'b2.py'));
    await symlink(join(dir, 'b2.py'), join(versionsDir, 'b2.py'));
  };
  const asItIs = (): Promise<void> => Promise.resolve();
  /** Of the same size, and with the times of before. */
  const edit = async (file: string): Promise<void> => {
    const { atime, mtime } = await stat(file);
    const text = await readFile(file, 'utf8');
    await writeFile(
      file,
      text.replace(/[a-z]/, (letter) => letter.toUpperCase()),
    );
    await utimes(file, atime, mtime);
  };

  type Change = (of: Project) => Promise<unknown>;
  const changes: readonly (readonly [string, (of: Project) => Promise<unknown>, Change])[] = [
    ['a migration changed', asItIs, ({ versionsDir }) => edit(join(versionsDir, '0002_b2.py'))],
    ['one was added', asItIs, ({ versionsDir }) => writeFile(join(versionsDir, 'c3.py'), 'revision = "c3"\n')],
    ['one was removed', asItIs, ({ versionsDir }) => unlink(join(versionsDir, '0002_b2.py'))],
    [
      'one was renamed',
      asItIs,
      ({ versionsDir }) => rename(join(versionsDir, '0002_b2.py'), join(versionsDir, 'b2.py')),
    ],
    ['one below a folder changed', recursive, ({ versionsDir }) => edit(join(versionsDir, 'deep', 'b2.py'))],
    [
      'one was added below a folder',
      recursive,
      ({ versionsDir }) => writeFile(join(versionsDir, 'deep', 'c3.py'), 'revision = "c3"\n'),
    ],
    ['one changed that a link leads to', linked, ({ dir }) => edit(join(dir, 'b2.py'))],
    ['what a migration imports changed', helper, ({ dir }) => writeFile(join(dir, 'naming.py'), 'label = "two"\n')],
    ['the configuration changed', asItIs, ({ dir }) => appendFile(join(dir, 'alembic.ini'), '\n')],
    ['the script folder has more in it', asItIs, ({ dir }) => mkdir(join(dir, 'migrations', 'more'))],
    ['Python is another program', asItIs, ({ interpreter }) => appendFile(interpreter, '\n')],
  ];
  test.each(changes)('where %s', async (_, prepare, change) => {
    const of = await project();
    await prepare(of);
    await remember(of);
    await change(of);
    expect(await isKnown(of)).toBe(false);
  });

  test('for another Python, section, argument, variable of Python’s; not for the same', async () => {
    const of = await project();
    await appendFile(join(of.dir, 'alembic.ini'), '\n[second]\nscript_location = %(here)s/migrations\n');
    const others: readonly SettingsOver[] = [
      {},
      { spec: { section: 'second' } },
      { spec: { xArgs: { tenant: 'one' } } },
      { env: { PYTHONUTF8: '1' } },
    ];
    for (const [index, over] of others.entries()) {
      await remember(of, over);
      expect(await entries()).toHaveLength(index + 1);
    }
    await of.insteadOfPython('exit 3');
    for (const over of others) expect((await graphOf(of, over)).revisions).toHaveLength(2);
    await writeFile(join(of.dir, 'python'), await readFile(of.interpreter), { mode: 0o755 });
    expect(await isKnown(of, { spec: { python: './python' } })).toBe(false);
  });
});

describe('a cache that can’t be trusted, or used, is none', () => {
  const only = async (): Promise<string> => join(graphs, (await entries())[0] ?? 'none');
  const flaws: readonly (readonly [string, () => Promise<unknown>])[] = [
    [
      'damaged',
      async () => {
        const text = await readFile(await only(), 'utf8');
        await writeFile(await only(), text.replace('"a1"', '"x1"'));
      },
    ],
    ['cut off', async () => writeFile(await only(), (await readFile(await only())).subarray(0, 100))],
    ['writable by others', async () => chmod(await only(), 0o666)],
    ['in a folder that others may write to', async () => chmod(graphs, 0o777)],
    [
      'in a folder that a link leads to',
      async () => {
        await rename(graphs, `${graphs}-elsewhere`);
        await symlink(`${graphs}-elsewhere`, graphs);
      },
    ],
    [
      'a link to a file',
      async () => {
        const entry = await only();
        await rename(entry, join(graphs, '..', 'elsewhere'));
        await symlink(join(graphs, '..', 'elsewhere'), entry);
      },
    ],
  ];
  test.each(flaws)('%s', async (_, harm) => {
    const of = await project();
    await remember(of);
    await harm();
    expect(await isKnown(of)).toBe(false);
  });

  test('somebody else’s', async () => {
    const of = await project();
    await remember(of);
    // Only root can give a file away.
    if (process.getuid?.() === 0) await chown(await only(), 65_534, 65_534);
    else await chmod(await only(), 0o622);
    expect(await isKnown(of)).toBe(false);
  });

  test('where none can be made', async () => {
    const of = await project();
    await writeFile(graphs, 'a file in its place');
    for (let times = 0; times < 2; times += 1) expect((await graphOf(of)).revisions).toHaveLength(2);
    expect(await readFile(graphs, 'utf8')).toBe('a file in its place');
  });

  test('only its owner may read it, and the newest 64 are kept', async () => {
    await mkdir(graphs, { mode: 0o700 });
    const old = Array.from({ length: 70 }, (_, index) => `old-${index}`);
    for (const name of old) await writeFile(join(graphs, name), '');
    for (const [index, name] of old.entries()) await utimes(join(graphs, name), index, index);
    const of = await project();
    await until('the graph is remembered', async () => {
      await graphOf(of);
      return (await entries()).some((name) => !name.startsWith('old-'));
    });
    const kept = await entries();
    expect(kept).toHaveLength(64);
    expect(kept).toContain('old-69');
    expect(kept).not.toContain('old-6');
    const own = kept.find((name) => !name.startsWith('old-')) ?? '';
    expect((await stat(join(graphs, own))).mode & 0o777).toBe(0o600);
    expect(await isKnown(of)).toBe(true);
  });
});

describe('a graph that is another although nothing changed', () => {
  /** The scene at a3, whose file looks at a variable; its graph is remembered. */
  async function scene(line: string, policy: object): Promise<Scene> {
    const made = await createScene(major, { history: threeSteps, spec: { policy: { dataLoss: 'Allow', ...policy } } });
    await appendFile(join(made.project.versionsDir, '0003_a3.py'), `import os\n${line}\n`);
    expect(said((await made.goTo('a3', shape(made, 'one'))).outcome)).toMatch(/^ready Upgraded/);
    await until('the graph is remembered', async () => {
      await examine(await made.target(), made.ports, new AbortController().signal);
      return (await entries()).length === 1;
    });
    return made;
  }
  const shape = ({ project: { alembic } }: Scene, value: string) => ({
    alembic: { ...alembic, env: [{ name: 'SHAPE', value }] },
  });

  test.each(['Never', 'Always'])(
    'is not what is carried out: nothing runs, and it is planned again (rehearsal: %s)',
    async (rehearsal) => {
      await using at = await scene('branch_labels = (os.environ["SHAPE"],)', { rehearsal });
      const before = await contentChecksum(at.database.adminUrl);
      const seen = at.observed.length;

      const refused = await at.goTo('a2', shape(at, 'two'));
      expect(said(refused.outcome)).toMatch(/^retrying MigrationsChanged: The migrations of .* changed since/);
      expect((await at.status()).operation).toMatchObject({ step: 'backup' });
      expect(at.observed.slice(seen).filter(({ kind }) => kind === 'migration')).toEqual([]);
      expect(await contentChecksum(at.database.adminUrl)).toBe(before);
      expect(await at.version()).toBe('a3');
      expect(await entries()).toEqual([]);

      expect(said((await at.reconcile()).outcome)).toMatch(/^ready Downgraded/);
      expect(await at.version()).toBe('a2');
    },
  );

  test('is no reason to refuse: what alembic reads now is decided by', async () => {
    await using at = await scene('revision = "a3" if os.environ["SHAPE"] == "one" else "b3"', { rehearsal: 'Never' });
    await at.goTo('a2');
    await until('the graph is remembered', async () => (await entries()).length === 1);
    expect(said((await at.goTo('b3', shape(at, 'two'))).outcome)).toMatch(/^ready Upgraded/);
    expect(await at.version()).toBe('b3');
  });

  test('runs no migration of a session that told it, whoever asks', async () => {
    const of = await project();
    await appendFile(join(of.versionsDir, '0002_b2.py'), 'import os\nbranch_labels = (os.environ["SHAPE"],)\n');
    await remember(of, { env: { SHAPE: 'one' } });
    await using session = await createAlembicRunner().start(await settingsOf(of, { env: { SHAPE: 'two' } }));
    expect((await session.graph()).revisions[1]?.labels).toEqual(['one']);
    const database = { name: 'any', oid: 1, systemIdentifier: '1' };
    const asked = { from: ['b2'], steps: down('b2'), database, lock: null };
    await expect(session.migrate(asked, () => {})).rejects.toMatchObject({
      kind: 'retry',
      reason: 'MigrationsChanged',
    });
    expect(await entries()).toEqual([]);
    expect((await session.graph()).revisions[1]?.labels).toEqual(['two']);
  });
});

test('a doctor is not satisfied with what is remembered', async () => {
  await using at = await createScene(major, { history: threeSteps });
  const interpreter = join(at.dir, 'python');
  const instead = join(at.dir, 'instead');
  await writeFile(interpreter, `#!/bin/sh\n[ -e '${instead}' ] && exit 3\nexec '${await python()}' "$@"\n`, {
    mode: 0o755,
  });
  await at.declare({ revision: 'a3', alembic: { ...at.project.alembic, python: interpreter } });
  const look = async () => examine(await at.target(), at.ports, new AbortController().signal);
  await until('the graph is remembered', async () => {
    expect((await look()).graph).toMatchObject({ ok: true });
    return (await entries()).length === 1;
  });
  await writeFile(instead, '');
  expect((await look()).graph).toMatchObject({ ok: false, failure: { reason: 'PythonNotFound' } });
});
