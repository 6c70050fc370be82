import { chmod, mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, test } from '@jest/globals';

import { createDatabases } from '../../../src/adapters/postgres/index.ts';
import { contentChecksum, testServer } from '../../support/postgres.ts';
import { createScene, said, threeSteps, type Scene } from '../../support/scene.ts';

/** The server's own tools, but for one that hangs once it is asked to do anything. */
async function withHanging(scene: Scene, tool: 'pg_dump' | 'pg_restore'): Promise<string> {
  const { binDir } = await testServer(16);
  const dir = join(scene.dir, `hanging-${tool}`);
  await mkdir(dir);
  for (const name of ['pg_dump', 'pg_restore', 'psql']) {
    if (name !== tool) await symlink(join(binDir, name), join(dir, name));
    else {
      const script = `#!/bin/sh\n[ "$1" = --version ] && exec ${join(binDir, name)} --version\nexec sleep 600\n`;
      await writeFile(join(dir, name), script);
      await chmod(join(dir, name), 0o755);
    }
  }
  return dir;
}

describe('spec.timeout ends a backup', () => {
  test.each(['pg_dump', 'pg_restore'] as const)('that hangs in %s, and nothing was changed', async (tool) => {
    let tools: string | null = null;
    await using scene = await createScene(16, {
      history: threeSteps,
      ports: (ports) => ({
        ...ports,
        databases: {
          ...ports.databases,
          open: (settings) =>
            tools === null
              ? ports.databases.open(settings)
              : createDatabases({ toolDirectories: [tools], standardDirectories: false }).open(settings),
        },
      }),
    });
    await scene.goTo('a2');
    const content = await contentChecksum(scene.database.adminUrl);
    tools = await withHanging(scene, tool);
    const { outcome, again } = await scene.goTo('a1', { timeout: '3s' });
    expect(said(outcome)).toMatch(
      /^stalled TimedOut: .*spec\.timeout \(3s\)\. Nothing was changed\. .*migration-target reconcile/,
    );
    expect(again).toBe(false);
    expect(await contentChecksum(scene.database.adminUrl)).toBe(content);
    expect(await scene.databases()).toEqual([scene.database.name]);
    expect((await readdir(scene.backups)).filter((name) => name.includes('partial'))).toEqual([]);
  });
});
