/** The agent of a volume, as a process of this machine, and what it does with the folder that it serves. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';

import { localLauncher } from '../../../src/adapters/process/local.ts';
import type { Child, Launcher } from '../../../src/adapters/process/launcher.ts';
import type { ObjectPlace } from '../../../src/adapters/storage/object-place.ts';
import { volumeConnection } from '../../../src/adapters/volume/connection.ts';
import { createVolumes, type Volumes } from '../../../src/adapters/volume/index.ts';
import { volumePlace } from '../../../src/adapters/volume/place.ts';
import { target } from '../../unit/storage/samples.ts';
import { adding } from '../s3/catalogue.ts';
import { agentOf, openVolume, temporaryFolder } from './catalogue.ts';

const mebibyte = 1024 * 1024;

/** A launcher that tells what it has started. */
function watched(): { readonly launcher: Launcher; readonly children: Child[] } {
  const local = localLauncher({ environment: {}, group: false });
  const children: Child[] = [];
  const launcher: Launcher = {
    async launch(program) {
      const child = await local.launch(program);
      children.push(child);
      return child;
    },
  };
  return { launcher, children };
}

interface Served extends AsyncDisposable {
  readonly place: ObjectPlace;
  readonly children: readonly Child[];
}

function serve(root: string, idleMs = 60_000): Served {
  const { launcher, children } = watched();
  const agent = agentOf(root, launcher);
  const connection = volumeConnection(agent.launcher, agent.program, { name: 'the claim ops/backups', idleMs });
  return {
    place: volumePlace(connection, { namespace: 'ops', name: 'backups' }, ''),
    children,
    [Symbol.asyncDispose]: () => connection[Symbol.asyncDispose](),
  };
}

/** So many parts of a mebibyte, none like another. */
async function* parts(count: number): AsyncGenerator<Uint8Array> {
  for (let part = 0; part < count; part += 1)
    yield Buffer.alloc(mebibyte, createHash('sha256').update(`${part}`).digest());
}

async function checksum(content: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of content) hash.update(chunk);
  return hash.digest('hex');
}

test('what an agent writes can be read by nobody who has only its log', async () => {
  const root = await temporaryFolder();
  await writeFile(join(root, 'secret'), 'a row of the dump');
  await using served = serve(root);
  const read = served.place.read('secret', 1_000);
  const written: Buffer[] = [];
  const started = async (): Promise<Child> => {
    for (;;) {
      const [child] = served.children;
      if (child !== undefined) return child;
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  (await started()).stdout.on('data', (bytes: Buffer) => written.push(bytes));
  expect((await read)?.toString()).toBe('a row of the dump');
  const log = Buffer.concat(written);
  expect(log.length).toBeGreaterThan(100);
  expect(log.includes('a row of the dump')).toBe(false);
});

describe('a stream', () => {
  test('of many times what is on the way at once goes there and back, while others are asked for', async () => {
    await using served = serve(await temporaryFolder());
    const { place } = served;
    const uploading = place.upload('a/dump', parts(64), 0);
    await place.write('b', 'small');
    expect((await place.read('b', 100))?.toString()).toBe('small');
    await uploading;
    const found = await place.download('a/dump');
    expect(found?.bytes).toBe(64 * mebibyte);
    expect(await checksum(found?.content ?? parts(0))).toBe(await checksum(parts(64)));
    expect(served.children).toHaveLength(1);
  });

  test('that its reader leaves in the middle holds nothing up', async () => {
    await using served = serve(await temporaryFolder());
    const { place } = served;
    await place.upload('dump', parts(32), 0);
    for (let reader = 0; reader < 5; reader += 1)
      for await (const chunk of (await place.download('dump'))?.content ?? parts(0)) if (chunk.length > 0) break;
    expect(await place.list('')).toHaveLength(1);
  });

  test.each([
    ['its agent is killed', (child: Child) => child.kill('SIGKILL')],
    ['the connection is cut', (child: Child) => void child.stdin.destroy()],
  ])('that is cut since %s leaves nothing that counts, and the next one is served anew', async (_, cutOff) => {
    const root = await temporaryFolder();
    await using served = serve(root);
    const { place } = served;
    const content = async function* (): AsyncGenerator<Uint8Array> {
      yield* parts(16);
      const [child] = served.children;
      if (child !== undefined) cutOff(child);
      await child?.ended;
      yield* parts(1);
    };
    await expect(place.upload('a/dump', content(), 0)).rejects.toMatchObject({
      kind: 'retry',
      reason: 'StorageUnavailable',
      message: expect.stringContaining('the claim ops/backups is no longer served'),
    });
    expect(await place.list('')).toEqual([]);
    expect(served.children).toHaveLength(2);
    await place.abandonUploads('a/');
    expect(await readdir(root)).toEqual([]);
  });
});

describe('an agent', () => {
  test('ends when nobody has needed it for a while, and is started again', async () => {
    await using served = serve(await temporaryFolder(), 1);
    await served.place.write('a', 'b');
    expect(await served.children[0]?.ended).toMatchObject({ code: 0 });
    expect((await served.place.read('a', 10))?.toString()).toBe('b');
    expect(served.children).toHaveLength(2);
  });

  test('is not needed for what this process knows already, and is asked after a change', async () => {
    const { launcher, children } = watched();
    const store = openVolume(agentOf(await temporaryFolder(), launcher), { idleMs: 1 });
    const manifest = await adding(store)('the dump');
    expect((await store.list({ mayBeOld: true })).backups).toEqual([manifest]);
    const started = children.length;
    await Promise.all(children.map(({ ended }) => ended));
    expect((await store.list({ mayBeOld: true })).backups).toEqual([manifest]);
    expect(children).toHaveLength(started);
    await store.remove(manifest.id);
    expect((await store.list({ mayBeOld: true })).backups).toEqual([]);
    await expect(store.list()).resolves.toEqual({ backups: [], broken: [] });
  });

  test.each([
    ['is gone', (volumes: Volumes) => volumes.letGo(target)],
    ['names another claim', (volumes: Volumes) => void volumes.open({ claimName: 'others', path: '/' }, target)],
  ])('ends at once where its target %s', async (_, change) => {
    const { launcher, children } = watched();
    const agent = agentOf(await temporaryFolder(), launcher);
    await using volumes = createVolumes(() => agent, 60_000);
    await adding(volumes.open({ claimName: 'backups', path: '/' }, target))('the dump');
    change(volumes);
    expect(await children[0]?.ended).toMatchObject({ code: 0 });
    expect(children).toHaveLength(1);
  });

  test('whose folder is missing tells it', async () => {
    await using served = serve(join(await temporaryFolder(), 'missing'));
    await expect(served.place.write('a', 'b')).rejects.toMatchObject({
      reason: 'StorageUnavailable',
      message: expect.stringContaining('kubectl -n ops describe pvc backups'),
    });
  });
});

describe('what leads out of the volume', () => {
  test.each(['../evil', 'a/../../evil', '/evil', 'a//b', './a', 'a\0b'])('as the key %j is refused', async (key) => {
    const root = join(await temporaryFolder(), 'volume');
    await mkdir(root);
    await using served = serve(root);
    await expect(served.place.write(key, 'evil')).rejects.toThrow('is no key');
    await expect(served.place.read(key, 10)).rejects.toThrow('is no key');
    expect(await readdir(join(root, '..'))).toEqual(['volume']);
  });

  test('as a link is not followed, neither in place of a file nor of a folder', async () => {
    const outside = await temporaryFolder();
    await writeFile(join(outside, 'secret'), 'secret');
    const root = await temporaryFolder();
    await symlink(join(outside, 'secret'), join(root, 'file'));
    await symlink(outside, join(root, 'folder'));
    await using served = serve(root);
    const { place } = served;
    await expect(place.read('file', 100)).rejects.toThrow('file is a symbolic link');
    await expect(place.read('folder/secret', 100)).rejects.toThrow('folder is a link or a file instead of a folder');
    await expect(place.write('folder/evil', 'evil')).rejects.toThrow('folder is a link');
    await expect(place.remove('folder/secret')).rejects.toThrow('folder is a link');
    await place.write('file', 'mine');
    expect(await readFile(join(outside, 'secret'), 'utf8')).toBe('secret');
    expect(await readdir(outside)).toEqual(['secret']);
  });

  test('as a manifest makes that backup a broken one, and no other', async () => {
    const root = await temporaryFolder();
    const store = openVolume(agentOf(root));
    const whole = await adding(store)('the dump');
    const id = store.newId(new Date());
    await mkdir(join(root, id));
    await symlink(join(root, whole.id, 'manifest.json'), join(root, id, 'manifest.json'));
    const { backups, broken } = await store.list();
    expect(backups).toEqual([whole]);
    expect(broken).toMatchObject([{ id, problem: expect.stringContaining('is a symbolic link') }]);
  });
});

/** How this user gets mounts of its own, which end with the agent: as root, or as root of a user namespace. */
const unshare = [['-m'], ['-rm']].find((args) => spawnSync('unshare', [...args, 'true']).status === 0);
const testWithMounts = unshare === undefined ? test.skip : test;

testWithMounts('a full volume is told, with nothing left of what did not fit', async () => {
  const root = await temporaryFolder();
  const { program } = agentOf(root);
  const script = `mount -t tmpfs -o size=2m,mode=700 tmpfs "$1" && shift && exec "$@"`;
  const args = [...(unshare ?? []), 'sh', '-c', script, 'sh', root, program.program, ...program.args];
  const launcher = localLauncher({ environment: { PATH: process.env['PATH'] ?? '' }, group: false });
  await using connection = volumeConnection(
    launcher,
    { program: 'unshare', args, env: {} },
    { name: 'the claim ops/backups', idleMs: 60_000 },
  );
  const place = volumePlace(connection, { namespace: 'ops', name: 'backups' }, '');
  await expect(place.upload('dump', parts(64), 0)).rejects.toMatchObject({
    kind: 'retry',
    reason: 'StorageUnavailable',
    message: expect.stringMatching(
      /^The volume of the claim ops\/backups is full, \d+ bytes free .*ENOSPC.*edit pvc backups/,
    ),
  });
  await place.write('small', 'fits');
  expect((await place.list('')).map(({ key }) => key)).toEqual(['small']);
});
