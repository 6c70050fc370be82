/** Several targets with one database. */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, test } from '@jest/globals';

import type { MigrationTarget } from '../../../src/api/target.ts';
import type { Home } from '../../../src/rollback/ports.ts';
import { reconcile, type Reconciled } from '../../../src/rollback/reconcile.ts';
import { python, writeHistory, writeTarget, type AlembicProject } from '../../support/alembic.ts';
import { contentChecksum, query } from '../../support/postgres.ts';
import { said } from '../../support/scene.ts';
import { conditionsOf, expectMessage, expectRefused, watchedScene, type WatchedScene } from './support.ts';

/** A second declaration for the database of the scene. */
async function declareSecond(scene: WatchedScene, project: AlembicProject, revision: string): Promise<void> {
  const { dir, database, backups } = scene;
  const spec = { policy: { dataLoss: 'Allow' } };
  await writeTarget(dir, { name: 'second', database, project, python: await python(), revision, backups, spec });
}

async function second(scene: WatchedScene): Promise<MigrationTarget> {
  const declaration = await scene.ports.home.get({ namespace: 'default', name: 'second' });
  if (declaration?.kind !== 'target') throw new Error(`no target: ${JSON.stringify(declaration)}`);
  return declaration.target;
}

const visitSecond = async (scene: WatchedScene): Promise<Reconciled> =>
  reconcile(await second(scene), scene.ports, { kind: 'reconcile' }, new AbortController().signal);

/** As `migration-target reconcile second` does. */
const requestSecond = (scene: WatchedScene): Promise<void> =>
  scene.ports.home.requestReconcile({ namespace: 'default', name: 'second' }, new Date().toISOString());

describe('two targets for one database and version table', () => {
  test('the first keeps working, the second is told who has it, and gets it when the first is gone', async () => {
    await using scene = await watchedScene();
    await scene.goTo('a2');
    await declareSecond(scene, scene.project, 'a1');
    const [content, started] = [await contentChecksum(scene.database.adminUrl), scene.started()];
    for (const time of ['at first', 'once more']) {
      const { outcome, again } = await visitSecond(scene);
      expect([time, said(outcome)]).toEqual([time, expect.stringMatching(/^stalled TargetConflict: /)]);
      expect(again).toBe(false);
      const says = [
        'default/unicorn',
        scene.database.name,
        'public.alembic_version',
        'migration-target reconcile second',
      ];
      expectMessage(outcome.message, says);
    }
    const { status, metadata } = await second(scene);
    expect(conditionsOf(status ?? { conditions: [] })).toMatchObject({
      Ready: { status: 'False', reason: 'TargetConflict', observedGeneration: metadata.generation },
      Stalled: { status: 'True' },
    });
    expect(scene.started()).toEqual(started);
    expect(await contentChecksum(scene.database.adminUrl)).toBe(content);

    expect(said((await scene.goTo('a3')).outcome)).toMatch(/^ready Upgraded: /);
    expect(said((await visitSecond(scene)).outcome)).toMatch(/^stalled TargetConflict: /);

    // With a fault in its declaration the first has it all the same.
    const first = join(scene.dir, 'targets', 'unicorn.yaml');
    await writeFile(first, (await readFile(first, 'utf8')).replace(/^ {2}revision: .*$/m, '  revision: "-1"'));
    expect((await scene.ports.home.get({ namespace: 'default', name: 'unicorn' }))?.kind).toBe('invalid');
    await requestSecond(scene);
    expect(said((await visitSecond(scene)).outcome)).toMatch(/^stalled TargetConflict: /);

    await rm(first);

    await requestSecond(scene);
    expect(said((await visitSecond(scene)).outcome)).toMatch(/^ready Downgraded: /);
    expect(await scene.version()).toBe('a1');
  });
});

describe('two targets that are declared at the same moment', () => {
  /** The database at a1, and nobody's any more. */
  async function shared() {
    const scene = await watchedScene();
    await scene.goTo('a1');
    await rm(join(scene.dir, 'targets', 'unicorn.yaml'));
    const { dir, database, project, backups } = scene;
    const spec = { policy: { dataLoss: 'Allow', rehearsal: 'Never', drift: 'Correct' } };
    return {
      scene,
      declare: async (name: string, revision: string) =>
        writeTarget(dir, { name, database, project, python: await python(), revision, backups, spec }),
      visit: async (name: string, change: Partial<Home> = {}) => {
        const declaration = await scene.ports.home.get({ namespace: 'default', name });
        if (declaration?.kind !== 'target') throw new Error(`no target: ${JSON.stringify(declaration)}`);
        const ports = { ...scene.ports, home: { ...scene.ports.home, ...change } };
        const { outcome } = await reconcile(
          declaration.target,
          ports,
          { kind: 'reconcile' },
          new AbortController().signal,
        );
        return said(outcome);
      },
    };
  }

  test('whose operation began first has the database, not who comes while it goes on', async () => {
    const { scene, declare, visit } = await shared();
    await using _ = scene;
    await declare('first', 'a2');
    await declare('second', 'a1');
    const meanwhile: string[] = [];
    const { home } = scene.ports;
    const first = visit('first', {
      saveStatus: async (key, status, replaces) => {
        await home.saveStatus(key, status, replaces);
        if (status.operation?.step === 'change' && meanwhile.length === 0) meanwhile.push(await visit('second'));
      },
    });
    expect(await first).toMatch(/^ready Upgraded: /);
    expect(meanwhile).toEqual([expect.stringMatching(/^stalled TargetConflict: Target default\/first /)]);
  });

  test('of two that did not see each other only one corrects what the other does', async () => {
    const { scene, declare, visit } = await shared();
    await using _ = scene;
    for (const name of ['first', 'second']) {
      await declare(name, 'a1');
      expect(await visit(name, { claiming: () => Promise.resolve([]) })).toMatch(/^ready InSync: /);
    }
    await declare('first', 'a2');
    expect(await visit('first')).toMatch(/^ready Upgraded: /);
    expect(await visit('second')).toMatch(/^stalled TargetConflict: Target default\/first /);
    expect(await scene.version()).toBe('a2');
  });
});

describe('another history in the same database', () => {
  test('is never rewound by a restore, whether that is declared or a fallback', async () => {
    const raising = [
      { id: 'a1', up: `op.create_table('users', sa.Column('id', sa.Integer))`, downgrade: `op.drop_table('users')` },
      {
        id: 'a2',
        up: `op.add_column('users', sa.Column('x', sa.Text))`,
        downgrade: `raise RuntimeError('no way back')`,
      },
    ];
    await using scene = await watchedScene({ history: { revisions: raising } });
    await scene.goTo('a1');
    await scene.goTo('a2');
    const other = await writeHistory(join(scene.dir, 'other'), {
      revisions: [{ id: 'o1', up: `op.create_table('orders', sa.Column('id', sa.Integer))` }],
      versionTable: 'other_version',
    });
    await declareSecond(scene, other, 'o1');
    // A person says where the second history stands, as `alembic stamp base` does: it is not guessed.
    expect(said((await visitSecond(scene)).outcome)).toMatch(/^stalled VersionTableMissing: .*public\.alembic_version/);
    await query(scene.database.url, 'CREATE TABLE other_version (version_num varchar(32) PRIMARY KEY)');
    await requestSecond(scene);
    expect(said((await visitSecond(scene)).outcome)).toMatch(/^ready Upgraded: /);

    const backup = await backupAt(scene, 'a1');
    const shared = ['public.other_version', 'rewind', 'migration-target backups unicorn'];
    const restore = () => scene.goTo('a2', { restoreFrom: { backup } });
    await expectRefused(scene, restore, { reason: 'TargetConflict', says: shared });

    const fallback = () => scene.goTo('a1', { restoreFrom: null });
    const says = ['no way back', 'public.other_version', 'rewind', 'as before', 'migration-target reconcile unicorn'];
    await expectRefused(scene, fallback, { reason: 'DowngradeFailed', says, begins: 'operation' });
    expect(await scene.version()).toBe('a2');
    expect(await scene.query('SELECT version_num FROM other_version')).toEqual([{ version_num: 'o1' }]);
    expect(said((await visitSecond(scene)).outcome)).toMatch(/^ready /);
  });
});

async function backupAt(scene: WatchedScene, revision: string): Promise<string> {
  const { spec } = await scene.target();
  const store = await scene.ports.backups.open(
    spec.backup.storage,
    { namespace: 'default', name: 'unicorn' },
    scene.ports.home,
  );
  const found = (await store.list()).backups.find(({ revisions }) => revisions?.join() === revision);
  if (found === undefined) throw new Error(`no backup at ${revision}`);
  return found.id;
}
