/**
 * The backup store in a process of its own, to be killed, crowded, or run on a disk that fails.
 * `node child.ts ROOT ACTION [N]`; answers in one line of JSON. With N it kills itself (as `kill -9` does) at its Nth
 * call that changes the disk.
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';

type Changing = (...args: unknown[]) => Promise<unknown>;

/** Wraps every function of node:fs/promises that the store changes the disk with. */
async function dieAtCall(fatal: number): Promise<void> {
  let calls = 0;
  const wrap = (owner: Record<string, Changing>, name: string): void => {
    const original = owner[name];
    if (original === undefined) throw new Error(`there is no ${name} to wrap`);
    owner[name] = function (this: unknown, ...args: unknown[]) {
      if (++calls === fatal) {
        // Half of what a removal does is done by then, and the manifest is the worst half.
        if (name === 'rm' && String(args[0]).endsWith('.removing')) fs.rmSync(join(String(args[0]), 'manifest.json'));
        process.kill(process.pid, 'SIGKILL');
      }
      return original.apply(this, args);
    };
  };
  const handle = await fs.promises.open(process.execPath, 'r');
  const prototype: unknown = Object.getPrototypeOf(handle);
  await handle.close();
  for (const name of ['sync', 'writeFile', 'chmod']) wrap(prototype as Record<string, Changing>, name);
  for (const name of ['open', 'mkdir', 'rename', 'rm', 'chmod'])
    wrap(fs.promises as unknown as Record<string, Changing>, name);
  syncBuiltinESMExports();
}

const [root = '', action = '', fatal] = process.argv.slice(2);
if (fatal !== undefined) await dieAtCall(Number(fatal));

const { database, dumpFolder, manifestOf, openDirectory, schema, writeDump } =
  await import('../../unit/storage/samples.ts');
const store = await openDirectory(root);

async function commit(): Promise<string> {
  const id = store.newId(new Date());
  const draft = await store.begin(id, 'op-child');
  await writeDump(dumpFolder(draft));
  const { files: _files, sizeBytes: _sizeBytes, ...rest } = manifestOf({ id, operation: 'op-child' });
  await draft.commit(rest, schema);
  return id;
}

/** What was thrown, as it reaches an operation. */
async function thrownBy(work: () => Promise<unknown>): Promise<unknown> {
  try {
    await work();
    return null;
  } catch (error) {
    const { reason, kind, message } = error as { reason?: string; kind?: string; message: string };
    return { reason, kind, message };
  }
}

/** Writes until the disk takes no more, and returns what to remove to make room again. */
function fillDisk(): string {
  const file = join(root, 'filler');
  for (const bytes of [65_536, 4096, 1]) {
    try {
      for (;;) fs.appendFileSync(file, Buffer.alloc(bytes));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    }
  }
  return file;
}

async function act(): Promise<unknown> {
  switch (action) {
    case 'commit':
      return commit();
    case 'everything': {
      const id = await commit();
      await store.markVerified(id, '2026-01-02T04:00:00Z', { ...schema, digest: 'd2', lines: ['table public.orgs'] });
      await store.recordRestore(id, database, 'intended');
      await store.recordRestore(id, database, 'done');
      await store.remove(id);
      return id;
    }
    case 'commit many': {
      const ids: string[] = [];
      for (let index = 0; index < 6; index += 1) {
        const id = await commit();
        if (index % 3 === 2) await store.remove(id);
        else ids.push(id);
      }
      return ids;
    }
    case 'commit on a full disk': {
      const before = await commit();
      const id = store.newId(new Date());
      const draft = await store.begin(id, 'op-child');
      await writeDump(dumpFolder(draft));
      const filler = fillDisk();
      const { files: _files, sizeBytes: _sizeBytes, ...rest } = manifestOf({ id });
      const lines = Array.from({ length: 20_000 }, (_, index) => `column public.t${index}.c${Math.sin(index)} text`);
      const committing = await thrownBy(() => draft.commit(rest, { ...schema, lines }));
      const recording = await thrownBy(() => store.recordRestore(before, database, 'intended'));
      const check = await store.check(before);
      const freeBytes = await store.freeBytes();
      await draft.discard();
      const { backups, broken } = await store.list();
      fs.rmSync(filler);
      await store.removeLeftovers('op-child');
      return {
        before,
        committing,
        recording,
        check,
        freeBytes,
        backups: backups.map((it) => it.id),
        broken,
        left: fs.readdirSync(root),
      };
    }
    case 'use a read-only disk': {
      const { backups } = await store.list();
      const [backup] = backups;
      if (backup === undefined) throw new Error('there is no backup on the disk');
      return {
        backups: backups.map((it) => it.id),
        check: await store.check(backup.id),
        beginning: await thrownBy(() => store.begin(store.newId(new Date()), 'op-child')),
        recording: await thrownBy(() => store.recordRestore(backup.id, database, 'intended')),
        removing: await thrownBy(() => store.remove(backup.id)),
      };
    }
    case 'use without rights': {
      // Root may do anything, so it becomes somebody else; all modules are loaded by now.
      if (process.geteuid?.() === 0) process.seteuid?.(65_534);
      return {
        listing: await thrownBy(() => store.list()),
        beginning: await thrownBy(() => store.begin(store.newId(new Date()), 'op')),
      };
    }
    default:
      throw new Error(`unknown action ${action}`);
  }
}

process.stdout.write(JSON.stringify(await act()));
