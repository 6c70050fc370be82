import { describe, expect, test } from '@jest/globals';
import { chmod, mkdir, readdir, readFile, rename, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createBackupStores, newBackupId } from '../../../src/adapters/storage/index.ts';
import type { BackupManifest } from '../../../src/rollback/model.ts';
import { type Catalogue, catalogue, database, manifestOf, schema, target, writeDump } from './samples.ts';

const failure = (reason: string, message: string | RegExp) =>
  expect.objectContaining({ reason, message: expect.stringMatching(message) });

/** Rewrites a manifest on the disk as text, as a hand or a fault would. */
async function edit(path: string, id: string, change: (text: string) => string): Promise<void> {
  const file = join(path, id, 'manifest.json');
  await writeFile(file, change(await readFile(file, 'utf8')));
}

describe('newBackupId', () => {
  test('names the target and the moment, and two of one moment differ', () => {
    const now = new Date('2026-01-02T03:04:05.678Z');
    const id = newBackupId(target, now);
    expect(id).toMatch(/^ops-center\.unicorn-db-20260102T030405Z-[0-9a-f]{6}$/);
    expect(newBackupId(target, now)).not.toBe(id);
  });

  test('refuses a name that could leave the folder', () => {
    expect(() => newBackupId({ namespace: 'a', name: '../../x' }, new Date())).toThrow('no backup id');
  });
});

describe('a committed backup', () => {
  test('is listed with the size and checksum of every file, and is found whole', async () => {
    await using folder = await catalogue();
    const manifest = await folder.add();
    expect(manifest.files.map(({ path }) => path)).toEqual([
      'dump/3301.dat.gz',
      'dump/toc.dat',
      expect.stringMatching(/^schema-[0-9a-f]{16}\.json\.gz$/),
    ]);
    expect(manifest.files[0]).toEqual({
      path: 'dump/3301.dat.gz',
      bytes: 4,
      sha256: 'bc51e9e65d79e1c90ba544ab2eae1044ccdf8c1af7a559ba375cba4276f7d99e',
    });
    expect(await folder.store.list()).toEqual({ backups: [manifest], broken: [] });
    expect(await folder.store.check(manifest.id)).toEqual({ ok: true });
    expect(await folder.store.schema(manifest.id)).toEqual(schema);
    expect(folder.store.dumpPath(manifest)).toBe(join(folder.path, manifest.id, 'dump'));
  });

  test('is private: files 0600 and folders 0700, whatever the dump’s own were', async () => {
    await using folder = await catalogue();
    const id = newBackupId(target, new Date());
    const draft = await folder.store.begin(id, 'op1');
    await writeDump(draft.dumpDirectory);
    await chmod(draft.dumpDirectory, 0o755);
    await chmod(join(draft.dumpDirectory, 'toc.dat'), 0o644);
    const { files: _files, sizeBytes: _sizeBytes, ...rest } = manifestOf({ id });
    await draft.commit(rest, schema);
    await folder.store.recordRestore(id, database, 'done');
    await folder.store.recordSchema(database, ['a1'], schema);
    const modes = new Map<string, number>();
    for (const entry of await readdir(folder.path, { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name);
      modes.set(path, (await stat(path)).mode & 0o777);
      expect([path, modes.get(path)]).toEqual([path, entry.isDirectory() ? 0o700 : 0o600]);
    }
    expect((await stat(folder.path)).mode & 0o777).toBe(0o700);
    expect(modes.size).toBeGreaterThan(8);
  });

  test('comes before older ones, and after newer ones', async () => {
    await using folder = await catalogue();
    const middle = await folder.add({ startedAt: '2026-01-02T00:00:00Z' });
    const newest = await folder.add({ startedAt: '2026-01-03T00:00:00Z' });
    const oldest = await folder.add({ startedAt: '2026-01-01T00:00:00Z' });
    const { backups } = await folder.store.list();
    expect(backups.map(({ id }) => id)).toEqual([newest.id, middle.id, oldest.id]);
  });

  test('belongs to its target alone, even in a shared folder', async () => {
    await using folder = await catalogue();
    const { id } = await folder.add();
    const other = await createBackupStores().open({ directory: { path: folder.path } }, { namespace: 'ops-center', name: 'unicorn' });
    expect(await other.list()).toEqual({ backups: [], broken: [] });
    await expect(other.check(id)).rejects.toEqual(failure('BackupNotFound', 'not the id of a backup of ops-center/unicorn'));
  });

  test('keeps a later verification, with the schema that it gave', async () => {
    await using folder = await catalogue();
    const { id } = await folder.add();
    const other = { major: 16, digest: 'd2', lines: ['table public.orgs'] };
    await folder.store.markVerified(id, '2026-01-02T04:00:00Z', other);
    const { backups } = await folder.store.list();
    expect(backups).toEqual([expect.objectContaining({ verifiedAt: '2026-01-02T04:00:00Z', schema: { digest: 'd2', major: 16 } })]);
    expect(await folder.store.schema(id)).toEqual(other);
    expect(await folder.store.check(id)).toEqual({ ok: true });
    expect((await readdir(join(folder.path, id))).filter((name) => name.startsWith('schema-'))).toHaveLength(1);
  });

  test('stays whole where a process died between the schema and the manifest of a verification', async () => {
    await using folder = await catalogue();
    const { id } = await folder.add();
    await writeFile(join(folder.path, id, 'schema-0123456789abcdef.json.gz'), 'left behind');
    await writeFile(join(folder.path, id, '.manifest.json.0123abcd.tmp'), '{"version":');
    expect(await folder.store.check(id)).toEqual({ ok: true });
    expect(await folder.store.schema(id)).toEqual(schema);
  });

  test('goes at once, and going twice is no error', async () => {
    await using folder = await catalogue();
    const { id } = await folder.add();
    await folder.store.remove(id);
    await folder.store.remove(id);
    expect(await readdir(folder.path)).toEqual([]);
  });
});
