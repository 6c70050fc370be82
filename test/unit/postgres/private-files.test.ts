import { readdir, readFile, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

import { expect, test } from '@jest/globals';

import { createPrivateFiles } from '../../../src/adapters/process/private-files.ts';

const platform = Object.getOwnPropertyDescriptor(process, 'platform') ?? {};

test('where a system cannot open a nameless file again, each has a name that nobody else may read, until it is disposed of', async () => {
  Object.defineProperty(process, 'platform', { ...platform, value: 'darwin' });
  try {
    const files = createPrivateFiles();
    const paths = [await files.add('one'), await files.add('two')];
    expect(files.descriptors).toEqual([]);
    expect(await Promise.all(paths.map((path) => readFile(path, 'utf8')))).toEqual(['one', 'two']);
    const directory = dirname(paths[0] ?? '');
    for (const path of [...paths, directory]) expect((await stat(path)).mode & 0o077).toBe(0);
    await files[Symbol.asyncDispose]();
    await expect(readdir(directory)).rejects.toThrow('ENOENT');
  } finally {
    Object.defineProperty(process, 'platform', platform);
  }
});
