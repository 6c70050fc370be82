/** Every shape of history: the steps that were planned are those that ran, and the version table says so. */
import { describe, expect, test } from '@jest/globals';

import type { Reason } from '../../../src/api/reasons.ts';
import type { Revision } from '../../support/alembic.ts';
import { query } from '../../support/postgres.ts';
import { createScene, said } from '../../support/scene.ts';

const table = (id: string, rest: Partial<Revision> = {}): Revision => ({
  id,
  up: `op.create_table('t_${id}', sa.Column('id', sa.Integer, primary_key=True))`,
  downgrade: `op.drop_table('t_${id}')`,
  ...rest,
});

const branches = [
  table('r0'),
  table('a1', { down: 'r0' }),
  table('a2', { down: 'a1' }),
  table('b1', { down: 'r0' }),
  table('b2', { down: 'b1' }),
];
const merge = [
  table('r0'),
  table('a1', { down: 'r0' }),
  table('b1', { down: 'r0' }),
  table('m', { down: ['a1', 'b1'] }),
  table('n', { down: 'm' }),
];
const depending = [
  table('a1'),
  table('a2', { down: 'a1' }),
  table('b1', { down: null }),
  table('b2', { down: 'b1', dependsOn: 'a1' }),
];

describe('the database goes', () => {
  test.each<[string, readonly Revision[], readonly (readonly [string, string, string, Reason])[]]>([
    [
      'to base and back',
      branches,
      [
        ['a2', 'a2', 'a1 a2 r0', 'Upgraded'],
        ['base', '', '', 'Downgraded'],
        ['b1', 'b1', 'b1 r0', 'Upgraded'],
      ],
    ],
    [
      'across branches',
      branches,
      [
        ['a2', 'a2', 'a1 a2 r0', 'Upgraded'],
        ['b2', 'b2', 'b1 b2 r0', 'BranchSwitched'],
        ['a1', 'a1', 'a1 r0', 'BranchSwitched'],
      ],
    ],
    [
      'to several heads, and to fewer',
      branches,
      [
        ['a2,b1', 'a2,b1', 'a1 a2 b1 r0', 'Upgraded'],
        ['a1,b2', 'a1,b2', 'a1 b1 b2 r0', 'BranchSwitched'],
        ['a1', 'a1', 'a1 r0', 'Downgraded'],
      ],
    ],
    [
      'through a merge and back to both of its sides',
      merge,
      [
        ['n', 'n', 'a1 b1 m n r0', 'Upgraded'],
        ['a1,b1', 'a1,b1', 'a1 b1 r0', 'Downgraded'],
        ['m', 'm', 'a1 b1 m r0', 'Upgraded'],
      ],
    ],
    [
      'from a merge to one of its sides: the other goes too',
      merge,
      [
        ['m', 'm', 'a1 b1 m r0', 'Upgraded'],
        ['a1', 'a1', 'a1 r0', 'Downgraded'],
      ],
    ],
    [
      'to a revision with what it depends on',
      depending,
      [
        ['b2', 'b2', 'a1 b1 b2', 'Upgraded'],
        ['a2,b2', 'a2,b2', 'a1 a2 b1 b2', 'Upgraded'],
        ['a2', 'a2', 'a1 a2', 'Downgraded'],
      ],
    ],
  ])('%s', async (_, revisions, visits) => {
    await using scene = await createScene(16, { history: { revisions } });
    for (const [declared, version, tables, reason] of visits) {
      const { outcome } = await scene.goTo(declared);
      expect(said(outcome)).toMatch(new RegExp(`^ready ${reason}: `));
      expect(await scene.version()).toBe(version);
      const rows = await scene.query(
        `SELECT string_agg(substr(tablename, 3), ' ' ORDER BY tablename) AS tables FROM pg_tables WHERE tablename LIKE 't\\_%'`,
      );
      expect(rows[0]?.['tables'] ?? '').toBe(tables);
      expect(await scene.reconcile()).toMatchObject({ outcome: { kind: 'ready' } });
    }
  });
});

describe('the version table', () => {
  test('missing in a database with tables is refused, and nothing is stamped', async () => {
    await using scene = await createScene(16, {
      history: { revisions: branches },
      database: { sql: 'CREATE TABLE users (id int)' },
    });
    const { outcome } = await scene.goTo('a1');
    expect(outcome).toMatchObject({
      kind: 'stalled',
      reason: 'VersionTableMissing',
      message: expect.stringContaining('migration-target backups unicorn'),
    });
    expect(await scene.query(`SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'`)).toEqual([
      { tablename: 'users' },
    ]);
  });

  test('empty is base', async () => {
    await using scene = await createScene(16, {
      history: { revisions: branches },
      database: {
        sql: 'CREATE TABLE users (id int); CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)',
      },
    });
    expect(said((await scene.goTo('a1')).outcome)).toMatch(/^ready Upgraded: /);
    expect(await scene.version()).toBe('a1');
  });

  test('in another schema is found where it is declared', async () => {
    await using scene = await createScene(16, { history: { revisions: branches, env: 'versionTableSchema' } });
    const { outcome } = await scene.goTo('a2');
    expect(said(outcome)).toMatch(/^ready /);
    const { spec } = await scene.target();
    expect(spec.database.versionTableSchema).not.toBe('public');
    expect(
      await scene.query(`SELECT version_num FROM ${spec.database.versionTableSchema}.${spec.database.versionTable}`),
    ).toEqual([{ version_num: 'a2' }]);
    expect(said((await scene.goTo('r0')).outcome)).toMatch(/^ready Downgraded: /);
  });

  test('with a revision that the scripts lack, and no backup, is refused with the way out', async () => {
    await using scene = await createScene(16, { history: { revisions: branches } });
    await scene.goTo('a1');
    await scene.query(`UPDATE alembic_version SET version_num = 'newer'`);
    const { outcome } = await scene.goTo('b1');
    expect(outcome).toMatchObject({
      kind: 'stalled',
      reason: 'RevisionNotFound',
      message: expect.stringContaining('newer'),
    });
    expect(await scene.version()).toBe('newer');
  });

  test('with a revision that the scripts lack is restored from the backup at the desired one', async () => {
    await using scene = await createScene(16, { history: { revisions: branches } });
    await scene.goTo('a1');
    await scene.goTo('a2');
    await query(
      scene.database.url,
      `UPDATE alembic_version SET version_num = 'newer'; CREATE TABLE from_newer (id int)`,
    );
    const { outcome, status } = await scene.goTo('a1');
    expect(said(outcome)).toMatch(/^ready RestoredFromBackup: /);
    expect(await scene.version()).toBe('a1');
    expect(await scene.query(`SELECT to_regclass('from_newer') AS t`)).toEqual([{ t: null }]);
    expect(await scene.databases()).toEqual([scene.database.name, status.keptAside[0]?.name]);
  });
});
