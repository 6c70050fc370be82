import { appendFile, chmod, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { run } from '../../scripts/lib/run.ts';
import { python } from '../support/alembic.ts';
import { program } from '../support/program.ts';
import { createScene, said, threeSteps } from '../support/scene.ts';

test.each([
  ['a target that is declared already', false],
  ['one that it declares', true],
])('apply --yes of %s shows its plan and carries it out with one Python', async (_, isNew) => {
  await using scene = await createScene(16, { history: threeSteps });
  expect(said((await scene.goTo('a3')).outcome)).toMatch(/^ready Upgraded/);
  const counting = join(scene.dir, 'python');
  const starts = join(scene.dir, 'starts');
  await appendFile(starts, '');
  await writeFile(counting, `#!/bin/sh\necho started >> '${starts}'\nexec '${await python()}' "$@"\n`);
  await chmod(counting, 0o755);
  await scene.declare({ revision: 'a2', alembic: { python: counting } });

  const env = { ...process.env, MIGRATION_TARGET_PG_BIN: scene.database.server.binDir };
  const file = join(scene.dir, 'unicorn.yaml');
  if (isNew) {
    await rename(join(scene.dir, 'targets/unicorn.yaml'), file);
    await rm(join(scene.dir, 'state'), { recursive: true });
  }
  const what = isNew ? ['-f', file] : ['unicorn'];
  const applied = await run(process.execPath, [program, '--dir', scene.dir, 'apply', ...what, '--yes'], { env });

  expect(applied).toMatchObject({ code: 0, stderr: expect.stringMatching(/↓ down +a3/) });
  expect(await scene.version()).toBe('a2');
  expect((await readFile(starts, 'utf8')).split('\n').filter((line) => line !== '')).toHaveLength(1);
});
