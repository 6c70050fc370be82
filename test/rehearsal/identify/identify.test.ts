/** Which revision a schema is, on real histories: told only where exactly one has that very schema. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, test } from '@jest/globals';

import type { Identification } from '../../../src/rollback/identification.ts';
import { identify } from '../../../src/rollback/identify.ts';
import { alembic, sql, type HistorySpec, type Revision } from '../../support/alembic.ts';
import { contentChecksum, majors } from '../../support/postgres.ts';
import { createScene, said, threeSteps, type Major, type Scene } from '../../support/scene.ts';

const look = async (scene: Scene): Promise<Identification> =>
  (await identify(await scene.target(), scene.ports, new AbortController().signal)).found;

/** A database that alembic alone took there, so that nothing of it is recorded; then without its version table. */
async function lost(revisions: readonly Revision[], at: string, major: Major = 16): Promise<Scene> {
  const scene = await createScene(major, { history: { revisions } });
  for (const revision of at.split('+')) await alembic(scene.project, scene.database.url, 'upgrade', revision);
  await scene.query('DROP TABLE alembic_version');
  return scene;
}

const table = (name: string): Pick<Revision, 'up' | 'downgrade'> => ({
  up: `op.create_table('${name}', sa.Column('id', sa.Integer, primary_key=True))`,
  downgrade: `op.drop_table('${name}')`,
});

/** base → r1 → {a1 → a2, b1} → m1; b1 needs nothing of a's. */
const merging: readonly Revision[] = [
  { id: 'r1', ...table('roots') },
  { id: 'a1', down: 'r1', ...table('a_one') },
  { id: 'a2', down: 'a1', ...table('a_two') },
  { id: 'b1', down: 'r1', ...table('b_one') },
  { id: 'm1', down: ['a2', 'b1'], ...table('merged') },
];

describe('a schema that migrations alone made', () => {
  test.each(['a1', 'a2', 'a3'])('is %s, and the database is only read', async (revision) => {
    await using scene = await lost(threeSteps.revisions, revision);
    const content = await contentChecksum(scene.database.adminUrl);
    expect(await look(scene)).toMatchObject({
      verdict: { kind: 'identified', revisions: [revision], by: 'built' },
      said: null,
      compared: 4,
      unbuilt: [],
      notKnown: [],
    });
    expect(await contentChecksum(scene.database.adminUrl)).toBe(content);
    expect(await scene.databases()).toEqual([scene.database.name]);
    const { operation } = (await scene.target()).status ?? {};
    expect(operation ?? null).toBeNull();
  });

  test.each(majors)('is told on PostgreSQL %i', async (major) => {
    await using scene = await lost(merging, 'm1', major);
    expect(await look(scene)).toMatchObject({ verdict: { kind: 'identified', revisions: ['m1'] }, unbuilt: [] });
  });

  test.each<[string, string, string[], readonly Revision[]]>([
    ['a branch', 'a2', ['a2'], merging],
    ['the other branch', 'b1', ['b1'], merging],
    ['a merge', 'm1', ['m1'], merging],
    ['two heads that a merge begins with', 'a2+b1', ['a2', 'b1'], merging],
    ['two heads at once', 'heads', ['a2', 'b1'], merging.slice(0, -1)],
  ])('is that of %s, which holds exactly what is below it', async (_called, at, revisions, history) => {
    await using scene = await lost(history, at);
    expect((await look(scene)).verdict).toMatchObject({ kind: 'identified', revisions, by: 'built' });
  });

  test('is each of the revisions that differ in data alone, and none is chosen', async () => {
    const revisions = [
      ...threeSteps.revisions,
      { id: 'a4', up: sql(`UPDATE users SET name = 'x' WHERE id = 1`), downgrade: 'pass' },
    ];
    await using scene = await lost(revisions, 'a4');
    const { verdict } = await look(scene);
    expect(verdict).toMatchObject({ kind: 'ambiguous', among: [{ revisions: ['a3'] }, { revisions: ['a4'] }] });
  });
});

describe('a schema that no revision has', () => {
  test('is told by the nearest one and the one line that differs', async () => {
    await using scene = await lost(threeSteps.revisions, 'a2');
    await scene.query('ALTER TABLE users ADD COLUMN hotfix integer');
    const { verdict } = await look(scene);
    expect(verdict).toMatchObject({
      kind: 'unknown',
      nearest: [
        {
          revisions: ['a2'],
          differences: 1,
          difference: { missing: [], unexpected: [expect.stringMatching(/^column public\.users\.hotfix /)] },
        },
        { revisions: ['a1'], differences: 2 },
        { revisions: ['a3'], differences: 2 },
        { revisions: [] },
      ],
    });
  });
});

describe('a base that does not lead all the way', () => {
  /** As of a history whose first tables were made by hand. */
  const broken: HistorySpec['revisions'] = [
    { id: 'a1', ...table('users') },
    { id: 'a2', up: sql('ALTER TABLE made_by_hand ADD COLUMN x int'), downgrade: 'pass' },
    { id: 'a3', ...table('orders') },
  ];

  test('ends where its migration fails, with why; what was recorded when the database was there is compared all the same', async () => {
    await using scene = await createScene(16, {
      history: { revisions: broken },
      database: {
        sql: 'CREATE TABLE made_by_hand (id int); CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)',
      },
    });
    for (const revision of ['a2', 'a3']) expect(said((await scene.goTo(revision)).outcome)).toMatch(/^ready/);
    await scene.query('DROP TABLE alembic_version');
    expect(await look(scene)).toMatchObject({
      verdict: { kind: 'identified', revisions: ['a3'], by: 'recorded', match: { evidence: [{ by: 'recorded' }] } },
      unbuilt: [],
      notKnown: [],
    } satisfies Partial<Record<keyof Identification, unknown>>);
  });

  test('says so where nothing was recorded', async () => {
    await using scene = await createScene(16, {
      history: { revisions: broken },
      database: { sql: 'CREATE TABLE made_by_hand (id int, x int)' },
    });
    const found = await look(scene);
    expect(found.verdict).toMatchObject({ kind: 'unknown', nearest: [{ revisions: [] }, { revisions: ['a1'] }] });
    expect(found.unbuilt).toEqual([
      {
        because: expect.stringMatching(/^upgrade of a2: .*made_by_hand.*SQLSTATE 42P01.*0002_a2\.py:\d+/),
        revisions: [['a2'], ['a3']],
      },
    ]);
    expect(found.notKnown).toEqual(['a2', 'a3']);
    expect(await scene.databases()).toEqual([scene.database.name]);
  });
});

describe('what was built before', () => {
  const cached = async (scene: Scene): Promise<readonly string[]> =>
    (await readdir(join(scene.backups, '.schemas'))).filter((name) => name.startsWith('built-'));
  const builds = (scene: Scene): number =>
    scene.observed.filter((event) => event.kind === 'progress' && event.step === 'build').length;

  test('is kept for the same scripts, and built anew for others, or where the file is damaged', async () => {
    await using scene = await lost(threeSteps.revisions, 'a2');
    const identified = { kind: 'identified', revisions: ['a2'] };
    expect((await look(scene)).verdict).toMatchObject(identified);
    const first = builds(scene);
    expect(first).toBeGreaterThan(0);
    expect((await look(scene)).verdict).toMatchObject(identified);
    expect(builds(scene)).toBe(first);

    const [name = ''] = await cached(scene);
    await writeFile(join(scene.backups, '.schemas', name), 'no gzip at all');
    expect((await look(scene)).verdict).toMatchObject(identified);
    expect(builds(scene)).toBe(2 * first);
    expect(scene.observed).toContainEqual(
      expect.objectContaining({ kind: 'note', message: expect.stringMatching(/built-.* can't be read: rm .*again/) }),
    );

    const script = join(scene.project.versionsDir, '0002_a2.py');
    await writeFile(script, (await readFile(script, 'utf8')).replace(`'email', sa.Text`, `'email', sa.String(80)`));
    expect((await look(scene)).verdict).toMatchObject({ kind: 'unknown' });
    expect(await cached(scene)).toHaveLength(2);
  });
});

describe('in the procedure', () => {
  test('a version table that is missing is refused with the revision that the schema is, and the command', async () => {
    await using scene = await createScene(16, { history: threeSteps });
    for (const revision of ['a2', 'a3', 'a2']) await scene.goTo(revision);
    await scene.query('DROP TABLE alembic_version');
    const content = await contentChecksum(scene.database.adminUrl);
    const { outcome } = await scene.goTo('a1');
    expect(said(outcome)).toMatch(
      /^stalled VersionTableMissing: .*exactly that of a2 \(as recorded when this database reached it; as in backup \S+; as its migrations make it from base\), and of no other revision that is known\. Nothing is stamped by itself\. If you agree, in \S+, with the database's URL in DATABASE_URL: alembic stamp a2; then: migration-target reconcile unicorn/,
    );
    expect(await contentChecksum(scene.database.adminUrl)).toBe(content);
    expect(await scene.databases()).toEqual([scene.database.name]);
    expect((await scene.status()).operation).toBeNull();

    // As it says.
    await alembic(scene.project, scene.database.url, 'stamp', 'a2');
    expect(said((await scene.reconcile({ kind: 'apply' })).outcome)).toMatch(/^ready Downgraded/);
    expect(await scene.version()).toBe('a1');
  });

  test('a version table with a revision that the scripts lack is refused likewise; alembic itself could only purge it', async () => {
    await using scene = await createScene(16, { history: threeSteps });
    await alembic(scene.project, scene.database.url, 'upgrade', 'a2');
    await scene.query(`UPDATE alembic_version SET version_num = 'zz'`);
    const { outcome } = await scene.goTo('a1');
    expect(said(outcome)).toMatch(
      /^stalled RevisionNotFound: .* is at zz, which the scripts don't have.*exactly that of a2 \(as its migrations make it from base\).*: alembic stamp --purge a2; then/,
    );
    expect(await scene.version()).toBe('zz');
    expect((await scene.status()).operation).toBeNull();
    await alembic(scene.project, scene.database.url, 'stamp', '--purge', 'a2');
    expect(said((await scene.reconcile({ kind: 'apply' })).outcome)).toMatch(/^ready Downgraded/);
  });

  test('a drifted schema is stamped by nobody: the nearest is named, and the commands', async () => {
    await using scene = await lost(threeSteps.revisions, 'a2');
    await scene.query('ALTER TABLE users ADD COLUMN hotfix integer');
    expect(said((await scene.goTo('a1')).outcome)).toMatch(
      /^stalled VersionTableMissing: .*Nearest is a2, from which it differs in 1 line \(left over: column public\.users\.hotfix .*Nothing is stamped on a guess\..*alembic stamp REVISION.*migration-target backups unicorn/,
    );
  });
});
