/** Migrations that nobody should have written: what they do they do on the copy, and it is told. */
import { expect, test } from '@jest/globals';

import { contentChecksum, inTurn } from '../../support/postgres.ts';
import { createScene, said, threeSteps } from '../../support/scene.ts';

const drop = `op.drop_index('users_email')`;

const hindered: readonly (readonly [string, string, RegExp])[] = [
  ['hangs', `import time\ntime.sleep(3600)`, /^stalled TimedOut: .*downgrade of a3.*versions\/0003_a3\.py:\d+/s],
  [
    'exits with 0',
    `import sys\nsys.exit(0)`,
    /^stalled RehearsalFailed: On a copy of .*downgrade of a3: sys\.exit\(0\) was called\. At migrations\/versions\/0003_a3\.py:\d+/s,
  ],
  [
    'drops the version table',
    `op.execute('DROP TABLE alembic_version')`,
    /^stalled RehearsalFailed: On a copy of .*alembic_version/s,
  ],
  [
    'deletes rows over a connection of its own, which is led to the copy too',
    `import os, psycopg\nwith psycopg.connect(os.environ['DATABASE_URL'], autocommit=True) as own:\n    own.execute('DELETE FROM users WHERE id <= 10')\n${drop}`,
    /^awaitingApproval .*10 rows in 1 table: public\.users \(10 rows of 1,000 go\)/s,
  ],
  [
    'commits a loss by itself',
    `op.execute('DELETE FROM users WHERE id <= 10')\nop.execute('COMMIT')\n${drop}`,
    /^awaitingApproval .*10 rows in 1 table: public\.users \(10 rows of 1,000 go\)/s,
  ],
];

test.each(inTurn(hindered))(
  'PostgreSQL %i: a downgrade() that %s: the database is as it was, and nothing is left behind',
  async (major, _, downgrade, told) => {
    const revisions = threeSteps.revisions.map((revision) =>
      revision.id === 'a3' ? { ...revision, downgrade } : revision,
    );
    await using scene = await createScene(major, { history: { revisions } });
    await scene.goTo('a3');
    const before = await contentChecksum(scene.database.adminUrl);
    const policy = { rehearsal: 'Always', dataLoss: 'RequireApproval' };
    const { outcome, status } = await scene.goTo('a2', { policy, timeout: '20s' });
    expect(said(outcome)).toMatch(told);
    expect(await contentChecksum(scene.database.adminUrl)).toBe(before);
    expect(await scene.databases()).toEqual([scene.database.name]);
    expect(status.operation).toBeNull();
  },
);

test.each(
  inTurn([
    ['forks', `import os\nchild = os.fork()\nif child == 0:\n    os._exit(0)\nos.waitpid(child, 0)\n${drop}`],
    [
      'prints what looks like an answer to us',
      `print('{"result": {"ok": true}}', flush=True)\nprint('{"kind": "finished", "index": 0}')\n${drop}`,
    ],
  ]),
)('PostgreSQL %i: a downgrade() that %s is tried and run like any other', async (major, _, downgrade) => {
  const revisions = threeSteps.revisions.map((revision) =>
    revision.id === 'a3' ? { ...revision, downgrade } : revision,
  );
  await using scene = await createScene(major, { history: { revisions } });
  await scene.goTo('a3');
  const policy = { rehearsal: 'Always', dataLoss: 'RequireApproval' };
  expect(said((await scene.goTo('a2', { policy })).outcome)).toMatch(/^ready Downgraded: /);
  expect(await scene.version()).toBe('a2');
});
