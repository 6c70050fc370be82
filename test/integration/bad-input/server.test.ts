/** Servers, poolers, tools and roles with which no change could be made safely. */
import { describe, expect, test } from '@jest/globals';

import { createDatabases } from '../../../src/adapters/postgres/index.ts';
import { contentChecksum, databaseUrl, query, startOwnServer, startReplica } from '../../support/postgres.ts';
import { startPooler } from '../../support/pooler.ts';
import { said } from '../../support/scene.ts';
import { expectRefused, major, setSecret, watchedScene, writePrograms } from './support.ts';

const goOn = 'migration-target reconcile unicorn';

describe('a server', () => {
  test('that is a read replica', async () => {
    await using scene = await watchedScene();
    const primary = await startOwnServer(major);
    try {
      await query(primary.superuserUrl, 'CREATE DATABASE app');
      const app = databaseUrl(primary.superuserUrl, { database: 'app' });
      await scene.declare({ revision: 'a2' });
      await setSecret(scene, 'url', app);
      expect(said((await scene.reconcile()).outcome)).toMatch(/^ready Upgraded: /);
      const content = await contentChecksum(app);

      const replica = await startReplica(primary);
      try {
        const visit = async () => {
          await scene.declare({ revision: 'a1' });
          await setSecret(scene, 'url', databaseUrl(replica.superuserUrl, { database: 'app' }));
          return scene.reconcile();
        };
        const says = ['"app"', 'read replica', "primary's host", 'spec.database.urlFrom', goOn];
        await expectRefused(scene, visit, { reason: 'DatabaseReadOnly', says });
      } finally {
        await replica.stop();
      }
      expect(await contentChecksum(app)).toBe(content);
    } finally {
      await primary.stop();
    }
  });

  test('behind a pooler, whichever way it pools', async () => {
    await using scene = await watchedScene();
    await scene.goTo('a2');
    for (const mode of ['transaction', 'session'] as const) {
      await using pooler = await startPooler(scene.database, mode);
      const visit = async () => {
        await scene.declare({ revision: 'a1' });
        await setSecret(scene, 'url', pooler.url);
        return scene.reconcile();
      };
      const says = [new URL(pooler.url).port, 'connection pooler', "server's own host and port", goOn];
      await expectRefused(scene, visit, { reason: 'PoolerRefused', says });
    }
  });

  test('whose tools are there in another major only', async () => {
    const version = '#!/bin/sh\necho "$(basename "$0") (PostgreSQL) 15.4"\n';
    await using older = await writePrograms(['pg_dump', 'pg_restore', 'psql'], version);
    const others = createDatabases({ toolDirectories: [older.dir], standardDirectories: false });
    let areGone = false;
    await using scene = await watchedScene({
      ports: (ports) => ({
        ...ports,
        databases: { ...ports.databases, open: (settings) => (areGone ? others : ports.databases).open(settings) },
      }),
    });
    await scene.goTo('a2');
    areGone = true;
    const says = [
      'PostgreSQL 16',
      `${older.dir} (pg_dump (PostgreSQL) 15.4)`,
      'postgresql-client-16',
      'MIGRATION_TARGET_PG_BIN',
      goOn,
    ];
    await expectRefused(scene, () => scene.goTo('a1'), { reason: 'ToolsNotFound', says, begins: 'operation' });
    expect(await scene.query('SELECT count(email)::int AS n FROM users')).toEqual([{ n: 1000 }]);
  });
});

describe('a role', () => {
  test('that may not create a database: neither a backup could be tried nor one restored', async () => {
    await using scene = await watchedScene();
    await scene.goTo('a2');
    await scene.query(`ALTER ROLE "${scene.database.owner}" NOCREATEDB`);
    const says = [`ALTER ROLE "${scene.database.owner}" CREATEDB`, 'spec.database.adminUrlFrom', goOn];
    await expectRefused(scene, () => scene.goTo('a1'), { reason: 'PermissionDenied', says, begins: 'operation' });
    expect(await scene.query('SELECT count(email)::int AS n FROM users')).toEqual([{ n: 1000 }]);

    // The way out that it names.
    await scene.query(`ALTER ROLE "${scene.database.owner}" CREATEDB`);
    expect(said((await scene.reconcile({ kind: 'apply' })).outcome)).toMatch(/^ready Downgraded: /);
  });

  test('that may not read a table of somebody else, or from which row-level security hides rows', async () => {
    await using scene = await watchedScene();
    await scene.goTo('a2');
    await scene.query('CREATE TABLE private AS SELECT 1 AS i');
    const unreadable = ['public.private', scene.database.owner, 'GRANT SELECT', goOn];
    await expectRefused(scene, () => scene.goTo('a1'), { reason: 'PermissionDenied', says: unreadable });

    await scene.query('DROP TABLE private; ALTER TABLE users ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY');
    const hidden = ['public.users', scene.database.owner, 'BYPASSRLS', 'spec.database.adminUrlFrom', goOn];
    const visit = () => scene.goTo('a1', { interval: '1m' });
    await expectRefused(scene, visit, { reason: 'RowsHidden', says: hidden });

    // The way out that it names.
    await scene.declare({ database: { adminUrlFrom: { secretKeyRef: { name: 'unicorn', key: 'adminUrl' } } } });
    expect(said((await scene.reconcile()).outcome)).toMatch(/^ready Downgraded: /);
    expect(await scene.query('SELECT count(*)::int AS n FROM users')).toEqual([{ n: 1000 }]);
  });
});
