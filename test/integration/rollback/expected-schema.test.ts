/** A revision that the database was never seen at: its schema is told by what the migrations make from base, or not at all. */
import { expect, test } from '@jest/globals';

import { alembic, sql, type Revision } from '../../support/alembic.ts';
import { contentChecksum } from '../../support/postgres.ts';
import { createScene, said, type Scene } from '../../support/scene.ts';

const first: Revision = {
  id: 'a1',
  up: `op.create_table('users', sa.Column('id', sa.Integer, primary_key=True))`,
  downgrade: `op.drop_table('users')`,
};

/** At the newest revision by alembic alone, so that nothing of it is recorded. */
async function sceneAt(revisions: readonly Revision[], before = ''): Promise<Scene> {
  const scene = await createScene(16, {
    history: { revisions },
    spec: { policy: { dataLoss: 'Allow', rehearsal: 'Always' } },
    ...(before === '' ? {} : { database: { sql: before } }),
  });
  await alembic(scene.project, scene.database.url, 'upgrade', 'head');
  return scene;
}

const notes = (scene: Scene): readonly string[] =>
  scene.observed.flatMap((event) => (event.kind === 'note' ? [event.message] : []));

const idle: Revision = { id: 'a2', up: sql('ALTER TABLE users ADD COLUMN email text'), downgrade: 'pass' };

test('a downgrade that is pass did not move the schema, and base leads to another one: it is refused on the copy', async () => {
  await using scene = await sceneAt([first, idle]);
  const content = await contentChecksum(scene.database.adminUrl);
  expect(said((await scene.goTo('a1')).outcome)).toMatch(
    /^stalled RehearsalFailed: .*the schema did not move at all, and is not the one of a1 as its migrations make it from base \(left over: column public\.users\.email text\)/,
  );
  expect(await contentChecksum(scene.database.adminUrl)).toBe(content);
  expect(await scene.databases()).toEqual([scene.database.name]);
});

test('a downgrade that leaves something behind ends elsewhere than base leads to', async () => {
  const leaving: Revision = {
    id: 'a2',
    up: sql(`CREATE TYPE mood AS ENUM ('sad'); ALTER TABLE users ADD COLUMN mood mood`),
    downgrade: sql('ALTER TABLE users DROP COLUMN mood'),
  };
  await using scene = await sceneAt([first, leaving]);
  expect(said((await scene.goTo('a1')).outcome)).toMatch(
    /^stalled RehearsalFailed: .*the schema is not the one of a1 as its migrations make it from base \(left over: .*public\.mood/,
  );
});

test('a downgrade of data alone is pass for good reason: base leads to the very same schema', async () => {
  const data: Revision = {
    id: 'a2',
    up: sql('INSERT INTO users VALUES (1) ON CONFLICT DO NOTHING'),
    downgrade: 'pass',
  };
  await using scene = await sceneAt([first, data]);
  expect(said((await scene.goTo('a1')).outcome)).toMatch(/^ready Downgraded: /);
  expect(notes(scene)).toEqual([]);
});

test('where base can not be built it is unknown, and said so; it is no fault', async () => {
  const byHand: Revision = {
    id: 'a2',
    up: sql('ALTER TABLE made_by_hand ADD COLUMN x int'),
    downgrade: sql('ALTER TABLE made_by_hand DROP COLUMN x'),
  };
  await using scene = await sceneAt([first, byHand], 'CREATE TABLE made_by_hand (id int)');
  expect(said((await scene.goTo('a1')).outcome)).toMatch(/^ready Downgraded: /);
  expect(notes(scene)).toEqual([
    expect.stringMatching(
      /^The database was never seen at a1 before: .*can't be told\. Nor can it be built from base to compare with: upgrade of a2: .*made_by_hand.*\. Compare it by hand\.$/,
    ),
  ]);
});

test('where base leads elsewhere than the database came, nothing is held against it', async () => {
  await using scene = await sceneAt([first, idle]);
  await scene.query('ALTER TABLE users ADD COLUMN hotfix int');
  expect(said((await scene.goTo('a1')).outcome)).toMatch(/^ready Downgraded: /);
  expect(notes(scene)[0]).toMatch(
    /^downgrade\(\) of a2 does nothing, and the database was never seen at a1 before: .*it did not move\. Nor .*at a2 base leads elsewhere than to the schema that the database had \(left over: column public\.users\.hotfix integer\)/,
  );
});
