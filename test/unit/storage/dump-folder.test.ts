import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, expect, test } from '@jest/globals';

import { openDumpFolder } from '../../../src/adapters/storage/index.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'mt-dumps-'));
  await chmod(dir, 0o755);
});
afterEach(() => rm(dir, { recursive: true, force: true }));

/** As somebody who is not root, to whom nothing is closed. */
async function asNobody<T>(work: () => Promise<T>): Promise<T> {
  const own = process.geteuid?.();
  if (own === 0) process.seteuid?.(65_534);
  try {
    return await work();
  } finally {
    if (own === 0) process.seteuid?.(0);
  }
}

test('a file that may not be read, that is packed in another way, a folder and a link are told, and the others found', async () => {
  await writeFile(join(dir, 'a.sql'), 'SELECT 1;\n');
  await writeFile(join(dir, 'b.dump'), 'PGDMP...');
  await writeFile(join(dir, 'c.sql'), 'SELECT 1;\n', { mode: 0o000 });
  await writeFile(join(dir, 'd.sql'), Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0]));
  await mkdir(join(dir, 'e.sql'));
  await symlink('a.sql', join(dir, 'f.sql'));
  await symlink('nowhere', join(dir, 'g.sql'));
  await writeFile(join(dir, 'notes.txt'), 'x');
  const { found, others } = await asNobody(() => openDumpFolder(dir));
  expect(others).toBe(1);
  expect(
    found.map((one) => (one.kind === 'dump' ? [one.dump.name, one.dump.format] : [one.name, one.because])),
  ).toEqual([
    ['a.sql', 'plain'],
    ['b.dump', 'custom'],
    ['c.sql', expect.stringMatching(/^user \d+ may not read it$/)],
    ['d.sql', expect.stringContaining('compressed by zstd')],
    ['e.sql', 'it is a folder'],
    ['f.sql', 'it is a symbolic link to a.sql'],
    ['g.sql', 'it is a symbolic link that leads nowhere'],
  ]);
});

test('a file that is written to after it was found is another one', async () => {
  await writeFile(join(dir, 'a.sql'), 'SELECT 1;\n');
  const [one] = (await openDumpFolder(dir)).found;
  if (one?.kind !== 'dump') throw new Error('no dump');
  expect(await one.dump.isUnchanged()).toBe(true);
  await writeFile(join(dir, 'a.sql'), 'SELECT 2; --\n');
  expect(await one.dump.isUnchanged()).toBe(false);
});
