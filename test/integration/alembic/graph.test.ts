import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { createAlembicRunner } from '../../../src/adapters/alembic/index.ts';
import type { RevisionGraph } from '../../../src/rollback/model.ts';
import { python, writeHistory, type AlembicProject, type HistorySpec } from '../../support/alembic.ts';
import { folder, settingsFor, type SettingsOver } from './scene.ts';

const url = 'postgresql://nobody:secret-word@127.0.0.1:1/nothing';

async function graphOf(project: AlembicProject, over: SettingsOver = {}): Promise<RevisionGraph> {
  await using session = await createAlembicRunner().start(await settingsFor(project, url, over));
  return await session.graph();
}

const write = async (history: HistorySpec): Promise<AlembicProject> => writeHistory(await folder(), history);
const failure = async (reading: Promise<RevisionGraph>): Promise<unknown> =>
  reading.then(
    () => null,
    (error: unknown) => error,
  );

describe('the graph', () => {
  test('branches, merges, labels and depends_on, ancestors first, without a database and without env.py', async () => {
    const project = await write({
      envPy: 'raise RuntimeError("env.py ran")',
      revisions: [
        { id: 'z0' },
        { id: 'b1', down: 'z0', labels: ['blue'] },
        { id: 'a1', down: 'z0' },
        { id: 'm1', down: ['a1', 'b1'] },
        { id: 'other', down: null, labels: ['side'] },
        { id: 'a0', down: 'other', dependsOn: ['blue', 'm1'] },
      ],
    });
    const graph = await graphOf(project);
    expect(graph.revisions.map(({ id, down, dependsOn, labels }) => ({ id, down, dependsOn, labels }))).toEqual([
      { id: 'other', down: [], dependsOn: [], labels: ['side'] },
      { id: 'z0', down: [], dependsOn: [], labels: [] },
      { id: 'a1', down: ['z0'], dependsOn: [], labels: [] },
      { id: 'b1', down: ['z0'], dependsOn: [], labels: ['blue'] },
      { id: 'm1', down: ['a1', 'b1'], dependsOn: [], labels: [] },
      { id: 'a0', down: ['other'], dependsOn: ['b1', 'm1'], labels: [] },
    ]);
    expect(graph.revisions[0]).toMatchObject({ message: 'other', file: 'migrations/versions/0005_other.py' });
    expect(graph.tools).toEqual({
      python: expect.stringMatching(/^3\./),
      alembic: expect.stringMatching(/^1\./),
      sqlalchemy: expect.stringMatching(/^\d\./),
    });
  });

  test('the digest is of the contents, wherever the folder is', async () => {
    const history: HistorySpec = { revisions: [{ id: 'a1' }, { id: 'b2' }] };
    const project = await write(history);
    const first = await graphOf(project);
    expect((await graphOf(await write(history))).digest).toBe(first.digest);
    await writeFile(
      join(project.versionsDir, 'c3.py'),
      'revision = "c3"\ndown_revision = "b2"\ndef upgrade(): pass\ndef downgrade(): pass\n',
    );
    const second = await graphOf(project);
    expect(second.digest).not.toBe(first.digest);
    await writeFile(
      join(project.versionsDir, 'c3.py'),
      'revision = "c3"\ndown_revision = "b2"\ndef upgrade(): pass\ndef downgrade(): 1\n',
    );
    expect((await graphOf(project)).digest).not.toBe(second.digest);
  });

  test('a folder without migrations is an empty graph', async () => {
    expect((await graphOf(await write({ revisions: [] }))).revisions).toEqual([]);
  });

  test('a script folder called alembic, and modules called like the standard library’s, hide nothing', async () => {
    const project = await write({ revisions: [{ id: 'a1' }] });
    await mkdir(join(project.dir, 'alembic'));
    await writeFile(join(project.dir, 'alembic', '__init__.py'), 'raise RuntimeError("the wrong alembic")');
    await writeFile(join(project.dir, 'json.py'), 'raise RuntimeError("the wrong json")');
    expect((await graphOf(project)).revisions).toHaveLength(1);
  });
});

describe('a graph that can’t be read', () => {
  const file = (text: string) => (versions: string) => writeFile(join(versions, 'x.py'), text);
  const broken: readonly (readonly [string, (versions: string) => Promise<void>, RegExp])[] = [
    ['a syntax error', file('revision = "x"\ndef upgrade(:\n'), /migrations\/versions\/x\.py:2.*SyntaxError/],
    [
      'an import that fails',
      file('\nimport nowhere_to_be_found\n'),
      /migrations\/versions\/x\.py:2.*No module named 'nowhere_to_be_found'/,
    ],
    ['sys.exit()', file('import sys\nsys.exit(3)\n'), /migrations\/versions\/x\.py:2.*sys\.exit\(3\)/],
    ['an id twice', file('revision = "a1"\ndown_revision = None\n'), /a1 is present more than once/],
    [
      'a parent that is missing',
      file('revision = "x"\ndown_revision = "gone"\n'),
      /gone referenced from .*x.* is not present/,
    ],
    ['a cycle', file('revision = "x"\ndown_revision = "x"\n'), /x/],
    [
      'an end of the process',
      file('import os\nprint("last words", flush=True)\nos._exit(7)\n'),
      /exit code 7.*last words/s,
    ],
  ];
  test.each(broken)('%s: AlembicFailed, with the place', async (_, breakIt, message) => {
    const project = await write({ revisions: [{ id: 'a1' }] });
    await breakIt(project.versionsDir);
    expect(await failure(graphOf(project))).toMatchObject({
      name: 'Failure',
      kind: 'stalled',
      reason: 'AlembicFailed',
      message: expect.stringMatching(message),
    });
  });

  test('no configuration: AlembicConfigNotFound, naming the path', async () => {
    const project = await write({ revisions: [] });
    await rm(join(project.dir, 'alembic.ini'));
    expect(await failure(graphOf(project))).toMatchObject({
      reason: 'AlembicConfigNotFound',
      message: expect.stringContaining(join(project.dir, 'alembic.ini')),
    });
  });

  test('no such section: AlembicConfigNotFound, naming it', async () => {
    const project = await write({ revisions: [] });
    expect(await failure(graphOf(project, { spec: { section: 'tenants' } }))).toMatchObject({
      reason: 'AlembicConfigNotFound',
      message: expect.stringContaining('[tenants]'),
    });
  });

  test('no working directory: AlembicConfigNotFound, not a missing interpreter', async () => {
    const project = await write({ revisions: [] });
    await rm(project.dir, { recursive: true });
    expect(await failure(graphOf(project))).toMatchObject({
      reason: 'AlembicConfigNotFound',
      message: expect.stringContaining(project.dir),
    });
  });

  test.each([
    ['there is none', '/nowhere/python3', 'ENOENT'],
    ['it is no program', '/etc/passwd', 'EACCES'],
    ['it is no Python', '/bin/false', 'exit code'],
  ])('the interpreter: %s: PythonNotFound', async (_, interpreter, why) => {
    const project = await write({ revisions: [] });
    expect(await failure(graphOf(project, { spec: { python: interpreter } }))).toMatchObject({
      reason: 'PythonNotFound',
      message: expect.stringMatching(new RegExp(`${interpreter}.*${why}`, 's')),
    });
  });

  test('an interpreter without alembic: AlembicNotFound, with the command that installs it', async () => {
    const project = await write({ revisions: [] });
    await writeFile(join(project.dir, 'bare-python'), `#!/bin/sh\nexec ${await python()} -S "$@"\n`, { mode: 0o755 });
    expect(await failure(graphOf(project, { spec: { python: './bare-python' } }))).toMatchObject({
      reason: 'AlembicNotFound',
      message: expect.stringContaining('./bare-python -m pip install --upgrade alembic'),
    });
  });

  test('a migration that hangs at import: TimedOut, with the place', async () => {
    const project = await write({ revisions: [] });
    await writeFile(join(project.versionsDir, 'x.py'), 'import time\nprint("hanging")\ntime.sleep(600)\n');
    const signal = AbortSignal.timeout(2_000);
    expect(await failure(graphOf(project, { signal }))).toMatchObject({
      reason: 'TimedOut',
      message: expect.stringContaining('migrations/versions/x.py:3'),
    });
  });
});
