/** Mutual exclusion between processes that share a folder, for the milliseconds that a read and a write take. */
import { randomUUID } from 'node:crypto';
import { readlinkSync } from 'node:fs';
import { readFile, rm, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { createFile, hasCode, readIfThere } from './files.ts';

/** Nobody holds it this long who is still alive. */
const staleMs = 10_000;
const pollMs = 5;

/** Where a pid means the same process: a container has pids of its own. */
const pidSpace = ((): string => {
  try {
    return `${hostname()} ${readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    return hostname(); // there are no such spaces elsewhere than on Linux
  }
})();

/**
 * Runs `work` while this process alone has `file`, which names its holder. One that a dead process left is taken away: at
 * once where its pid tells that, else (it was in another container, say) once it is old.
 */
export async function exclusively<T>(file: string, work: () => Promise<T>): Promise<T> {
  const holder = `${process.pid}\n${pidSpace}\n${randomUUID()}\n`;
  while (!(await createFile(file, holder, { durably: false }))) {
    const found = await look(file);
    if (found !== null && isAbandoned(found)) await takeAway(file, found);
    else await delay(pollMs);
  }
  try {
    return await work();
  } finally {
    // Not one of somebody else's, who found this one too old.
    if ((await readIfThere(file)) === holder) await rm(file, { force: true });
  }
}

interface Found {
  readonly text: string;
  readonly ageMs: number;
}

async function look(file: string): Promise<Found | null> {
  try {
    const [text, { mtimeMs }] = await Promise.all([readFile(file, 'utf8'), stat(file)]);
    return { text, ageMs: Date.now() - mtimeMs };
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return null; // it was given back meanwhile
    throw error;
  }
}

function isAbandoned({ text, ageMs }: Found): boolean {
  const [pid, space] = text.split('\n');
  return ageMs > staleMs || (space === pidSpace && !isAlive(Number(pid)));
}

/**
 * Removes what a dead process left, one process at a time: of two that both found it so, the later would otherwise remove
 * the lock that the first has taken since.
 */
async function takeAway(file: string, { text }: Found): Promise<void> {
  const guard = `${file}.removal`;
  if (!(await createFile(guard, '', { durably: false }))) {
    const left = await look(guard);
    if (left !== null && left.ageMs > staleMs) await rm(guard, { force: true });
    return delay(pollMs);
  }
  try {
    if ((await readIfThere(file)) === text) await rm(file);
  } finally {
    await rm(guard, { force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return !hasCode(error, 'ESRCH');
  }
}
