/** What is left on the machine of a node whose run was killed. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { expect, test } from '@jest/globals';

import { run } from '../../scripts/lib/run.ts';

const module = join(import.meta.dirname, '../../scripts/lib/cluster/namespaces.ts');
const script = `
import { openNamespaces } from ${JSON.stringify(module)};
console.log((await openNamespaces(process.argv[1])).machineAddress);
setInterval(() => {}, 1000);`;

test('neither an interface nor a folder is left of a node whose run was killed', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'migration-target-node-'));
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script, dir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [told] = (await once(child.stdout, 'data')) as [Buffer];
  const isConnected = async (): Promise<boolean> =>
    (await run('ip', ['-brief', 'address'])).stdout.includes(` ${told.toString().trim()}/`);
  expect(await isConnected()).toBe(true);

  child.kill('SIGKILL');
  await once(child, 'close');
  while (await isConnected()) await delay(100);
  while (
    await access(dir).then(
      () => true,
      () => false,
    )
  )
    await delay(100);
});
