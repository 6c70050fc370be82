import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { plainBackup } from '../../../src/adapters/storage/index.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'migration-target-plain-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('a .sql file is described by its path, size and checksum', async () => {
  const path = join(folder, 'old script’s.sql');
  await writeFile(path, 'SELECT 1;\n');
  expect(await plainBackup(path)).toEqual({
    path,
    format: 'plain',
    sizeBytes: 10,
    sha256: 'b4e0497804e46e0a0b0b8c31975b062152d551bac49c3c2e80932567b4085dcd',
  });
});

const refused: readonly (readonly [string, (path: string) => Promise<unknown>, string, RegExp])[] = [
  ['is not there', () => Promise.resolve(), 'BackupNotFound', /There is no file .*migration-target backups/],
  ['is a folder', (path) => mkdir(path), 'BackupInvalid', /it is a folder.*backups import/],
  ['is empty', (path) => writeFile(path, ''), 'BackupInvalid', /it is empty/],
  ['is a link', (path) => symlink('/etc/passwd', path), 'BackupInvalid', /it is a symbolic link.*readlink -f/],
  ['is in the custom format', (path) => writeFile(path, 'PGDMP\x01'), 'BackupInvalid', /custom format.*pg_restore -f/],
  ['is compressed', (path) => writeFile(path, gzipSync('SELECT 1;')), 'BackupInvalid', /compressed by gzip.*gunzip/],
];

test.each(refused)('a file that %s is refused, with what to do instead', async (name, make, reason, message) => {
  const path = join(folder, name);
  await make(path);
  await expect(plainBackup(path)).rejects.toMatchObject({
    reason,
    kind: 'stalled',
    message: expect.stringMatching(message),
  });
});
