import { mkdir, mkdtemp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, expect, test } from '@jest/globals';

import { publish } from '../../../scripts/lib/publish.ts';

let parent: string;
let path: string;
beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), 'migration-target-publish-'));
  path = join(parent, 'it');
});
afterEach(() => rm(parent, { recursive: true, force: true }));

const fill = (text: string) => (dir: string) => writeFile(join(dir, 'file'), text);
const content = () => readFile(join(path, 'file'), 'utf8');

test('a folder appears with all that its builder wrote', async () => {
  await publish(path, fill('a'));
  expect(await content()).toBe('a');
});

test('a builder that fails leaves nothing', async () => {
  await expect(publish(path, () => Promise.reject(new Error('no network')))).rejects.toThrow('no network');
  expect(await readdir(parent)).toEqual([]);
});

test('of several that build at once one wins, and the others leave nothing', async () => {
  await Promise.all(['a', 'b', 'c'].map((text) => publish(path, fill(text))));
  expect(await content()).toMatch(/^[abc]$/);
  expect(await readdir(parent)).toHaveLength(2);
});

test('what a killed builder left is removed, and what was published stays', async () => {
  await publish(path, fill('a'));
  const published = await readlink(path);
  // No process has an id above the kernel's greatest.
  const left = 'it.build-4194305-00000000';
  await mkdir(join(parent, left));
  await publish(path, fill('b'));
  expect(await content()).toBe('a');
  expect(await readdir(parent)).toEqual(expect.not.arrayContaining([left]));
  expect(await readdir(parent)).toContain(published);
});

test('a folder that somebody removed is built again', async () => {
  await publish(path, fill('a'));
  await rm(join(parent, await readlink(path)), { recursive: true });
  await publish(path, fill('b'));
  expect(await content()).toBe('b');
});
