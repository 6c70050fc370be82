/** Processes that share a state folder: one at a time, also where a dead one left its lock behind. */
import { fork, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readlink, rm, utimes, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, expect, test } from '@jest/globals';

const exclusive = new URL('../../src/adapters/directory/exclusive.ts', import.meta.url).href;

/** Holds the lock for some milliseconds; answers whether somebody else had it too. */
const worker = `
import { closeSync, openSync, rmSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { exclusively } from ${JSON.stringify(exclusive)};
process.on('message', async (file) => {
  const shared = await exclusively(file, async () => {
    try {
      closeSync(openSync(file + '.inside', 'wx'));
    } catch {
      return true;
    }
    await delay(3);
    rmSync(file + '.inside');
    return false;
  });
  process.send(shared);
});
process.send('ready');
`;

let dir: string;
let file: string;
let workers: ChildProcess[];
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'mt-exclusive-'));
  file = join(dir, 'lock');
  await writeFile(join(dir, 'worker.mjs'), worker);
  workers = Array.from({ length: 4 }, () => fork(join(dir, 'worker.mjs'), { execArgv: [] }));
  await Promise.all(workers.map((each) => once(each, 'message')));
});
afterAll(async () => {
  for (const each of workers) {
    const ended = once(each, 'exit');
    each.kill();
    await ended;
  }
  await rm(dir, { recursive: true });
});

/** All of them at once; true: two had it at the same time. */
async function race(): Promise<boolean> {
  const answers = workers.map((each) => once(each, 'message'));
  for (const each of workers) each.send(file);
  return (await Promise.all(answers)).some(([shared]) => shared === true);
}

test('of several that find a dead process’s lock, one at a time has it', async () => {
  const dead = spawnSync(process.execPath, ['-e', '0']).pid;
  const holder = `${dead}\n${hostname()} ${await readlink('/proc/self/ns/pid')}\n`;
  for (let round = 0; round < 60; round += 1) {
    await writeFile(file, holder);
    expect([round, await race()]).toEqual([round, false]);
  }
});

test('of a process in another container, whose pid says nothing here, it is waited for until it is old', async () => {
  const elsewhere = `${process.pid}9999\nanother-host pid:[1]\n`;
  await writeFile(file, elsewhere);
  const answer = once(workers[0] as ChildProcess, 'message');
  workers[0]?.send(file);
  const taken = await Promise.race([answer.then(() => true), pause(300)]);
  expect(taken).toBe(false);
  const longAgo = new Date(Date.now() - 60_000);
  await utimes(file, longAgo, longAgo);
  expect((await answer)[0]).toBe(false);
});

/** Long enough for a lock that is taken at once: a correct one cannot fail by it. */
const pause = (ms: number): Promise<false> => new Promise((resolve) => setTimeout(() => resolve(false), ms));
