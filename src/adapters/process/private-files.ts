import { randomUUID } from 'node:crypto';
import { closeSync, openSync, unlinkSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Files that one child reads, and nobody else can. */
export interface PrivateFiles extends AsyncDisposable {
  /** Adds one; returns the path by which the child reads it. */
  add(content: string): Promise<string>;
  /** What the child has to inherit, as its descriptors from 3 on. */
  readonly descriptors: readonly number[];
  /** When they may be disposed of: once the child has started, which holds them open itself, or once it has ended. */
  readonly neededUntil: 'started' | 'ended';
}

/** Elsewhere a path below /dev/fd shares its position with all who open it: the second reader would find nothing. */
export const createPrivateFiles = (): PrivateFiles => (process.platform === 'linux' ? nameless() : named());

/**
 * They lose their names before a byte is in them, and so go with the last process that has them open, whatever ends it:
 * `kill -9` leaves no secret behind, and there is nothing to be looked for and cleared away.
 */
function nameless(): PrivateFiles {
  const descriptors: number[] = [];
  return {
    descriptors,
    neededUntil: 'started',
    add(content) {
      const path = join(tmpdir(), `migration-target-${randomUUID()}`);
      const descriptor = openSync(path, 'wx+', 0o600);
      unlinkSync(path);
      descriptors.push(descriptor);
      writeFileSync(descriptor, content);
      return Promise.resolve(`/dev/fd/${2 + descriptors.length}`);
    },
    [Symbol.asyncDispose]() {
      for (const descriptor of descriptors) closeSync(descriptor);
      return Promise.resolve();
    },
  };
}

/** 0600, in a directory of their own (0700), gone afterwards. */
function named(): PrivateFiles {
  let directory: Promise<string> | null = null;
  return {
    descriptors: [],
    neededUntil: 'ended',
    async add(content) {
      directory ??= mkdtemp(join(tmpdir(), 'migration-target-pg-'));
      const path = join(await directory, randomUUID());
      await writeFile(path, content, { mode: 0o600, flag: 'wx' });
      return path;
    },
    async [Symbol.asyncDispose]() {
      if (directory !== null) await rm(await directory, { recursive: true, force: true });
    },
  };
}
