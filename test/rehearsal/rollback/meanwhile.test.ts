/** What others write while a change, or a restore, is tried on a copy: counted where it would be lost, and asked about. */
import { describe, expect, test } from '@jest/globals';

import type { LiveDatabase, Ports } from '../../../src/rollback/ports.ts';
import { createScene, said, type Scene, threeSteps } from '../../support/scene.ts';

interface Hooked {
  readonly scene: Scene;
  readonly meanwhile: (write: () => Promise<unknown>) => void;
}

/** A scene in which others write right after that call of the database: what is lost was measured, or a restore is ready. */
async function after(method: 'findLoss' | 'analyze', history = threeSteps): Promise<Hooked> {
  let write: () => Promise<unknown> = async () => undefined;
  const scene = await createScene(16, {
    history,
    ports: (ports): Ports => ({
      ...ports,
      databases: {
        ...ports.databases,
        open: async (settings) => {
          const live = await ports.databases.open(settings);
          const original = { ...live };
          const thenWrite = async <T>(result: Promise<T>): Promise<T> => {
            const done = await result;
            await write();
            return done;
          };
          return method === 'findLoss'
            ? Object.assign(live, {
                findLoss: (...args: Parameters<LiveDatabase['findLoss']>) => thenWrite(original.findLoss(...args)),
              })
            : Object.assign(live, {
                analyze: (...args: Parameters<LiveDatabase['analyze']>) => thenWrite(original.analyze(...args)),
              });
        },
      },
    }),
  });
  return { scene, meanwhile: (next) => void (write = next) };
}

const withRevision = (up: string, downgrade: string) => ({
  revisions: [...threeSteps.revisions.slice(0, 2), { id: 'a3', up, downgrade }],
});
const policy = (dataLoss: string) => ({ policy: { rehearsal: 'Always', dataLoss } });
const fifty = 'SELECT g FROM generate_series(1, 50) g';

describe('rows that are written while a change is tried', () => {
  test.each([
    [
      'to a table that was empty',
      withRevision(`op.create_table('audit', sa.Column('id', sa.Integer, primary_key=True))`, `op.drop_table('audit')`),
      `INSERT INTO audit ${fifty}`,
    ],
    [
      'into a column that was empty',
      withRevision(`op.add_column('users', sa.Column('phone', sa.Text))`, `op.drop_column('users', 'phone')`),
      `UPDATE users SET phone = '1' WHERE id <= 50`,
    ],
  ])('%s are asked about, and refused where loss is forbidden', async (_what, history, write) => {
    for (const [dataLoss, told] of [
      ['RequireApproval', /^awaitingApproval .*50 rows written since it was tried/s],
      ['Forbid', /^stalled DataLossForbidden: .*50 rows written since it was tried/s],
    ] as const) {
      const { scene, meanwhile } = await after('findLoss', history);
      await using _ = scene;
      await scene.goTo('a3');
      meanwhile(() => scene.query(write));
      expect(said((await scene.goTo('a2', policy(dataLoss))).outcome)).toMatch(told);
      expect(await scene.version()).toBe('a3');
    }
  });

  test('to what stays are no loss: the change is made, with every row', async () => {
    const { scene, meanwhile } = await after('findLoss');
    await using _ = scene;
    await scene.goTo('a3');
    meanwhile(() => scene.query(`INSERT INTO users (id, name) SELECT 5000 + g, 'new' FROM generate_series(1, 50) g`));
    expect(said((await scene.goTo('a2', policy('Forbid'))).outcome)).toMatch(/^ready Downgraded: /);
    expect(await scene.query('SELECT count(*)::int AS n FROM users')).toEqual([{ n: 1050 }]);
  });
});

describe('rows that are written while a restore is tried, or made', () => {
  const restoring = async (method: 'findLoss' | 'analyze') => {
    const hooked = await after(method);
    await hooked.scene.goTo('a3');
    const { status } = await hooked.scene.reconcile({ kind: 'backup', reason: 'Requested' });
    return { ...hooked, backup: status.lastBackup?.id ?? '' };
  };
  const insert = `INSERT INTO users (id, name) SELECT 5000 + g, 'new' FROM generate_series(1, 50) g`;

  test.each(['RequireApproval', 'Forbid'])('are not lost unasked: %s', async (dataLoss) => {
    const { scene, meanwhile, backup } = await restoring('findLoss');
    await using _ = scene;
    meanwhile(() => scene.query(insert));
    const { outcome } = await scene.goTo('a3', { ...policy(dataLoss), restoreFrom: { backup } });
    expect(said(outcome)).toMatch(
      /^(awaitingApproval |stalled DataLossForbidden: ).*50 rows written since it was tried/s,
    );
    expect(await scene.query('SELECT count(*)::int AS n FROM users')).toEqual([{ n: 1050 }]);
  });

  test('up to the swap: more than was covered is not swapped away', async () => {
    const { scene, meanwhile, backup } = await restoring('analyze');
    await using _ = scene;
    meanwhile(() => scene.query(insert));
    const { outcome } = await scene.goTo('a3', { ...policy('RequireApproval'), restoreFrom: { backup } });
    expect(said(outcome)).toMatch(/^stalled WritersActive: Others wrote 50 rows while backup \S+ was restored/);
    expect(await scene.query('SELECT count(*)::int AS n FROM users')).toEqual([{ n: 1050 }]);
    expect(await scene.databases()).toEqual([scene.database.name]);
  });
});
