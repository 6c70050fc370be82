import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access } from 'node:fs/promises';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';

import { expect, test } from '@jest/globals';

import { majors, testServer } from '../support/postgres.ts';

const [major = 16] = majors;

/** A program that starts a server, tells where it is, and waits to be killed. */
const program = (binDir: string): string => `
  import { startPostgres } from ${JSON.stringify(new URL('../../scripts/lib/embedded-postgres.ts', import.meta.url).href)};
  const { port, dataDir } = await startPostgres({ major: ${major}, binDir: ${JSON.stringify(binDir)} });
  console.log(JSON.stringify({ port, dataDir }));
  setInterval(() => undefined, 1000);`;

test('a server ends, and its folder goes, when its owner is killed by kill -9', async () => {
  const { binDir } = await testServer(major);
  const owner = spawn(process.execPath, ['--input-type=module-typescript', '-e', program(binDir)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(createInterface(owner.stdout), 'line')) as [string];
  const { port, dataDir } = JSON.parse(line) as { port: number; dataDir: string };
  expect(await listens(port)).toBe(true);

  owner.kill('SIGKILL');
  await once(owner, 'exit');
  await expectSoon(async () => !(await listens(port)) && !(await exists(dataDir)));
});

async function listens(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

async function expectSoon(holds: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (Date.now() < deadline) {
    if (await holds()) return;
    await delay(50);
  }
  throw new Error('it did not happen within a minute');
}
