import { describe, expect, test } from '@jest/globals';
import type { Step } from '../../../src/rollback/model.ts';
import { branchedHistory, recorded } from './recorded.ts';
import { down, openScene, up } from './scene.ts';

describe('explicit steps', () => {
  const cases: readonly (readonly [string, readonly (readonly [readonly Step[], readonly string[]])[]])[] = [
    [
      'one branch, then the other, then the merge, and all the way down',
      [
        [up('root'), ['root']],
        [up('left1', 'left2'), ['left2']],
        [up('right1'), ['left2', 'right1']],
        [up('merge'), ['merge']],
        [up('top'), ['top']],
        [down('top', 'merge'), ['left2', 'right1']],
        [down('right1', 'left2', 'left1'), ['root']],
        [down('root'), []],
      ],
    ],
    [
      'both branches at once, in turn',
      [
        [up('root', 'left1', 'right1', 'left2', 'merge'), ['merge']],
        [down('merge'), ['left2', 'right1']],
      ],
    ],
    [
      'from one branch to the other in one go',
      [
        [up('root', 'left1', 'left2'), ['left2']],
        [[...down('left2', 'left1'), ...up('right1')], ['right1']],
      ],
    ],
    [
      'a head of its own beside the rest',
      [
        [up('alone'), ['alone']],
        [up('root'), ['alone', 'root']],
        [down('alone'), ['root']],
      ],
    ],
    // What depends on another stands for it in the version table.
    [
      'depends_on',
      [
        [up('root', 'left1', 'alone', 'needy'), ['needy']],
        [down('needy'), ['alone', 'left1']],
      ],
    ],
  ];
  test.each(cases)('%s', async (_, moves) => {
    await using scene = await openScene({ revisions: branchedHistory });
    let from: readonly string[] = [];
    const expected: string[] = [];
    for (const [steps, to] of moves) {
      expect(await scene.migrate(from, steps)).toEqual({ ok: true });
      expect(await scene.heads()).toEqual(to);
      expected.push(...steps.map(({ direction, revision }) => `${direction} ${revision}`));
      from = to;
    }
    expect(await recorded(scene.database.url)).toEqual(expected);
  });

  const impossible: readonly (readonly [string, readonly string[], readonly Step[], string])[] = [
    ['up without the parent', ['root'], up('left2'), "up of left2 can't follow"],
    ['down of what is not there', ['root'], down('left1'), "down of left1 can't follow"],
    ['up twice', ['root'], up('left1', 'left1'), "up of left1 can't follow"],
    ['a revision that the scripts lack', ['root'], up('nowhere'), 'nowhere'],
    [
      'from where the database is not',
      ['left1'],
      up('left2'),
      "the version table holds ['root'], but ['left1'] was planned from",
    ],
  ];
  test.each(impossible)('%s: nothing runs', async (_, from, steps, message) => {
    await using scene = await openScene({ revisions: branchedHistory });
    await scene.migrate([], up('root'));
    scene.events.length = 0;
    expect(await scene.migrate(from, steps)).toEqual({
      ok: false,
      error: expect.objectContaining({ kind: 'environment', step: null, message: expect.stringContaining(message) }),
    });
    expect(scene.events).toEqual([]);
    expect(await scene.heads()).toEqual(['root']);
    expect(await recorded(scene.database.url)).toEqual(['up root']);
  });

  test('where each migration has a transaction of its own, those before the failing one stay', async () => {
    await using scene = await openScene({
      transactionPerMigration: true,
      revisions: [
        { id: 'a1', up: 'op.execute("CREATE TABLE a ()")' },
        { id: 'b2', up: 'op.execute("CREATE TABLE a ()")' },
        { id: 'c3' },
      ],
    });
    expect(await scene.migrate([], up('a1', 'b2', 'c3'))).toMatchObject({
      ok: false,
      error: { kind: 'migration', step: up('b2')[0], sqlstate: '42P07' },
    });
    expect(await scene.heads()).toEqual(['a1']);
  });

  test('in one transaction, none stays', async () => {
    await using scene = await openScene({
      revisions: [
        { id: 'a1', up: 'op.execute("CREATE TABLE a ()")' },
        { id: 'b2', up: 'op.execute("CREATE TABLE a ()")' },
      ],
    });
    expect(await scene.migrate([], up('a1', 'b2'))).toMatchObject({
      ok: false,
      error: { kind: 'migration', step: up('b2')[0] },
    });
    expect(await scene.heads()).toEqual(null);
  });
});

describe('the SQL of steps', () => {
  test('up, from base', async () => {
    await using scene = await openScene({ revisions: branchedHistory });
    const offline = await scene.session.offlineSql({ from: [], steps: up('root', 'left1') });
    expect(offline).toEqual({
      kind: 'sql',
      sql: expect.stringMatching(
        /CREATE TABLE alembic_version.*up root.*INSERT INTO alembic_version.*up left1.*SET version_num='left1'/s,
      ),
    });
    expect(await scene.heads()).toBeNull();
  });

  test('across branches, from several heads, and again afterwards for real', async () => {
    await using scene = await openScene({ revisions: branchedHistory });
    await scene.migrate([], up('root', 'left1', 'right1'));
    const steps = [...down('left1'), ...up('left1')];
    const offline = await scene.session.offlineSql({ from: ['left1', 'right1'], steps });
    expect(offline).toEqual({
      kind: 'sql',
      sql: expect.stringMatching(/down left1.*DELETE FROM alembic_version.*up left1/s),
    });
    expect(await scene.migrate(['left1', 'right1'], steps)).toEqual({ ok: true });
  });

  test('env.py that has no offline mode: unavailable, and it connects to nothing', async () => {
    const envPy = `
import os
from alembic import context
from sqlalchemy import create_engine
with create_engine(os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:")).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
`;
    await using scene = await openScene({ revisions: branchedHistory, envPy });
    expect(await scene.session.offlineSql({ from: [], steps: up('root') })).toEqual({
      kind: 'unavailable',
      because: expect.stringContaining('offline mode'),
    });
    expect(await scene.heads()).toBeNull();
    expect(await scene.migrate([], up('root'))).toEqual({ ok: true });
  });

  test('a migration that reads rows: unavailable, with what it said', async () => {
    await using scene = await openScene({
      revisions: [{ id: 'a1', up: 'print(op.get_bind().execute(sa.text("SELECT 1")).scalar())' }],
    });
    expect(await scene.session.offlineSql({ from: [], steps: up('a1') })).toEqual({
      kind: 'unavailable',
      because: expect.stringContaining('scalar'),
    });
  });
});
