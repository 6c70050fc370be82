import { expect, test } from '@jest/globals';
import { execFile } from 'node:child_process';
import { cp, mkdtemp, readdir, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const root = join(import.meta.dirname, '../../..');

/** Files below a folder whose names end so, as relative paths. */
async function list(folder: string, ending: string): Promise<readonly string[]> {
  const found = await readdir(folder, { recursive: true });
  return found.filter((name) => name.endsWith(ending)).toSorted();
}

test('what is built starts without its sources, and has everything beside it that is no TypeScript', async () => {
  const place = await mkdtemp(join(tmpdir(), 'migration-target-build-'));
  try {
    await run(process.execPath, [join(root, 'scripts/build.ts'), join(place, 'dist')]);
    await cp(join(root, 'bin'), join(place, 'bin'), { recursive: true });
    await cp(join(root, 'package.json'), join(place, 'package.json'));
    await symlink(join(root, 'node_modules'), join(place, 'node_modules'));

    const { stdout } = await run(process.execPath, [join(place, 'bin/migration-target'), '--help'], {
      cwd: place,
      env: { ...process.env, NODE_OPTIONS: '', MIGRATION_TARGET_CACHE: join(place, 'cache') },
    });
    expect(stdout).toContain('migration-target');

    const python = await list(join(root, 'src'), '.py');
    expect(python.length).toBeGreaterThan(0);
    expect(await list(join(place, 'dist'), '.py')).toEqual(python);
    expect(await list(join(place, 'dist'), '.ts')).toEqual([]);
  } finally {
    await rm(place, { recursive: true, force: true });
  }
});
