import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, test } from '@jest/globals';
import { preview } from '../../../src/rollback/preview.ts';
import { writeHistory, type HistorySpec } from '../../support/alembic.ts';
import { contentChecksum } from '../../support/postgres.ts';
import { createScene, said, threeSteps, type Scene } from '../../support/scene.ts';

const major = 16;
const upTo = (count: number): HistorySpec => ({ ...threeSteps, revisions: threeSteps.revisions.slice(0, count) });

/** What a deployment of older code leaves of the folder. */
async function deploy(scene: Scene, history: HistorySpec): Promise<void> {
  await rm(scene.project.dir, { recursive: true });
  await writeHistory(scene.project.dir, history);
}

describe('an older declared revision, once older code was deployed', () => {
  test('is reached by the migrations that were recorded when the database went up, and says so', async () => {
    await using scene = await createScene(major, { history: threeSteps });
    await scene.goTo('a1');
    await scene.goTo('a3');
    await deploy(scene, upTo(1));
    const { outcome } = await scene.goTo('a1', { policy: { rehearsal: 'Always', dataLoss: 'Allow' } });
    expect(said(outcome)).toMatch(
      /^ready Downgraded: .*What is deployed does not have all migrations between a3 and a1: those are run that were kept, in what is deployed now, which led to a3 at /,
    );
    expect(await scene.version()).toBe('a1');
    expect(await scene.query('SELECT count(*)::int AS n FROM users')).toEqual([{ n: 1000 }]);
    // By a downgrade, and not by the backup at a1 that there is as well.
    expect(await scene.databases()).toEqual([scene.database.name]);
    expect((await readdir('/tmp')).filter((name) => name.startsWith('migration-target-scripts-'))).toEqual([]);
  });

  test('is planned without running env.py, which may change the database as it connects', async () => {
    await using scene = await createScene(major, { history: threeSteps });
    const connected = join(scene.dir, 'connected');
    const { envPyPath } = scene.project;
    await writeFile(envPyPath, `open(${JSON.stringify(connected)}, 'a').close()\n${await readFile(envPyPath, 'utf8')}`);
    await scene.goTo('a3');
    await deploy(scene, upTo(1));
    await scene.declare({ revision: 'a1' });
    await rm(connected);
    const options = { sql: false, signal: new AbortController().signal };
    const { plan } = await preview(await scene.target(), scene.ports, options);
    expect(plan).toMatchObject({ kind: 'downgrade', scripts: { kind: 'archive' } });
    await expect(readFile(connected)).rejects.toMatchObject({ code: 'ENOENT' });
    expect(said((await scene.reconcile()).outcome)).toMatch(/^ready Downgraded/);
    await readFile(connected);
  });

  test('with recordings that can’t be read is restored from the backup at it', async () => {
    await using scene = await createScene(major, { history: threeSteps });
    await scene.goTo('a1');
    await scene.goTo('a3');
    await deploy(scene, upTo(1));
    const recorded = join(scene.backups, '.scripts');
    for (const name of await readdir(recorded)) await writeFile(join(recorded, name), 'no gzip');
    const { outcome } = await scene.goTo('a1');
    expect(said(outcome)).toMatch(/^ready RestoredFromBackup/);
    expect(await scene.version()).toBe('a1');
  });

  test('that needs something that is deployed no more is restored from the backup at it, and says why', async () => {
    await using scene = await createScene(major, { history: threeSteps });
    await writeFile(join(scene.project.dir, 'app_models.py'), 'metadata = None\n');
    const { envPyPath } = scene.project;
    await writeFile(envPyPath, `import app_models\n${await readFile(envPyPath, 'utf8')}`);
    await scene.goTo('a1');
    expect(said((await scene.goTo('a3')).outcome)).toMatch(/^ready Upgraded/);
    await deploy(scene, upTo(1));
    const { outcome } = await scene.goTo('a1');
    expect(said(outcome)).toMatch(/^ready RestoredFromBackup/);
    const { history } = await scene.status();
    expect(history[0]?.kind).toBe('restore');
    expect(JSON.stringify(await scene.status())).toMatch(
      /recorded migrations could not be run as they were kept.*app_models/,
    );
  });

  test('with nothing recorded and no backup is refused as before, and nothing is touched', async () => {
    await using scene = await createScene(major, { history: threeSteps });
    await scene.goTo('a3');
    await rm(join(scene.backups), { recursive: true });
    const before = await contentChecksum(scene.database.adminUrl);
    await deploy(scene, upTo(1));
    expect(said((await scene.goTo('a1')).outcome)).toMatch(/^stalled RevisionNotFound/);
    expect(await contentChecksum(scene.database.adminUrl)).toBe(before);
  });
});
