/** Backups that somebody cut, changed or exchanged: none is restored, and the database stays what it is. */
import { cp, readFile, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

import type { BackupManifest } from '../../../src/rollback/model.ts';
import { said, threeSteps } from '../../support/scene.ts';
import { expectRefused, watchedScene, type Refusal, type WatchedScene } from './support.ts';

const raising = {
  revisions: threeSteps.revisions.map((one) =>
    one.id === 'a2' ? { ...one, downgrade: `raise RuntimeError('no way back')` } : one,
  ),
};

/** At a3, with a good backup at a1, and one at a3. */
let scene: WatchedScene;
let atA1: BackupManifest;
let atA3: BackupManifest;
let untouched: string;
beforeAll(async () => {
  scene = await watchedScene({ history: raising });
  await scene.goTo('a1');
  await scene.goTo('a3');
  await scene.reconcile({ kind: 'backup', reason: 'Requested' });
  atA1 = await backupAt('a1');
  atA3 = await backupAt('a3');
  untouched = `${scene.backups}-untouched`;
  await cp(scene.backups, untouched, { recursive: true });
});
afterAll(async () => {
  await scene[Symbol.asyncDispose]();
});

async function backupAt(revision: string): Promise<BackupManifest> {
  const { spec } = await scene.target();
  const store = await scene.ports.backups.open(
    spec.backup.storage,
    { namespace: 'default', name: 'unicorn' },
    scene.ports.home,
  );
  const found = (await store.list()).backups.find(({ revisions }) => revisions?.join() === revision);
  if (found === undefined) throw new Error(`no backup at ${revision}`);
  return found;
}

const folderOf = ({ id }: BackupManifest): string => join(scene.backups, id);
/** The rows of `users`, the largest file of the dump. */
const largest = ({ files }: BackupManifest): string =>
  files.filter(({ path }) => path.startsWith('dump/')).toSorted((a, b) => b.bytes - a.bytes)[0]?.path ?? '';

async function changeManifest(backup: BackupManifest, change: (manifest: BackupManifest) => object): Promise<void> {
  const file = join(folderOf(backup), 'manifest.json');
  const manifest = JSON.parse(await readFile(file, 'utf8')) as BackupManifest;
  await writeFile(file, JSON.stringify(change(manifest)));
}

interface Tampering {
  readonly what: string;
  readonly tamper: () => Promise<void>;
  /** What is said of it. */
  readonly says: Refusal['says'];
  /** The damage is found only once it is read or restored: an operation began. */
  readonly begins?: 'operation';
}

const tamperings: readonly Tampering[] = [
  {
    what: 'cut short',
    tamper: () => truncate(join(folderOf(atA1), largest(atA1)), 100),
    says: [/dump\/\S+ has 100 bytes instead of \d+/],
  },
  {
    what: 'with another content of the same length',
    tamper: async () => {
      const file = join(folderOf(atA1), largest(atA1));
      const content = await readFile(file);
      content.writeUInt8(content.readUInt8(50) ^ 1, 50);
      await writeFile(file, content);
    },
    says: [/dump\/\S+ has another checksum than when it was written/],
    begins: 'operation',
  },
  {
    what: 'of another database',
    tamper: () =>
      changeManifest(atA1, (manifest) => ({ ...manifest, database: { ...manifest.database, name: 'elsewhere' } })),
    says: ['elsewhere'],
  },
  {
    what: 'that is at another revision than its manifest says',
    tamper: async () => {
      await rm(folderOf(atA1), { recursive: true });
      await rename(folderOf(atA3), folderOf(atA1));
      await changeManifest(atA1, (manifest) => ({ ...manifest, id: atA1.id, revisions: ['a1'] }));
    },
    says: ['the version table says a3, and was a1', 'migration-target backups verify default.unicorn-'],
    begins: 'operation',
  },
  {
    what: 'with a symbolic link in place of a file',
    tamper: async () => {
      const file = join(folderOf(atA1), largest(atA1));
      await rename(file, join(scene.dir, 'moved'));
      await symlink(join(scene.dir, 'moved'), file);
    },
    says: [/dump\/\S+ is not a regular file/],
  },
  {
    what: 'that is a symbolic link itself',
    tamper: async () => {
      await rename(folderOf(atA1), join(scene.dir, 'moved-folder'));
      await symlink(join(scene.dir, 'moved-folder'), folderOf(atA1));
    },
    says: ['it is a link or a file instead of a folder'],
  },
  {
    what: 'whose manifest names a file outside of it',
    tamper: async () => {
      await changeManifest(atA1, (manifest) => ({
        ...manifest,
        files: manifest.files.map((file) => (file.path === largest(atA1) ? { ...file, path: 'dump/../../x' } : file)),
      }));
    },
    says: ['must not contain . or ..'],
  },
];

describe.each(tamperings)('a backup $what', ({ tamper, says, begins }) => {
  beforeAll(async () => {
    await rm(scene.backups, { recursive: true });
    await cp(untouched, scene.backups, { recursive: true });
    await tamper();
  });

  test('is refused where restoreFrom declares it', async () => {
    const visit = () => scene.goTo('a3', { restoreFrom: { backup: atA1.id } });
    const told: Refusal['says'] = [atA1.id, ...says, /migration-target (backups|reconcile) unicorn/];
    await expectRefused(scene, visit, {
      reason: 'BackupInvalid',
      says: told,
      ...(begins === undefined ? {} : { begins }),
    });
  });

  test('is not what a failed downgrade falls back to', async () => {
    const visit = () => scene.goTo('a1', { restoreFrom: null });
    const told: Refusal['says'] = [
      'no way back',
      atA1.id,
      ...says,
      'is at a3, as before',
      'migration-target reconcile unicorn',
    ];
    await expectRefused(scene, visit, { reason: 'DowngradeFailed', says: told, begins: 'operation' });
    expect(await scene.version()).toBe('a3');
  });
});

describe('a backup that nobody touched', () => {
  test('is what the same downgrade falls back to', async () => {
    await rm(scene.backups, { recursive: true });
    await cp(untouched, scene.backups, { recursive: true });
    expect(said((await scene.goTo('a1', { restoreFrom: null, interval: '1m' })).outcome)).toMatch(
      /^ready RestoredFromBackup: .*no way back/s,
    );
    expect(await scene.version()).toBe('a1');
  });
});
