/** A dump without a version table tells nobody at which revision it is; whoever declares it with `restoreFrom` does. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { expect, test } from '@jest/globals';

import { runOrThrow } from '../../../scripts/lib/run.ts';
import { createWiring } from '../../../src/main/wiring.ts';
import { importBackup } from '../../../src/rollback/import-backup.ts';
import { contentChecksum } from '../../support/postgres.ts';
import { createScene, said, threeSteps, type Scene } from '../../support/scene.ts';

/** At a3, with an old script's dump of when it was at a1, which left the version table out. */
async function sceneWithDump(): Promise<{ readonly scene: Scene; readonly backup: string }> {
  const scene = await createScene(16, { history: threeSteps });
  await scene.goTo('a1');
  const { stdout } = await runOrThrow(join(scene.database.server.binDir, 'pg_dump'), [
    `--dbname=${scene.database.adminUrl}`,
    '--exclude-table=alembic_version',
  ]);
  const file = join(scene.dir, 'unicorn_db_20260101_000000.sql');
  await writeFile(file, stdout);
  await scene.goTo('a3');
  const dump = await createWiring().openPlainDump(file);
  const { id, revisions } = await importBackup(await scene.target(), scene.ports, dump, new AbortController().signal);
  expect(revisions).toBeNull();
  return { scene, backup: id };
}

test('it is restored, and the declared revision is written into the version table', async () => {
  const { scene, backup } = await sceneWithDump();
  await using _ = scene;
  const { outcome } = await scene.goTo('a1', { restoreFrom: { backup } });
  expect(said(outcome)).toMatch(/^ready RestoredFromBackup: .*at a1/);
  expect(await scene.version()).toBe('a1');
  expect(await scene.query(`SELECT 1 FROM information_schema.columns WHERE column_name = 'email'`)).toEqual([]);
  // The way up and down again works from there.
  expect(said((await scene.goTo('a2')).outcome)).toMatch(/^ready Upgraded: .*from a1 to a2/);
});

test('it is refused where the declared revision is none of the scripts', async () => {
  const { scene, backup } = await sceneWithDump();
  await using _ = scene;
  const content = await contentChecksum(scene.database.adminUrl);
  const { outcome } = await scene.goTo('zz', { restoreFrom: { backup } });
  expect(said(outcome)).toMatch(
    new RegExp(`^stalled RevisionNotFound: Backup ${backup} has no version table.* no zz.*a1`),
  );
  expect(await contentChecksum(scene.database.adminUrl)).toBe(content);
  expect(await scene.databases()).toEqual([scene.database.name]);
});
