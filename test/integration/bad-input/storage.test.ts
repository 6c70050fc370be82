/** Backup folders that are not there, not ours, not writable or full: no backup, no change. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, test } from '@jest/globals';

import type { Outcome } from '../../../src/api/conditions.ts';
import { contentChecksum } from '../../support/postgres.ts';
import { said } from '../../support/scene.ts';
import { conditionsOf, expectMessage, expectRefused, watchedScene, type WatchedScene } from './support.ts';

const runner = join(import.meta.dirname, '../../support/crash-runner.ts');

/** How this user gets mounts of its own, which end with the process: as root, or as root of a user namespace. */
const unshare = [['-m'], ['-rm']].find((args) => spawnSync('unshare', [...args, 'true']).status === 0);
const testWithMounts = unshare === undefined ? test.skip : test;

/** Reconciles in a process of its own, which sees a small file system on the backup folder, after `prepare` (a shell command). */
async function reconcileOnSmallDisk(scene: WatchedScene, prepare: string): Promise<Outcome> {
  const request = {
    dir: scene.dir,
    name: 'unicorn',
    toolDirectory: scene.database.server.binDir,
    stopAt: null,
    moment: 'before',
  };
  const script = `mount -t tmpfs -o size=256k,mode=700 tmpfs "$1" && ${prepare} && exec "$0" "$2" "$3"`;
  const args = [
    ...(unshare ?? []),
    'sh',
    '-c',
    script,
    process.execPath,
    scene.backups,
    runner,
    JSON.stringify(request),
  ];
  const child = spawn('unshare', args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  const chunks = { said: '', error: '' };
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (chunks.said += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (chunks.error += chunk));
  await once(child, 'close');
  expect(chunks.error).toBe('');
  return (JSON.parse(chunks.said) as { readonly outcome: Outcome }).outcome;
}

/** What passes by itself is tried again, with back-off; once it has passed, all goes on. */
async function expectPatience(prepare: string, says: readonly (string | RegExp)[]): Promise<void> {
  await using scene = await watchedScene();
  await scene.goTo('a2');
  await scene.declare({ revision: 'a1', backup: { storage: { directory: { path: join(scene.dir, 'small') } } } });
  const small = { ...scene, backups: join(scene.dir, 'small') };
  await mkdir(small.backups);
  const content = await contentChecksum(scene.database.adminUrl);
  for (const time of ['at first', 'again']) {
    const outcome = await reconcileOnSmallDisk(small, prepare);
    expect([time, said(outcome)]).toEqual([time, expect.stringMatching(/^retrying StorageUnavailable: /)]);
    expectMessage(outcome.message, says);
    expect(conditionsOf(await scene.status())).toMatchObject({
      Ready: { status: 'False', reason: 'StorageUnavailable', message: outcome.message },
      Reconciling: { status: 'True' },
      Stalled: { status: 'False' },
    });
    expect(await contentChecksum(scene.database.adminUrl)).toBe(content);
    expect(await scene.databases()).toEqual([scene.database.name]);
  }
  expect(said((await scene.reconcile()).outcome)).toMatch(/^ready Downgraded: /);
}

describe('a backup folder', () => {
  test('that is missing is made, with those above it, for nobody else to read', async () => {
    await using scene = await watchedScene();
    const path = join(scene.dir, 'not', 'there', 'yet');
    const { outcome } = await scene.goTo('a1', { backup: { storage: { directory: { path } } } });
    expect(said(outcome)).toMatch(/^ready Upgraded: /);
    expect((await stat(path)).mode & 0o077).toBe(0);
    expect(await readdir(path)).toContainEqual(expect.stringMatching(/^default\.unicorn-/));
  });

  test('that is a file is told, and tried again', async () => {
    await using scene = await watchedScene();
    await scene.goTo('a2');
    const path = join(scene.dir, 'file');
    await writeFile(path, '');
    const visit = () => scene.goTo('a1', { backup: { storage: { directory: { path } } } });
    const says = [path, 'is no folder', 'spec.backup.storage.directory.path', 'tried again by itself'];
    await expectRefused(scene, visit, { reason: 'StorageUnavailable', kind: 'retrying', says });
  });

  testWithMounts('that is full', () =>
    expectPatience('head -c 250000 /dev/zero > "$1/full"', [/No space left on device|is full/, /Make room/, 'small']),
  );

  testWithMounts('that is read-only', () =>
    expectPatience('mount -o remount,ro "$1"', ['is read-only', 'Mount it writable', 'small']),
  );
});
