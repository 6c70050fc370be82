/** `watch`, as a script reads it: what is written when, and how it ends. */
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { parseAllDocuments } from 'yaml';
import { createBench, twoSteps, until, type Bench, type Running } from './bench.ts';

let bench: Bench;
beforeEach(async () => {
  bench = await createBench(twoSteps);
  await bench.declare('a100');
});
afterEach(async () => {
  await bench[Symbol.asyncDispose]();
});

/** Watches while a target is suspended, then while it is resumed, and returns what was written once Ctrl-C ended it. */
async function watchTwoChanges(isThere: (printed: string, changes: number) => boolean, ...args: readonly string[]) {
  const watching: Running = bench.start('watch', ...args);
  await until(watching, () => isThere(watching.printed(), 0));
  for (const [index, command] of ['suspend', 'resume'].entries()) {
    expect(await bench.run(command, 'unicorn')).toMatchObject({ code: 0 });
    await until(watching, () => isThere(watching.printed(), index + 1));
  }
  // Meanwhile it looks several times more, and there is nothing new to tell.
  expect(await bench.run('wait', 'unicorn', '--for', 'Rehearsed', '--timeout', '2s')).toMatchObject({ code: 5 });
  watching.child.kill('SIGINT');
  return watching.ended;
}

const linesOf = (text: string): readonly string[] => text.split('\n').slice(0, -1);

interface List {
  readonly kind: string;
  readonly items: readonly { readonly spec: { readonly suspend: boolean } }[];
}
const suspensions = (lists: readonly List[]): readonly (boolean | undefined)[] =>
  lists.map(({ items }) => items[0]?.spec.suspend);

test('each change is one more block below the others, and Ctrl-C ends it with 130', async () => {
  const blocks = (text: string): readonly string[] => text.match(/^NAME +CURRENT +DESIRED.*\nunicorn .*\n/gm) ?? [];
  const ended = await watchTwoChanges((printed, changes) => blocks(printed).length > changes);
  expect(ended).toMatchObject({ code: 130, stderr: '' });
  expect(blocks(ended.stdout).join('')).toBe(ended.stdout);
  expect(blocks(ended.stdout)).toHaveLength(3);
  expect(ended.stdout).not.toContain('\u001b');
});

test('of one target all there is to know is written anew', async () => {
  const blocks = (text: string): number => text.split(/^\S unicorn {3}/m).length - 1;
  const ended = await watchTwoChanges((printed, changes) => blocks(printed) > changes, 'unicorn');
  expect(ended).toMatchObject({ code: 130, stderr: '' });
  expect(blocks(ended.stdout)).toBe(3);
});

test('as JSON a change is one line', async () => {
  const ended = await watchTwoChanges((printed, changes) => linesOf(printed).length > changes, '-o', 'json');
  expect(ended).toMatchObject({ code: 130, stderr: '' });
  const lists = linesOf(ended.stdout).map((line) => JSON.parse(line) as List);
  expect(suspensions(lists)).toEqual([false, true, false]);
});

test('as YAML a change is one document', async () => {
  const documents = (text: string): readonly string[] => text.match(/^---$/gm) ?? [];
  const ended = await watchTwoChanges((printed, changes) => documents(printed).length > changes, '-o', 'yaml');
  expect(ended).toMatchObject({ code: 130, stderr: '' });
  const lists = [...parseAllDocuments(ended.stdout)].map((document) => document.toJS() as List);
  expect(suspensions(lists)).toEqual([false, true, false]);
});

test('as names a change is the name', async () => {
  const ended = await watchTwoChanges((printed, changes) => linesOf(printed).length > changes, '-o', 'name');
  expect(ended).toEqual({ code: 130, stdout: 'migrationtarget/unicorn\n'.repeat(3), stderr: '' });
});
