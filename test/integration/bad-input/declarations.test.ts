/** What nobody should have written: revisions that are none, and files that hold no declaration. */
import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, test } from '@jest/globals';

import type { TargetStatus } from '../../../src/api/target.ts';
import { Failure } from '../../../src/rollback/errors.ts';
import { resolveRevision } from '../../../src/rollback/graph.ts';
import type { RevisionGraph } from '../../../src/rollback/model.ts';
import { preview } from '../../../src/rollback/preview.ts';
import { contentChecksum } from '../../support/postgres.ts';
import type { Scene } from '../../support/scene.ts';
import { runController } from './controller.ts';
import { conditionsOf, expectMessage, expectRefused, shellMarker, watchedScene } from './support.ts';

interface BadFile {
  readonly name: string;
  readonly text: string;
  readonly says: readonly (string | RegExp)[];
}

const absolute = /absolute id of a revision.*"alembic history" lists them/;

/** `yaml` is what stands after `revision:` in the file. */
const badRevisions = (command: string): readonly { name: string; yaml: string; says: BadFile['says'] }[] => [
  { name: 'empty', yaml: '""', says: ['the revision is empty', absolute, '"base"'] },
  { name: 'nothing-at-all', yaml: '', says: ['is empty: write a value'] },
  { name: 'too-long', yaml: `"${'a'.repeat(33)}"`, says: ['not a revision id', '1 to 32', absolute] },
  { name: 'relative', yaml: '"-1"', says: ['cannot begin with "-" or "+"', absolute] },
  { name: 'option', yaml: '"--sql"', says: ['cannot begin with "-" or "+"', absolute] },
  { name: 'range', yaml: '"a:b"', says: ['a range such as a:b', absolute] },
  { name: 'label', yaml: '"x@y"', says: ['a branch label', absolute] },
  { name: 'digits', yaml: '0123', says: ['write the revision in quotes'] },
  { name: 'command', yaml: `"${command}"`, says: ['not a revision id', absolute] },
  { name: 'backticks', yaml: `"\`${command.slice(2, -1)}\`"`, says: ['not a revision id', absolute] },
  { name: 'statement', yaml: '"a1;DROP TABLE users"', says: ['not a revision id', absolute] },
  { name: 'path', yaml: '"../../x"', says: ['not a revision id', absolute] },
  { name: 'newline', yaml: '"a1\\n"', says: ['not a revision id', absolute] },
  { name: 'nul', yaml: '"a1\\0"', says: ['not a revision id', absolute] },
  { name: 'rtl', yaml: '"a1\u202e"', says: ['not a revision id', absolute] },
];

describe('declarations that are none', () => {
  test('are Stalled with InvalidSpec in their saved status, once, and touch nothing', async () => {
    await using marker = shellMarker();
    await using scene = await watchedScene();
    await scene.goTo('a2');
    const good = await readFile(join(scene.dir, 'targets', 'unicorn.yaml'), 'utf8');
    const files = [...revisionFiles(good, `$(touch ${marker.path})`), ...brokenFiles(good)];
    for (const { name, text } of files) await writeFile(join(scene.dir, 'targets', `${name}.yaml`), text);
    const [content, started] = [await contentChecksum(scene.database.adminUrl), scene.started()];

    const first = await runController(scene);
    for (const { name, says } of files) {
      const declaration = first.declared.get(name);
      expect([name, declaration?.kind]).toEqual([name, 'invalid']);
      if (declaration?.kind !== 'invalid') continue;
      const status = statusIn(declaration);
      expect([name, conditionsOf(status)]).toMatchObject([
        name,
        {
          Ready: { status: 'False', reason: 'InvalidSpec', observedGeneration: declaration.generation },
          Stalled: { status: 'True', reason: 'InvalidSpec' },
          Reconciling: { status: 'False' },
        },
      ]);
      expectMessage(conditionsOf(status)['Ready']?.message ?? '', [`${name}.yaml`, ...says]);
    }
    // A neighbour's mistake is nobody else's.
    expect(first.declared.get('unicorn')).toMatchObject({ kind: 'target' });
    expect(conditionsOf(await scene.status())['Ready']).toMatchObject({ status: 'True' });

    const second = await runController(scene);
    expect(second.saved).toEqual([]);
    expect(scene.started()).toEqual(started);
    expect(await contentChecksum(scene.database.adminUrl)).toBe(content);
    expect(await scene.databases()).toEqual([scene.database.name]);
    await marker.expectAbsent();
  });

  test('are refused in the same words by whoever applies them, and nothing is written', async () => {
    await using scene = await watchedScene();
    const good = await readFile(join(scene.dir, 'targets', 'unicorn.yaml'), 'utf8');
    for (const { name, text, says } of [...revisionFiles(good, '$(false)'), ...brokenFiles(good)]) {
      const applied = await scene.ports.home.apply(text, { dryRun: false });
      expect([name, applied.kind]).toEqual([name, 'invalid']);
      if (applied.kind === 'invalid') expectMessage(applied.problem, says);
    }
    expect(await readdir(join(scene.dir, 'targets'))).toEqual(['unicorn.yaml']);
  });
});

describe('a revision that the scripts do not have', () => {
  test('is refused when declared, with those that may be meant', async () => {
    await using scene = await watchedScene({
      history: { revisions: [{ id: '4f1c2d9ab0e7' }, { id: '4f1c99aabbcc' }, { id: 'b2' }] },
    });
    await scene.goTo('b2');
    const short = [
      '4f1c is the beginning of 4f1c2d9ab0e7, 4f1c99aabbcc: declare one',
      'migration-target history unicorn',
    ];
    await expectRefused(scene, () => scene.goTo('4f1c'), { reason: 'RevisionNotFound', says: short });
    const unknown = ['no revision deadbeef', 'b2, 4f1c99aabbcc', 'migration-target history unicorn'];
    await expectRefused(scene, () => scene.goTo('deadbeef'), { reason: 'RevisionNotFound', says: unknown });
    expect(await scene.version()).toBe('b2');
  });

  test('is refused when typed, before anything is written', async () => {
    await using marker = shellMarker();
    await using scene = await watchedScene();
    await scene.goTo('a2');
    const [content, target] = [await contentChecksum(scene.database.adminUrl), await scene.target()];
    const type = (revision: string): Promise<unknown> =>
      preview(target, scene.ports, { sql: true, revision, signal: new AbortController().signal }).catch(
        (thrown: unknown) => thrown,
      );
    for (const revision of ['--sql', 'a', `$(touch ${marker.path})`]) {
      const answer = await type(revision);
      expect([revision, answer]).toEqual([revision, expect.any(Failure)]);
      expect([revision, answer]).toMatchObject([revision, { reason: 'RevisionNotFound', kind: 'stalled' }]);
      if (answer instanceof Failure) expectMessage(answer.message, [/is ambiguous|No revision/]);
    }
    // The same answer, without a Python for each.
    const graph = await graphOf(scene);
    const others = ['', 'a'.repeat(33), '-9', 'a1:a2', 'x@y', 'deadbeef', 'a1;DROP TABLE users', '../../x', '*'];
    for (const text of [...others, 'a1\n', 'a1\0', 'a1\u202e', '%']) {
      expect([text, resolveRevision(graph, text, ['a2'])]).toMatchObject([text, { kind: 'unknown' }]);
    }
    expect(await scene.target()).toEqual(target);
    expect(await contentChecksum(scene.database.adminUrl)).toBe(content);
    await marker.expectAbsent();
  });
});

async function graphOf(scene: Scene): Promise<RevisionGraph> {
  const { graph } = await preview(await scene.target(), scene.ports, {
    sql: false,
    signal: new AbortController().signal,
  });
  if (graph === null) throw new Error('the preview read no scripts');
  return graph;
}

/** The valid declaration, with another name and revision. */
function revisionFiles(good: string, command: string): readonly BadFile[] {
  return badRevisions(command).map(({ name, yaml, says }) => ({
    name,
    text: named(good, name).replace(/^ {2}revision: .*$/m, `  revision: ${yaml}`),
    says: ['spec.revision: ', ...says],
  }));
}

function brokenFiles(good: string): readonly BadFile[] {
  return [
    { name: 'no-yaml', text: `${named(good, 'no-yaml')}\n  : [}`, says: [/is not YAML: .+ at line \d+/] },
    { name: 'binary', text: `${named(good, 'binary')}\n\0\0`, says: [/is not YAML|NUL/] },
    { name: 'no-mapping', text: '- a\n- b\n', says: ['only MigrationTarget belongs into targets/'] },
    { name: 'no-document', text: '# later\n', says: ['holds no document: write one MigrationTarget'] },
    {
      name: 'two-documents',
      text: `${named(good, 'two-documents')}\n---\n${named(good, 'another')}`,
      says: ['holds 2 documents: write one a file'],
    },
    {
      name: 'unknown-field',
      text: named(good, 'unknown-field').replace(/^spec:$/m, 'spec:\n  revison: "a1"'),
      says: ['spec.revison: unknown field: did you mean "revision"?'],
    },
    {
      name: 'unknown-field-below',
      text: named(good, 'unknown-field-below').replace(/^ {2}policy:$/m, '  policy:\n    dryRun: true'),
      says: ['spec.policy.dryRun: unknown field: known are', 'dataLoss'],
    },
    {
      name: 'aliases',
      text: `${named(good, 'aliases')}\na: &a [1, 1]\nb: &b [*a, *a]\n${doubled}`,
      says: [/is not YAML|unknown field/],
    },
  ];
}

/** Aliases that multiply: some lines of text that would be gigabytes of data. */
const doubled = Array.from({ length: 24 }, (_, index) => {
  const letter = (at: number): string => String.fromCharCode(97 + at);
  return `${letter(index + 2)}: &${letter(index + 2)} [*${letter(index + 1)}, *${letter(index + 1)}]`;
})
  .join('\n')
  .replace(/^z.*$/ms, '');

const named = (text: string, name: string): string => text.replace(/^ {2}name: .*$/m, `  name: ${name}`);

function statusIn(declaration: { readonly status: TargetStatus | null }): TargetStatus {
  if (declaration.status === null) throw new Error('no status was saved');
  return declaration.status;
}
