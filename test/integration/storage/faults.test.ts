import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BackupStore } from '../../../src/rollback/ports.ts';
import { database, openDirectory } from '../../unit/storage/samples.ts';

const child = join(import.meta.dirname, 'child.ts');

/** Most of a short process's time is stripping types: the first keeps the result for the others. */
const cache = join(tmpdir(), `migration-target-compile-cache-${process.pid}`);
beforeAll(async () => {
  await using disk = await folder();
  parsed(await runChild(disk.path, 'commit'));
});
afterAll(() => rm(cache, { recursive: true, force: true }));

interface Folder extends AsyncDisposable {
  readonly path: string;
  readonly store: BackupStore;
}

async function folder(): Promise<Folder> {
  const path = await mkdtemp(join(tmpdir(), 'migration-target-faults-'));
  const store = await openDirectory(path);
  return { path, store, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

interface Answer {
  readonly signal: string | null;
  readonly said: string;
  readonly error: string;
}

/** Runs a program to its end. */
async function run(program: string, args: readonly string[]): Promise<Answer> {
  const running = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NODE_OPTIONS: '', NODE_COMPILE_CACHE: cache },
  });
  const chunks = { said: '', error: '' };
  running.stdout.setEncoding('utf8').on('data', (chunk: string) => (chunks.said += chunk));
  running.stderr.setEncoding('utf8').on('data', (chunk: string) => (chunks.error += chunk));
  const [, signal] = (await once(running, 'close')) as [number | null, string | null];
  return { signal, ...chunks };
}

const runChild = (root: string, ...args: readonly string[]): Promise<Answer> =>
  run(process.execPath, [child, root, ...args]);

function parsed(answer: Answer): unknown {
  expect(answer.error).toBe('');
  return JSON.parse(answer.said);
}

/** How this user gets mounts of its own, which end with the process: as root, or as root of a user namespace. */
const unshare = [['-m'], ['-rm']].find((args) => spawnSync('unshare', [...args, 'true']).status === 0);
const testWithMounts = unshare === undefined ? test.skip : test;

/** Runs the child with a file system of 1 MiB on ROOT, after `prepare` (a shell command). */
async function runOnSmallDisk(root: string, prepare: string, action: string): Promise<unknown> {
  const script = `mount -t tmpfs -o size=1m,mode=700 tmpfs "$1" && ${prepare} && exec "$0" "$2" "$1" "$3"`;
  return parsed(await run('unshare', [...(unshare ?? []), 'sh', '-c', script, process.execPath, root, child, action]));
}

describe('a process killed by kill -9', () => {
  test('at any change of the disk leaves whole backups in the list, or none', async () => {
    const seen = new Set<string>();
    let deaths = 0;
    for (let call = 1; ; call += 1) {
      await using disk = await folder();
      const { signal, error } = await runChild(disk.path, 'everything', String(call));
      expect(error).toBe('');
      const { backups, broken } = await disk.store.list();
      expect({ call, broken }).toEqual({ call, broken: [] });
      for (const { id, verifiedAt } of backups) {
        expect({ call, check: await disk.store.check(id) }).toEqual({ call, check: { ok: true } });
        expect((await disk.store.schema(id))?.digest).toBe(verifiedAt === null ? 'd1' : 'd2');
        seen.add(
          `${verifiedAt === null ? 'unverified' : 'verified'}, restore: ${await disk.store.restoreRecord(id, database)}`,
        );
      }
      await disk.store.removeLeftovers('op-child');
      expect({ call, left: await readdir(disk.path) }).toEqual({ call, left: backups.map(({ id }) => id) });
      if (signal === null) break;
      expect(signal).toBe('SIGKILL');
      deaths += 1;
    }
    expect(deaths).toBeGreaterThan(30);
    expect([...seen].sort()).toEqual([
      'unverified, restore: null',
      'verified, restore: done',
      'verified, restore: intended',
      'verified, restore: null',
    ]);
  });
});

describe('several processes at once', () => {
  test('commit, list and remove in one folder without seeing half of anything', async () => {
    await using disk = await folder();
    let running = true;
    const committing = Promise.all(Array.from({ length: 3 }, () => runChild(disk.path, 'commit many'))).finally(() => {
      running = false;
    });
    let listings = 0;
    while (running) {
      const { broken } = await disk.store.list();
      expect(broken).toEqual([]);
      listings += 1;
    }
    const ids = (await committing).flatMap((answer) => parsed(answer) as string[]);
    const { backups } = await disk.store.list();
    expect(listings).toBeGreaterThan(1);
    expect(ids).toHaveLength(12);
    expect(backups.map(({ id }) => id).sort()).toEqual(ids.toSorted());
    expect((await readdir(disk.path)).sort()).toEqual(ids.toSorted());
    for (const id of ids) expect(await disk.store.check(id)).toEqual({ ok: true });
  });
});

describe('a disk that fails', () => {
  testWithMounts(
    'full while a backup is committed: the failure names path, need and free bytes, and nothing half is left',
    async () => {
      await using disk = await folder();
      const answer = (await runOnSmallDisk(disk.path, 'true', 'commit on a full disk')) as Record<string, unknown>;
      const full = {
        reason: 'StorageUnavailable',
        kind: 'retry',
        message: expect.stringMatching(
          `The backup folder ${disk.path} is full: \\d+ bytes needed, 0 free .*ENOSPC.*Make room there`,
        ),
      };
      expect(answer).toEqual({
        before: expect.any(String),
        committing: full,
        recording: full,
        check: { ok: true },
        freeBytes: 0,
        backups: [answer['before']],
        broken: [],
        left: [answer['before']],
      });
    },
  );

  testWithMounts('read-only: backups can be read, and whatever writes says so', async () => {
    await using disk = await folder();
    const prepare = `"$0" "$2" "$1" commit >/dev/null && mount -o remount,ro "$1"`;
    const refused = {
      reason: 'StorageUnavailable',
      kind: 'retry',
      message: expect.stringMatching(`The backup folder ${disk.path} is read-only .*EROFS`),
    };
    expect(await runOnSmallDisk(disk.path, prepare, 'use a read-only disk')).toEqual({
      backups: [expect.any(String)],
      check: { ok: true },
      beginning: refused,
      recording: refused,
      removing: refused,
    });
  });

  test('without rights: says which command grants them', async () => {
    await using disk = await folder();
    await mkdir(join(disk.path, 'closed'));
    await chmod(join(disk.path, 'closed'), 0o000);
    const path = join(disk.path, 'closed');
    const refused = {
      reason: 'StorageUnavailable',
      kind: 'retry',
      message: expect.stringMatching(`The backup folder ${path} is not open to user \\d+ .*chown \\d+ '${path}'`),
    };
    expect(parsed(await runChild(path, 'use without rights'))).toEqual({ listing: refused, beginning: refused });
  });
});
