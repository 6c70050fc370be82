/** Names of databases and passwords that a shell, a connection string or an identifier could take for something else. */
import { describe, expect, test } from '@jest/globals';

import { databaseUrl, query } from '../../support/postgres.ts';
import { said, threeSteps, type Scene } from '../../support/scene.ts';
import { expectRefused, setSecret, shellMarker, watchedScene } from './support.ts';

const raising = {
  revisions: threeSteps.revisions.map((one) =>
    one.id === 'a2' ? { ...one, downgrade: `raise RuntimeError('no way back')` } : one,
  ),
};

const id = process.pid.toString(36).padStart(6, '0').slice(-6);
const bytes = (count: number): string => `${'n'.repeat(count - 7)}_${id}`;

/** Up, down, up again, and down where the downgrade raises: a backup is taken, restored, and swapped in. */
async function goEverywhere(scene: Scene): Promise<void> {
  expect(said((await scene.goTo('a1')).outcome)).toMatch(/^ready Upgraded: /);
  expect(said((await scene.goTo('a3')).outcome)).toMatch(/^ready Upgraded: /);
  expect(said((await scene.goTo('a2')).outcome)).toMatch(/^ready Downgraded: /);
  await scene.query(`INSERT INTO users VALUES (5000, 'late', NULL)`);
  const { outcome, status } = await scene.goTo('a1');
  expect(said(outcome)).toMatch(/^ready RestoredFromBackup: .*no way back/s);
  expect(await scene.version()).toBe('a1');
  expect(await scene.query('SELECT count(*)::int AS n FROM users')).toEqual([{ n: 1000 }]);
  const aside = status.keptAside[0]?.name ?? '';
  expect(Buffer.byteLength(aside)).toBeLessThanOrEqual(63);
  expect(await scene.databases()).toEqual([scene.database.name, aside].sort());
  const kept = databaseUrl(scene.database.adminUrl, { database: aside });
  expect(await query(kept, 'SELECT count(*)::int AS n FROM users')).toEqual([{ n: 1001 }]);
}

describe('a database goes up, down and through the fallback', () => {
  test.each([
    ['whose name has 58 bytes', { name: bytes(58) }],
    ['whose name has 63 bytes, and a password of separators', { name: bytes(63), password: 'p@:/?#%\\ w' }],
  ])('%s', async (_, database) => {
    await using scene = await watchedScene({ history: raising, database });
    await goEverywhere(scene);
  });

  test('whose name is quotes, connection parameters and a shell command, none of which does anything', async () => {
    await using marker = shellMarker();
    const command = `$(touch ${marker.path})`;
    const name = `host=evil dbname=postgres"'?a=b&${command}`;
    await using scene = await watchedScene({ history: raising, database: { name, password: `'${command}"\`` } });
    await goEverywhere(scene);
    await marker.expectAbsent();
  });
});

describe('a name that belongs to the server', () => {
  test('is refused before anything connects', async () => {
    await using scene = await watchedScene();
    await scene.goTo('a2');
    for (const name of ['postgres', 'template1', 'template0']) {
      const visit = async () => {
        await scene.declare({ revision: name === 'template1' ? 'a1' : 'base' });
        await setSecret(scene, 'url', databaseUrl(scene.database.url, { database: name }));
        return scene.reconcile();
      };
      const says = [`"${name}"`, 'spec.database.urlFrom', /belongs to the server/];
      await expectRefused(scene, visit, { reason: 'DatabaseNameRefused', says });
    }
    const tables = await query(scene.database.server.adminUrl, `SELECT to_regclass('alembic_version') AS t`);
    expect(tables).toEqual([{ t: null }]);
  });
});
