/** A real history: Buildbot's begins with tables that no migration makes, so base leads nowhere. */
import { join } from 'node:path';

import { expect, test } from '@jest/globals';

import { runOrThrow } from '../../../scripts/lib/run.ts';
import { identify } from '../../../src/rollback/identify.ts';
import { buildbotPython } from '../../support/alembic.ts';
import { createScene, said } from '../../support/scene.ts';

/** As Buildbot's own upgrade leaves a new database: made at once, and stamped. */
const create = `
import sys
from alembic import command
from alembic.config import Config
from buildbot.db.model import Model
from sqlalchemy import create_engine, make_url
url = make_url(sys.argv[1]).set(drivername="postgresql+psycopg")
Model.metadata.create_all(create_engine(url))
config = Config(sys.argv[2])
config.set_main_option("sqlalchemy.url", url.render_as_string(hide_password=False).replace("%", "%%"))
command.stamp(config, "066")
`;

async function migrationsOf(python: string): Promise<string> {
  const { stdout } = await runOrThrow(python, ['-c', 'import buildbot.db; print(buildbot.db.__path__[0])']);
  return join(stdout.trim(), 'migrations');
}

test('is told by what was recorded of it, where its base can not be built', async () => {
  const python = await buildbotPython('4.3.0');
  const workingDir = await migrationsOf(python);
  await using scene = await createScene(16, {
    name: 'buildbot',
    history: { revisions: [] },
    spec: {
      policy: { dataLoss: 'Allow' },
      alembic: {
        python,
        workingDir,
        databaseUrl: { env: null, option: 'sqlalchemy.url', driver: 'postgresql+psycopg' },
      },
    },
  });
  const older = await buildbotPython('4.2.1');
  await runOrThrow(older, ['-c', create, scene.database.url, join(await migrationsOf(older), 'alembic.ini')]);
  const look = async () => (await identify(await scene.target(), scene.ports, new AbortController().signal)).found;

  const before = await look();
  expect(before.verdict.kind).toBe('unknown');
  expect(before.unbuilt).toEqual([
    {
      because: expect.stringMatching(/^upgrade of 060: .*"builders" does not exist.*SQLSTATE 42P01/),
      revisions: expect.anything(),
    },
  ]);
  expect(before.notKnown).toContain('066');

  expect(said((await scene.goTo('067')).outcome)).toMatch(/^ready Upgraded/);
  await scene.query('DROP TABLE alembic_version');
  expect((await look()).verdict).toMatchObject({ kind: 'identified', revisions: ['067'], by: 'recorded' });
  expect(said((await scene.goTo('066')).outcome)).toMatch(
    /^stalled VersionTableMissing: .*exactly that of 067 \(as recorded when this database reached it\).*The schema at 060, 061.* not known\. It could be one of them as well\. Base can't be built further: upgrade of 060/s,
  );
});
