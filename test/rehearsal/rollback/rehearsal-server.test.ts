/** Copies on another server of the same major: the live server is spared, and nothing stays there either. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

import { contentChecksum, majors, query, startOwnServer, type PostgresServer } from '../../support/postgres.ts';
import { createScene, said, type Scene, threeSteps } from '../../support/scene.ts';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

let other: PostgresServer;
const major = majors.includes(16) ? 16 : majors[0]!;
beforeAll(async () => {
  other = await startOwnServer(major);
});
afterAll(() => other.stop());

async function onTwoServers(): Promise<Scene> {
  const scene = await createScene(major, { history: threeSteps });
  await scene.goTo('a1');
  await scene.goTo('a3');
  await query(other.superuserUrl, `CREATE ROLE ${scene.database.owner}`);
  await writeFile(join(scene.dir, 'rehearsal-url'), other.superuserUrl);
  return scene;
}

const declared = (scene: Scene, dataLoss = 'RequireApproval') => ({
  policy: {
    rehearsal: 'Always',
    dataLoss,
    rehearsalServer: { urlFrom: { file: join(scene.dir, 'rehearsal-url') } },
  },
});

const databasesThere = async (): Promise<string[]> =>
  (
    await query<{ datname: string }>(
      other.superuserUrl,
      'SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1',
    )
  ).map(({ datname }) => datname);

describe('a rehearsal on another server', () => {
  test('finds out there what is lost, and leaves nothing behind', async () => {
    await using scene = await onTwoServers();
    const before = await contentChecksum(scene.database.adminUrl);
    const { outcome, status } = await scene.goTo('a1', declared(scene));
    expect(said(outcome)).toMatch(/^awaitingApproval .*1,000 rows in 1 table: public\.users \(column email goes/s);
    expect(status.conditions).toContainEqual(expect.objectContaining({ type: 'Rehearsed', status: 'True' }));
    expect(await contentChecksum(scene.database.adminUrl)).toBe(before);
    expect(await databasesThere()).toEqual(['postgres']);
  });

  test('lets the change happen on the live server, held against what it led to there', async () => {
    await using scene = await onTwoServers();
    const events = scene.observed.length;
    expect(said((await scene.goTo('a2', declared(scene))).outcome)).toMatch(/^ready Downgraded: /);
    expect(await scene.version()).toBe('a2');
    const ran = scene.observed
      .slice(events)
      .flatMap((event) => (event.kind === 'migration' && event.event.kind === 'started' ? [event.copy === true] : []));
    expect(ran).toEqual([true, true, true, false]);
    expect(await databasesThere()).toEqual(['postgres']);
  });

  test('that refuses the password is told to a person, and no backup is taken again and again for it', async () => {
    await using scene = await onTwoServers();
    const wrong = Object.assign(new URL(other.superuserUrl), { password: 'wr0ng' });
    await writeFile(join(scene.dir, 'rehearsal-url'), wrong.href);
    const { outcome } = await scene.goTo('a2', declared(scene));
    expect(said(outcome)).toMatch(/^stalled AuthenticationFailed: /);
    const { lastBackup } = await scene.status();
    await scene.reconcile();
    expect((await scene.status()).lastBackup).toEqual(lastBackup);
    expect(await scene.version()).toBe('a3');
  });

  test('of another major is refused, and one that is not there is told by its field', async () => {
    await using scene = await onTwoServers();
    await writeFile(join(scene.dir, 'rehearsal-url'), 'postgresql://nobody@127.0.0.1:1/postgres');
    const { outcome } = await scene.goTo('a2', declared(scene));
    expect(outcome.kind).not.toBe('ready');
    expect(said(outcome)).toMatch(/127\.0\.0\.1:1/);
    expect(await scene.version()).toBe('a3');
  });

  test('that is not there costs no backup, however often it is tried again, and is never given up', async () => {
    await using scene = await onTwoServers();
    const { lastBackup } = await scene.status();
    await writeFile(join(scene.dir, 'rehearsal-url'), 'postgresql://nobody@127.0.0.1:1/postgres');
    expect((await scene.goTo('a2', declared(scene))).outcome.kind).toBe('retrying');
    for (let tries = 0; tries < 3; tries += 1) expect((await scene.reconcile()).outcome.kind).toBe('retrying');
    const key = await scene.target();
    const store = await scene.ports.backups.open(
      key.spec.backup.storage,
      { namespace: 'default', name: 'unicorn' },
      scene.ports.home,
    );
    expect((await store.list()).backups[0]?.id).toBe(lastBackup?.id);
  });
});
