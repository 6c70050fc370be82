import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { chmod, copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { remembered } from '../../../src/adapters/postgres/tool-memory.ts';

let folder = '';
let program = '';
let asked = 0;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mt-tool-memory-'));
  process.env['MIGRATION_TARGET_CACHE'] = folder;
  program = join(folder, 'pg_dump');
  await copyFile('/bin/true', program);
  asked = 0;
});
afterEach(async () => {
  delete process.env['MIGRATION_TARGET_CACHE'];
  await rm(folder, { recursive: true, force: true });
});

const look = (question = '--version'): Promise<string | null> =>
  remembered(program, question, async () => `answer ${(asked += 1)}`);

test('a program is asked once for each question', async () => {
  expect([await look(), await look()]).toEqual(['answer 1', 'answer 1']);
  expect([await look('--help'), await look('--help'), await look()]).toEqual(['answer 2', 'answer 2', 'answer 1']);
});

test('one that was replaced is asked again', async () => {
  await look();
  await rm(program);
  await copyFile('/bin/false', program);
  expect(await look()).toBe('answer 2');
});

test('what it did not answer is not remembered', async () => {
  const silent = (): Promise<string | null> => remembered(program, '--version', async () => ((asked += 1), null));
  expect([await silent(), await silent(), asked]).toEqual([null, null, 2]);
});

test('a script is asked each time, since it may run another program', async () => {
  await writeFile(program, '#!/bin/sh\n');
  expect([await look(), await look()]).toEqual(['answer 1', 'answer 2']);
});

test('what others could have written is not believed', async () => {
  await look();
  await chmod(join(folder, 'tools'), 0o777);
  expect(await look()).toBe('answer 2');
});
