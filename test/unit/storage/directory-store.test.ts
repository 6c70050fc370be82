import { describe, expect, test } from '@jest/globals';
import { chmod, mkdir, readdir, readFile, rename, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createBackupStores, newBackupId } from '../../../src/adapters/storage/index.ts';
import type { BackupManifest } from '../../../src/rollback/model.ts';
import {
  type Catalogue,
  catalogue,
  database,
  manifestOf,
  schema,
  target,
  writeDump,
  openDirectory,
  dumpFolder,
} from './samples.ts';

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
    expect(folder.store.dumpOf(manifest)).toEqual({ kind: 'path', path: join(folder.path, manifest.id, 'dump') });
  });

  test('is private: files 0600 and folders 0700, whatever the dump’s own were', async () => {
    await using folder = await catalogue();
    const id = newBackupId(target, new Date());
    const draft = await folder.store.begin(id, 'op1');
    await writeDump(dumpFolder(draft));
    await chmod(dumpFolder(draft), 0o755);
    await chmod(join(dumpFolder(draft), 'toc.dat'), 0o644);
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
    const other = await openDirectory(folder.path, { namespace: 'ops-center', name: 'unicorn' });
    expect(await other.list()).toEqual({ backups: [], broken: [] });
    await expect(other.check(id)).rejects.toEqual(
      failure('BackupNotFound', 'not the id of a backup of ops-center/unicorn'),
    );
  });

  test('keeps a later verification, with the schema that it gave', async () => {
    await using folder = await catalogue();
    const { id } = await folder.add();
    const other = { major: 16, digest: 'd2', lines: ['table public.orgs'] };
    await folder.store.markVerified(id, '2026-01-02T04:00:00Z', other);
    const { backups } = await folder.store.list();
    expect(backups).toEqual([
      expect.objectContaining({ verifiedAt: '2026-01-02T04:00:00Z', schema: { digest: 'd2', major: 16 } }),
    ]);
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

describe('a backup that is not as it was written', () => {
  const harm: readonly (readonly [
    string,
    RegExp,
    'listed' | 'found',
    (folder: string, backup: BackupManifest) => Promise<void>,
  ])[] = [
    ['cut short', /toc\.dat has 4 bytes instead of 9/, 'listed', (folder) => truncate(join(folder, 'dump/toc.dat'), 4)],
    [
      'without one of its files',
      /missing.*3301\.dat\.gz|3301\.dat\.gz is missing/,
      'listed',
      (folder) => rm(join(folder, 'dump/3301.dat.gz')),
    ],
    [
      'of the right size with a wrong checksum',
      /3301\.dat\.gz has another checksum/,
      'found',
      (folder) => writeFile(join(folder, 'dump/3301.dat.gz'), 'bits'),
    ],
    [
      'with another schema',
      /schema-.*has (another checksum|\d+ bytes)/,
      'found',
      async (folder, { files }) => {
        const schemaFile = files.find(({ path }) => path.startsWith('schema-'));
        if (schemaFile === undefined) throw new Error('no schema');
        await writeFile(join(folder, schemaFile.path), Buffer.alloc(schemaFile.bytes));
      },
    ],
    [
      'with a file that the manifest does not know',
      /dump\/evil\.sql is not in manifest/,
      'found',
      (folder) => writeFile(join(folder, 'dump/evil.sql'), '\\! id'),
    ],
    [
      'with a link in place of a file',
      /toc\.dat is (not a regular file|a symbolic link)/,
      'listed',
      async (folder) => {
        await rename(join(folder, 'dump/toc.dat'), `${folder}-toc`);
        await symlink(`${folder}-toc`, join(folder, 'dump/toc.dat'));
      },
    ],
    [
      'with its dump behind a link',
      /dump is a symbolic link/,
      'found',
      async (folder) => {
        await rename(join(folder, 'dump'), join(folder, '..', 'elsewhere'));
        await symlink('../elsewhere', join(folder, 'dump'));
      },
    ],
    [
      'behind a link itself',
      /a link or a file instead of a folder/,
      'listed',
      async (folder) => {
        await rename(folder, `${folder}.moved`);
        await symlink(`${folder}.moved`, folder);
      },
    ],
    [
      'with its manifest behind a link',
      /symbolic link/,
      'listed',
      async (folder) => {
        await rename(join(folder, 'manifest.json'), `${folder}-manifest`);
        await symlink(`${folder}-manifest`, join(folder, 'manifest.json'));
      },
    ],
    [
      'a file instead of a folder',
      /a link or a file instead of a folder/,
      'listed',
      async (folder) => {
        await rm(folder, { recursive: true });
        await writeFile(folder, '');
      },
    ],
    ['without a manifest', /missing.*manifest\.json/, 'listed', (folder) => rm(join(folder, 'manifest.json'))],
  ];

  test.each(harm)('%s', async (_name, problem, when, change) => {
    await using folder = await catalogue();
    const backup = await folder.add();
    const intact = await folder.add();
    await change(join(folder.path, backup.id), backup);

    const found = await folder.store.check(backup.id);
    expect(found).toEqual({ ok: false, problem: expect.stringMatching(problem) });

    const { backups, broken } = await folder.store.list();
    expect(backups).toContainEqual(intact);
    expect(broken.map(({ id }) => id)).toEqual(when === 'listed' ? [backup.id] : []);
    expect(
      broken.every((it) => problem.test(it.problem) && it.problem.includes(`rm -r '${join(folder.path, backup.id)}'`)),
    ).toBe(true);
  });

  const edits: readonly (readonly [string, RegExp, (text: string) => string])[] = [
    ['cut short', /not JSON/, (text) => text.slice(0, 100)],
    ['empty', /not JSON/, () => ''],
    [
      'of an unknown version',
      /version 2, and this program knows version 1/,
      (text) => text.replace('"version": 1', '"version": 2'),
    ],
    ['a list', /version unknown/, () => '[]'],
    [
      'of another backup',
      /manifest\.json is that of "ops-center\.unicorn-db-2020/,
      (text) => text.replace(/"id": ".*"/, '"id": "ops-center.unicorn-db-20200101T000000Z-000000"'),
    ],
    [
      'of another target',
      /of the target "other\/unicorn-db"/,
      (text) => text.replace('"namespace": "ops-center"', '"namespace": "other"'),
    ],
    [
      'with a path that leaves the folder',
      /must not contain/,
      (text) => text.replace('dump/toc.dat', 'dump/../../toc.dat'),
    ],
    ['with an absolute path', /must lie in dump/, (text) => text.replace('dump/toc.dat', '/etc/passwd')],
    ['with a file twice', /names a file twice/, (text) => text.replace('dump/3301.dat.gz', 'dump/toc.dat')],
    [
      'without the dump’s table of contents',
      /does not name a whole dump/,
      (text) => text.replace('dump/toc.dat', 'dump/other'),
    ],
    ['with __proto__', /__proto__/, (text) => text.replace('"public.users"', '"__proto__"')],
    ['with a field that nobody knows', /extra/, (text) => text.replace('"version": 1', '"version": 1, "extra": true')],
    ['with a negative count', /rowCounts/, (text) => text.replace('"public.users": 3', '"public.users": -3')],
    ['with a date that is none', /startedAt/, (text) => text.replace('2026-01-02T03:04:05.000Z', 'yesterday')],
  ];

  test.each(edits)('has a manifest that is %s', async (_name, problem, change) => {
    await using folder = await catalogue();
    const { id } = await folder.add();
    await edit(folder.path, id, change);
    expect(await folder.store.list()).toEqual({
      backups: [],
      broken: [{ id, problem: expect.stringMatching(problem) }],
    });
    expect(await folder.store.check(id)).toEqual({ ok: false, problem: expect.stringMatching(problem) });
    await expect(folder.store.schema(id)).rejects.toEqual(failure('BackupInvalid', problem));
    await expect(folder.store.markVerified(id, '2026-01-02T04:00:00Z', schema)).rejects.toEqual(
      failure('BackupInvalid', problem),
    );
    expect(({} as Record<string, unknown>)['public.users']).toBeUndefined();
  });

  test('hands out no schema with a wrong checksum', async () => {
    await using folder = await catalogue();
    const { id, files } = await folder.add();
    const file = files.find(({ path }) => path.startsWith('schema-'));
    await writeFile(join(folder.path, id, file?.path ?? ''), 'x');
    await expect(folder.store.schema(id)).rejects.toEqual(failure('BackupInvalid', 'another checksum'));
  });
});

describe('a draft', () => {
  const restOf = (id: string, change: Partial<BackupManifest> = {}) => {
    const { files: _files, sizeBytes: _sizeBytes, ...rest } = manifestOf({ id, ...change });
    return rest;
  };
  const newId = () => newBackupId(target, new Date());

  test('is not listed, and leaves nothing when it is discarded', async () => {
    await using folder = await catalogue();
    const draft = await folder.store.begin(newId(), 'op1');
    await writeDump(dumpFolder(draft));
    expect(await folder.store.list()).toEqual({ backups: [], broken: [] });
    await draft.discard();
    expect(await readdir(folder.path)).toEqual([]);
  });

  test('of a dead operation is removed, and that of another is not', async () => {
    await using folder = await catalogue();
    const [dead, alive] = [newId(), newId()];
    await writeDump(dumpFolder(await folder.store.begin(dead, 'op-dead')));
    await writeDump(dumpFolder(await folder.store.begin(alive, 'op-alive')));
    await mkdir(join(folder.path, `.${dead}.0a1b2c3d.removing`));
    await folder.store.removeLeftovers('op-dead');
    expect(await readdir(folder.path)).toEqual([expect.stringMatching(`^\\.${alive}\\.[0-9a-f]{8}\\.partial$`)]);
  });

  test('without a dump, with half a dump, or with a link in it is no backup', async () => {
    await using folder = await catalogue();
    const id = newId();
    const draft = await folder.store.begin(id, 'op1');
    await expect(draft.commit(restOf(id), schema)).rejects.toEqual(
      failure('BackupFailed', 'does not name a whole dump'),
    );
    await mkdir(dumpFolder(draft));
    await writeFile(join(dumpFolder(draft), '1.dat'), '');
    await expect(draft.commit(restOf(id), schema)).rejects.toEqual(
      failure('BackupFailed', 'does not name a whole dump'),
    );
    await symlink('/etc/passwd', join(dumpFolder(draft), 'toc.dat'));
    await expect(draft.commit(restOf(id), schema)).rejects.toEqual(
      failure('BackupFailed', 'neither a file nor a folder'),
    );
    expect(await folder.store.list()).toEqual({ backups: [], broken: [] });
  });

  test('can not take the place of a backup, nor of another draft', async () => {
    await using folder = await catalogue();
    const { id } = await folder.add();
    await expect(folder.store.begin(id, 'op1')).rejects.toEqual(failure('BackupFailed', 'There is a backup'));
    const other = newId();
    const draft = await folder.store.begin(other, 'op1');
    await expect(folder.store.begin(other, 'op1')).rejects.toEqual(failure('BackupFailed', 'or one being made'));
    const late = await folder.store.begin(other, 'op2');
    await writeDump(dumpFolder(draft));
    await writeDump(dumpFolder(late));
    const first = await draft.commit(restOf(other), schema);
    await expect(late.commit(restOf(other), null)).rejects.toEqual(failure('BackupFailed', 'There is a backup'));
    expect((await folder.store.list()).backups).toContainEqual(first);
  });

  test('of a plain file is found by its path', async () => {
    await using folder = await catalogue();
    const id = newId();
    const draft = await folder.store.begin(id, 'op1');
    await mkdir(dumpFolder(draft));
    await writeFile(join(dumpFolder(draft), 'old.sql'), 'SELECT 1;');
    const manifest = await draft.commit(restOf(id, { format: 'plain' }), null);
    expect(folder.store.dumpOf(manifest)).toEqual({ kind: 'path', path: join(folder.path, id, 'dump/old.sql') });
    expect(await folder.store.schema(id)).toBeNull();
  });
});

describe('what a restore did', () => {
  test('is known by database, also to a store that was opened later', async () => {
    await using folder = await catalogue();
    const { id } = await folder.add();
    const elsewhere = { ...database, systemIdentifier: '1' };
    expect(await folder.store.restoreRecord(id, database)).toBeNull();
    await folder.store.recordRestore(id, database, 'intended');
    expect(await folder.store.restoreRecord(id, database)).toBe('intended');
    await folder.store.recordRestore(id, database, 'done');
    const later = await openDirectory(folder.path);
    expect(await later.restoreRecord(id, database)).toBe('done');
    expect(await later.restoreRecord(id, elsewhere)).toBeNull();
    expect(await later.check(id)).toEqual({ ok: true });
  });

  test('is not guessed where its record is damaged', async () => {
    await using folder = await catalogue();
    const { id } = await folder.add();
    await folder.store.recordRestore(id, database, 'done');
    const [record = ''] = await readdir(join(folder.path, id, 'restores'));
    await writeFile(join(folder.path, id, 'restores', record), '{');
    await expect(folder.store.restoreRecord(id, database)).rejects.toEqual(
      failure('BackupInvalid', 'whether it was restored is unknown'),
    );
  });
});

describe('the schema at a revision that was reached', () => {
  test('is found whatever the order of the revisions, the newest one, and for its server’s major only', async () => {
    await using folder = await catalogue();
    await folder.store.recordSchema(database, ['b1', 'a1'], { ...schema, digest: 'old' });
    await folder.store.recordSchema(database, ['b1', 'a1'], schema);
    expect(await folder.store.recordedSchema(database, ['a1', 'b1'], 16)).toEqual(schema);
    expect(await folder.store.recordedSchema(database, ['a1', 'b1'], 18)).toBeNull();
    expect(await folder.store.recordedSchema(database, ['a1'], 16)).toBeNull();
    expect(await folder.store.list()).toEqual({ backups: [], broken: [] });
  });

  test('is not compared with where its file is damaged', async () => {
    await using folder = await catalogue();
    await folder.store.recordSchema(database, [], schema);
    const [file = ''] = await readdir(join(folder.path, '.schemas'));
    await writeFile(join(folder.path, '.schemas', file), 'x');
    await expect(folder.store.recordedSchema(database, [], 16)).rejects.toEqual(
      failure('BackupInvalid', 'Remove it: rm'),
    );
  });
});

describe('an id that is none', () => {
  const ids = [
    '',
    '..',
    '../x',
    '/etc',
    'ops-center.unicorn-db-20260102T030405Z-57a1c6/../..',
    'ops-center.other-20260102T030405Z-57a1c6',
    'x\0',
  ];
  test.each(ids)('%j never becomes a path', async (id) => {
    await using folder: Catalogue = await catalogue();
    const manifest = await folder.add();
    const refused = failure('BackupNotFound', 'not the id of a backup');
    await expect(folder.store.check(id)).rejects.toEqual(refused);
    await expect(folder.store.begin(id, 'op1')).rejects.toEqual(refused);
    await expect(folder.store.remove(id)).rejects.toEqual(refused);
    await expect(folder.store.schema(id)).rejects.toEqual(refused);
    await expect(folder.store.recordRestore(id, database, 'done')).rejects.toEqual(refused);
    expect(() => folder.store.dumpOf({ ...manifest, id })).toThrow('not the id of a backup');
  });

  test('and one that is well-formed yet not there is told apart', async () => {
    await using folder = await catalogue();
    const id = newBackupId(target, new Date());
    await expect(folder.store.check(id)).rejects.toEqual(failure('BackupNotFound', `has no backup ${id}`));
    await expect(folder.store.recordRestore(id, database, 'done')).rejects.toEqual(
      failure('BackupNotFound', 'has no backup'),
    );
  });
});

describe('a storage', () => {
  test('that is a volume claim is none where there is no cluster', async () => {
    const claim = { persistentVolumeClaim: { claimName: 'backups', path: '/' } };
    const opening = createBackupStores().open(claim, target, { resolve: () => Promise.reject(new Error('asked')) });
    await expect(opening).rejects.toEqual(failure('NotSupported', 'names persistentVolumeClaim'));
  });

  test('with a file in its place, or above it, is unavailable', async () => {
    await using folder = await catalogue();
    await folder.add();
    const file = join(folder.path, 'file');
    await writeFile(file, '');
    for (const path of [file, join(file, 'below')]) {
      const store = await openDirectory(path);
      await expect(store.list()).rejects.toEqual(failure('StorageUnavailable', 'is no folder'));
      await expect(store.begin(newBackupId(target, new Date()), 'op1')).rejects.toEqual(
        failure('StorageUnavailable', 'is no folder'),
      );
    }
  });

  test('tells how many bytes are free, also before its folder exists', async () => {
    await using folder = await catalogue();
    expect(await folder.store.freeBytes()).toBeGreaterThan(0);
  });
});
