/** Mutual exclusion between processes that share a folder, for the milliseconds that a read and a write take. */
import { readFile, rm, stat } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { createFile, hasCode } from './files.ts';

/** Nobody holds it this long who is still alive. */
const staleMs = 10_000;
const pollMs = 5;

/**
 * Runs `work` while this process alone has `file`, which names its pid. One that a dead process left is taken away: at
 * once where its pid is free, else (in another container, say) once it is old.
 */
export async function exclusively<T>(file: string, work: () => Promise<T>): Promise<T> {
  while (!(await createFile(file, `${process.pid}\n`, { durably: false }))) {
    if (await isAbandoned(file)) await rm(file, { force: true });
    else await delay(pollMs);
  }
  try {
    return await work();
  } finally {
    await rm(file, { force: true });
  }
}

async function isAbandoned(file: string): Promise<boolean> {
  try {
    const { mtimeMs } = await stat(file);
    if (Date.now() - mtimeMs > staleMs) return true;
    return !isAlive(Number(await readFile(file, 'utf8')));
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false; // it was given back meanwhile
    throw error;
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
