import { expect, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';

const script = resolve('scripts/check-layout.ts');

/** Runs the rule over a source folder made of these files. */
async function checkLayout(files: Readonly<Record<string, string>>): Promise<{ code: number | null; said: string }> {
  const src = await mkdtemp(join(tmpdir(), 'migration-target-layout-'));
  try {
    for (const [file, content] of Object.entries(files)) {
      await mkdir(dirname(join(src, file)), { recursive: true });
      await writeFile(join(src, file), content);
    }
    const { status, stderr } = spawnSync(process.execPath, [script, src], { encoding: 'utf8' });
    return { code: status, said: stderr };
  } finally {
    await rm(src, { recursive: true });
  }
}

test('arrows that point down, or stay within a folder, are let through', async () => {
  const files = {
    'main.ts': `import { a } from './adapters/postgres/index.ts'; await import('./cli/apply.ts');`,
    'adapters/postgres/index.ts': `import type { Ports } from '../../rollback/ports.ts'; import { b } from '../shared.ts';`,
    'rollback/plan.ts': `import { reasons } from '../api/reasons.ts'; export * from './model.ts';`,
    'api/reasons.ts': `import { z } from 'zod';`,
  };
  expect(await checkLayout(files)).toEqual({ code: 0, said: '' });
});

const wrong: readonly (readonly [string, string, string, string])[] = [
  ['up', 'api/x.ts', `import { plan } from '../rollback/plan.ts';`, 'api must not know of rollback'],
  [
    'up by a type',
    'rollback/x.ts',
    `import type { Pool } from '../adapters/postgres/pool.ts';`,
    'rollback must not know of adapters',
  ],
  [
    'up by an import that is lazy',
    'rollback/x.ts',
    `await import('../adapters/postgres/pool.ts');`,
    'rollback must not know of adapters',
  ],
  ['up by an export', 'adapters/x/y.ts', `export { main } from '../../main.ts';`, 'adapters must not know of main'],
  ['up for its effect', 'telemetry/x.ts', `import '../main.ts';`, 'telemetry must not know of main'],
  ['sideways', 'cli/x.ts', `import { pool } from '../adapters/postgres/pool.ts';`, 'cli must not know of adapters'],
  ['out of src', 'main.ts', `import { cache } from '../scripts/cache.ts';`, 'lies outside src/'],
  [
    'from a folder that has no place',
    'util/x.ts',
    `import { z } from '../api/z.ts';`,
    'util has no place in the layout',
  ],
];

test.each(wrong)('an arrow that points %s is refused, by name', async (_name, file, content, said) => {
  const result = await checkLayout({ [file]: content });
  expect(result).toEqual({ code: 1, said: expect.stringContaining(`src/${file}: imports `) });
  expect(result.said).toContain(said);
});
