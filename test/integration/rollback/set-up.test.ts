/** How a database is set up, beside what is in it, is not what a restore brings back: docs/adr/0008. */
import { readFile } from 'node:fs/promises';

import { describe, expect, test } from '@jest/globals';
import pg from 'pg';

import { retry, stalled } from '../../../src/rollback/errors.ts';
import type { LiveDatabase, Ports } from '../../../src/rollback/ports.ts';
import { describeInTurn } from '../../support/in-turn.ts';
import { sql } from '../../support/alembic.ts';
import { query } from '../../support/postgres.ts';
import { createScene, type Major, said, type Scene, threeSteps } from '../../support/scene.ts';

const raising = {
  revisions: threeSteps.revisions.map((revision) =>
    revision.id === 'a2' ? { ...revision, downgrade: `raise RuntimeError('no way back')` } : revision,
  ),
};

/** As the superuser, on `DB`, the live database. */
const admin = async (scene: Scene, statements: string) =>
  query(scene.database.server.adminUrl, statements.replaceAll('DB', pg.escapeIdentifier(scene.database.name)));

async function setUpOf({ database }: Scene): Promise<unknown> {
  const [row] = await query(
    database.adminUrl,
    `SELECT pg_get_userbyid(datdba) AS owner, datconnlimit, datistemplate, shobj_description(oid, 'pg_database') AS comment,
       (SELECT array_agg(a.grantee::regrole || ':' || a.privilege_type ORDER BY a.grantee, a.privilege_type) FROM aclexplode(datacl) a) AS acl,
       (SELECT array_agg(setrole::regrole || ':' || setconfig::text ORDER BY setrole) FROM pg_db_role_setting WHERE setdatabase = d.oid) AS settings
     FROM pg_database d WHERE datname = current_database()`,
  );
  return row;
}

/** At a3, with a verified backup at a1 of a database that was set up otherwise, and granted to a role that has gone. */
async function setUpAnew(major: Major, ports?: (ports: Ports) => Ports): Promise<Scene> {
  const scene = await createScene(major, { history: raising, ...(ports === undefined ? {} : { ports }) });
  const reader = `"reader of ${scene.database.name}"`;
  await admin(
    scene,
    `CREATE ROLE ${reader}; REVOKE ALL ON DATABASE DB FROM PUBLIC; GRANT CONNECT ON DATABASE DB TO ${reader};
     ALTER DATABASE DB CONNECTION LIMIT 5; COMMENT ON DATABASE DB IS 'then';
     GRANT SET ON PARAMETER myapp.token TO ${scene.database.owner}; ALTER DATABASE DB SET myapp.token = 's3cret-then'; ALTER DATABASE DB SET work_mem = '5MB';
     ALTER ROLE ${scene.database.owner} IN DATABASE DB SET work_mem = '6MB'`,
  );
  await scene.goTo('a1');
  await scene.goTo('a3');
  await admin(
    scene,
    `REVOKE ALL ON DATABASE DB FROM ${reader}; DROP ROLE ${reader};
     ALTER DATABASE DB CONNECTION LIMIT 7; COMMENT ON DATABASE DB IS 'now';
     ALTER DATABASE DB SET myapp.token = 's3cret-now'; ALTER DATABASE DB RESET work_mem; ALTER DATABASE DB SET search_path = public, pg_temp`,
  );
  return scene;
}

const setUpNotes = ({ observed }: Scene): readonly string[] =>
  observed.flatMap((event) => (event.kind === 'note' && event.message.includes(' is set up ') ? [event.message] : []));

describeInTurn('the fallback to an older backup', (major, testOnce) => {
  testOnce(
    'leaves grants, settings, limit and comment as they are now, and tells what was otherwise, without values',
    async () => {
      await using scene = await setUpAnew(major);
      const before = await setUpOf(scene);
      const { outcome, status } = await scene.goTo('a1');
      expect(said(outcome)).toMatch(/^ready RestoredFromBackup: /);
      expect(await setUpOf(scene)).toEqual(before);

      const [told] = setUpNotes(scene);
      const report = await readFile(status.history[0]?.report ?? '', 'utf8');
      expect(report).toContain(told);
      expect(told).toContain('the connection limit (5 in the backup, 7 now)');
      expect(told).toContain('the comment');
      expect(told).toContain(`GRANT CONNECT TO "reader of ${scene.database.name}" (only in the backup)`);
      expect(told).toContain('ALTER DATABASE SET "myapp"."token" (another value)');
      expect(told).toContain('ALTER DATABASE SET "work_mem" (only in the backup)');
      expect(told).toContain('ALTER DATABASE SET "search_path" (only now)');
      expect(told).not.toContain(scene.database.owner);
      expect(`${report}${JSON.stringify(scene.observed)}${JSON.stringify(status)}`).not.toContain('s3cret');
    },
  );
});

describe('a restore that was cut off', () => {
  test.each(['before', 'after'])('%s its swap leaves the same set-up, and tells it once', async (moment) => {
    let isCut = false;
    const cutOnce = (live: LiveDatabase): Partial<LiveDatabase> => ({
      swap: async (...args) => {
        const first = !isCut;
        isCut = true;
        const swapped = first && moment === 'before' ? null : await live.swap(...args);
        if (first || swapped === null) throw retry('OperationInterrupted', 'Cut off by the test.');
        return swapped;
      },
    });
    await using scene = await setUpAnew(16, (ports) => withDatabase(ports, cutOnce));
    const before = await setUpOf(scene);
    expect(said((await scene.goTo('a1')).outcome)).toMatch(/^retrying OperationInterrupted: /);
    const { outcome, status } = await scene.reconcile();
    expect(said(outcome)).toMatch(/^ready RestoredFromBackup: /);
    expect(await setUpOf(scene)).toEqual(before);
    const report = await readFile(status.history[0]?.report ?? '', 'utf8');
    expect(report.match(/^- .* is set up as it was when this operation began/gm)).toHaveLength(1);
    expect(setUpNotes(scene)).toHaveLength(1);
  });
});

test('going back to the origin takes back what the change had set up', async () => {
  const setting = sql(
    `DO $$BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = ''9MB''', current_database()); END$$`,
  );
  await using scene = await createScene(16, {
    history: {
      transactionPerMigration: true,
      revisions: raising.revisions.map((revision) =>
        revision.id === 'a3' ? { ...revision, downgrade: setting } : revision,
      ),
    },
  });
  await scene.goTo('a3');
  const before = await setUpOf(scene);
  const { outcome } = await scene.goTo('a1');
  expect(said(outcome)).toMatch(/^stalled DowngradeFailed: .*restored from the backup taken before/s);
  expect(await setUpOf(scene)).toEqual(before);
});

test('a database that cannot be backed up is restored over with the set-up that it has', async () => {
  let isCorrupt = false;
  const corrupt = (live: LiveDatabase): Partial<LiveDatabase> => ({
    dump: async (...args) => {
      if (isCorrupt) throw stalled('BackupFailed', 'invalid page in block 0.');
      return live.dump(...args);
    },
  });
  await using scene = await setUpAnew(16, (ports) => withDatabase(ports, corrupt));
  const before = await setUpOf(scene);
  const { storage } = (await scene.target()).spec.backup;
  const { backups } = await (
    await scene.ports.backups.open(storage, { namespace: 'default', name: 'unicorn' }, scene.ports.home)
  ).list();
  isCorrupt = true;
  const { outcome } = await scene.goTo('a1', {
    restoreFrom: { backup: backups.find(({ revisions }) => revisions?.join() === 'a1')?.id },
  });
  expect(said(outcome)).toMatch(/^ready RestoredFromBackup: /);
  expect(await setUpOf(scene)).toEqual(before);
});

test('a role that is dropped between the backup and the restore is left out, and told', async () => {
  const role = (scene: Scene): string => `late reader of ${scene.database.name}`;
  let drop = async (): Promise<void> => undefined;
  const dropping = (live: LiveDatabase): Partial<LiveDatabase> => ({
    createDatabase: async (database, properties) => {
      if (properties !== 'scratch') await drop();
      return live.createDatabase(database, properties);
    },
  });
  await using scene = await setUpAnew(16, (ports) => withDatabase(ports, dropping));
  const before = await setUpOf(scene);
  await admin(scene, `CREATE ROLE "${role(scene)}"; GRANT CONNECT ON DATABASE DB TO "${role(scene)}"`);
  drop = async () => {
    await admin(scene, `REVOKE ALL ON DATABASE DB FROM "${role(scene)}"; DROP ROLE "${role(scene)}"`);
  };
  const { outcome } = await scene.goTo('a1');
  expect(said(outcome)).toMatch(/^ready RestoredFromBackup: /);
  expect(await setUpOf(scene)).toEqual(before);
  expect(scene.observed).toContainEqual({
    kind: 'note',
    level: 'warn',
    message: expect.stringMatching(`^The server has no role "${role(scene)}" any more.*CREATE ROLE`),
  });
});

test('settings that only a superuser may make stop neither a backup nor a restore, and are told', async () => {
  await using scene = await createScene(16, { history: raising });
  const reader = `reader of ${scene.database.name}`;
  await admin(
    scene,
    `CREATE ROLE "${reader}"; ALTER ROLE "${reader}" IN DATABASE DB SET work_mem = '6MB';
     ALTER DATABASE DB SET myapp.token = 's3cret'; ALTER DATABASE DB SET work_mem = '7MB'`,
  );
  await scene.goTo('a1');
  await scene.goTo('a3');
  const { outcome } = await scene.goTo('a1');
  expect(said(outcome)).toMatch(/^ready RestoredFromBackup: /);
  expect(await setUpOf(scene)).toMatchObject({ settings: ['-:{work_mem=7MB}'] });
  const told = scene.observed.flatMap((event) => (event.kind === 'note' ? [event.message] : []));
  for (const setting of ['ALTER DATABASE SET "myapp"."token"', `ALTER ROLE "${reader}" SET "work_mem"`])
    expect(told).toContainEqual(expect.stringContaining(`may not run ${setting}, so that is not set. As a superuser`));
  expect(JSON.stringify([outcome, scene.observed])).not.toContain('s3cret');
});

/** The real adapter, but for what `change` says of each database that it opens. */
const withDatabase = (ports: Ports, change: (live: LiveDatabase) => Partial<LiveDatabase>): Ports => ({
  ...ports,
  databases: {
    ...ports.databases,
    open: async (settings) => {
      const live = await ports.databases.open(settings);
      return { ...live, ...change(live) };
    },
  },
});
