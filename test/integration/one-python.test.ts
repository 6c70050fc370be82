import { appendFile, chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { run } from '../../scripts/lib/run.ts';
import { python } from '../support/alembic.ts';
import { program } from '../support/program.ts';
import { createScene, said, threeSteps } from '../support/scene.ts';

test('apply --yes shows its plan and carries it out with one Python', async () => {
  await using scene = await createScene(16, { history: threeSteps });
  expect(said((await scene.goTo('a3')).outcome)).toMatch(/^ready Upgraded/);
  const counting = join(scene.dir, 'python');
  const starts = join(scene.dir, 'starts');
  await appendFile(starts, '');
  await writeFile(counting, `#!/bin/sh\necho started >> '${starts}'\nexec '${await python()}' "$@"\n`);
  await chmod(counting, 0o755);
  await scene.declare({ revision: 'a2', alembic: { python: counting } });

  const env = { ...process.env, MIGRATION_TARGET_PG_BIN: scene.database.server.binDir };
  const applied = await run(process.execPath, [program, '--dir', scene.dir, 'apply', 'unicorn', '--yes'], { env });

  expect(applied).toMatchObject({ code: 0, stderr: expect.stringMatching(/↓ down +a3/) });
  expect(await scene.version()).toBe('a2');
  expect((await readFile(starts, 'utf8')).split('\n').filter((line) => line !== '')).toHaveLength(1);
});
