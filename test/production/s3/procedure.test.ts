import { stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { beforeAll, describe, expect, test } from '@jest/globals';

import { runOrThrow } from '../../../scripts/lib/run.ts';
import { createWiring } from '../../../src/main/wiring.ts';
import { examine } from '../../../src/rollback/doctor.ts';
import { diagnose } from '../../../src/rollback/diagnosis.ts';
import { importBackup } from '../../../src/rollback/import-backup.ts';
import { verifyBackup } from '../../../src/rollback/verify-backup.ts';
import { describeInTurn } from '../../support/in-turn.ts';
import { contentChecksum } from '../../support/postgres.ts';
import { s3Server } from '../../support/s3.ts';
import { startS3Proxy } from '../../support/s3-proxy.ts';
import { said, threeSteps } from '../../support/scene.ts';
import { backupsOf } from '../../integration/backups/catalogue.ts';
import { createBucketScene } from './scene.ts';

const never = (): AbortSignal => new AbortController().signal;

beforeAll(async () => void (await s3Server()), 600_000);

describeInTurn('with backups in a bucket: the procedure', (major, testOnce) => {
  testOnce('upgrades and downgrades, with verified backups that no disk here has seen', async () => {
    await using scene = await createBucketScene(major, { history: threeSteps });
    expect(said((await scene.goTo('a3')).outcome)).toMatch(/^ready Upgraded: /);
    const { outcome, status } = await scene.goTo('a1');
    expect(said(outcome)).toMatch(/^ready Downgraded: /);
    expect(await scene.query('SELECT count(*)::int AS n FROM users')).toEqual([{ n: 1000 }]);
    expect(status.lastBackup).toMatchObject({ revisions: ['a3'], verified: true });

    expect(
      (await backupsOf(scene)).map(({ format, revisions, verifiedAt }) => [format, revisions, verifiedAt !== null]),
    ).toEqual([
      ['custom', ['a3'], true],
      ['custom', null, true],
    ]);
    await expect(stat(scene.backups)).rejects.toMatchObject({ code: 'ENOENT' });
    expect(await scene.bucket.unfinished()).toEqual([]);
    expect((await scene.bucket.keys()).filter((key) => key.startsWith('.unfinished/'))).toEqual([]);
  });

  testOnce('restores the backup at the desired revision where a downgrade raises', async () => {
    const revisions = threeSteps.revisions.map((revision) =>
      revision.id === 'a2' ? { ...revision, downgrade: `raise RuntimeError('no way back')` } : revision,
    );
    await using scene = await createBucketScene(major, { history: { revisions } });
    await scene.goTo('a1');
    const then = await contentChecksum(scene.database.adminUrl);
    await scene.goTo('a3');
    await scene.query(`INSERT INTO users VALUES (5000, 'late', 'late@example.org')`);
    expect(said((await scene.goTo('a1')).outcome)).toMatch(/^ready RestoredFromBackup: .*public\.users 1001 → 1000/);
    expect(await contentChecksum(scene.database.adminUrl)).toBe(then);
  });
});

describe('with backups in a bucket', () => {
  test('one is verified, the doctor tries its schema, and both tell where it was changed', async () => {
    await using scene = await createBucketScene(16, { history: threeSteps });
    await scene.goTo('a3');
    const [backup] = await backupsOf(scene);
    const id = backup?.id ?? '';
    expect(await verifyBackup(await scene.target(), scene.ports, id, never())).toMatchObject({ ok: true });
    const well = diagnose(await examine(await scene.target(), scene.ports, never()));
    expect(well.filter(({ level }) => level === 'fault')).toEqual([]);
    expect(well).toContainEqual({ check: 'bucket', level: 'ok', message: 'is there, and can be written to' });
    expect(well.map(({ check }) => check)).not.toContain('free space');

    const bytes = backup?.files[0]?.bytes ?? 0;
    await scene.bucket.put(`${id}/dump/database.dump`, 'x'.repeat(bytes));
    expect(await verifyBackup(await scene.target(), scene.ports, id, never())).toEqual({
      ok: false,
      fault: expect.stringContaining('another checksum'),
    });
    expect(diagnose(await examine(await scene.target(), scene.ports, never()))).toContainEqual(
      expect.objectContaining({ level: 'fault', message: expect.stringContaining('another checksum') }),
    );
  });

  test('those that had their time go', async () => {
    let hour = 0;
    await using scene = await createBucketScene(16, {
      history: threeSteps,
      spec: { backup: { retention: { minAge: '1h', minCount: 1 } } },
      ports: (ports) => ({
        ...ports,
        clock: { now: () => new Date(Date.parse('2026-01-01T00:00:00Z') + hour * 3_600_000) },
      }),
    });
    await scene.goTo('a1');
    for (hour of [1, 2]) await scene.reconcile({ kind: 'backup', reason: 'Requested' });
    hour = 10;
    await scene.reconcile();
    const left = await backupsOf(scene);
    expect(left.map(({ startedAt }) => startedAt)).toEqual(['2026-01-01T02:00:00.000Z']);
    const folders = new Set((await scene.bucket.keys()).map((key) => key.split('/')[0]));
    expect(folders).toEqual(new Set([left[0]?.id, '.schemas', '.scripts']));
  });

  test('none goes for the sake of one that somebody else has removed meanwhile', async () => {
    let hour = 0;
    await using scene = await createBucketScene(16, {
      history: threeSteps,
      spec: { backup: { retention: { minAge: '5h', minCount: 1 } } },
      ports: (ports) => ({
        ...ports,
        clock: { now: () => new Date(Date.parse('2026-01-01T00:00:00Z') + hour * 3_600_000) },
      }),
    });
    await scene.goTo('a1');
    for (hour of [1, 2]) await scene.reconcile({ kind: 'backup', reason: 'Requested' });
    const [newest] = await backupsOf(scene);
    for (const key of await scene.bucket.keys()) if (key.startsWith(`${newest?.id}/`)) await scene.bucket.remove(key);
    hour = 10;
    await scene.reconcile();
    expect((await backupsOf(scene)).map(({ startedAt }) => startedAt)).toEqual(['2026-01-01T01:00:00.000Z']);
  });

  test('an old script’s .sql file is copied there, and restored from there', async () => {
    await using scene = await createBucketScene(16, { history: threeSteps });
    await scene.goTo('a1');
    const { stdout } = await runOrThrow(join(scene.database.server.binDir, 'pg_dump'), [scene.database.adminUrl]);
    const file = join(scene.dir, 'unicorn_db_20260101_000000.sql');
    await writeFile(file, stdout);
    await scene.goTo('a3');
    const plain = await createWiring().openPlainDump(file);
    const { id } = await importBackup(await scene.target(), scene.ports, plain, never());
    expect(await scene.bucket.keys()).toContain(`${id}/dump/unicorn_db_20260101_000000.sql`);
    const { outcome } = await scene.goTo('a1', { restoreFrom: { backup: id } });
    expect(said(outcome)).toMatch(/^ready RestoredFromBackup: .*at a1/);
  });

  test('a dump of several parts: nothing is done and nothing left while they can’t be sent, and a cut on the way back is sat out', async () => {
    await using proxy = await startS3Proxy((await s3Server()).endpoint);
    await using scene = await createBucketScene(16, { history: threeSteps, endpoint: proxy.endpoint });
    await scene.goTo('a1');
    // 24 MB that no compression makes less of.
    await scene.query(`CREATE TABLE noise AS SELECT g, decode(string_agg(md5(random()::text || i), ''), 'hex') AS bytes
      FROM generate_series(1, 240) g, generate_series(1, 6250) i GROUP BY g`);
    await scene.query('ALTER TABLE noise OWNER TO ' + scene.database.owner);
    const before = await contentChecksum(scene.database.adminUrl);
    const keys = await scene.bucket.keys();

    proxy.cut('up', 2_000_000, Infinity);
    expect(said((await scene.goTo('a3')).outcome)).toMatch(/^retrying StorageUnavailable: .*can't be reached/);
    proxy.cut('up', Infinity, 0);
    expect(await contentChecksum(scene.database.adminUrl)).toBe(before);

    proxy.cut('down', 3_000_000, 2);
    expect(said((await scene.reconcile()).outcome)).toMatch(/^ready Upgraded: /);
    expect(proxy.heads.filter((head) => /\r\nrange: /i.test(head))).toHaveLength(2);
    expect(proxy.heads.some((head) => /^PUT .*partNumber=3/.test(head))).toBe(true);
    expect(await scene.bucket.unfinished()).toEqual([]);
    expect((await scene.bucket.keys()).filter((key) => key.startsWith('.unfinished/'))).toEqual([]);
    expect((await backupsOf(scene))[0]?.sizeBytes).toBeGreaterThan(24_000_000);
    expect(keys.length).toBeLessThan((await scene.bucket.keys()).length);
  });
});
