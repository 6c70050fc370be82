/** The whole procedure with every kind of env.py: to the head, two steps down, and up again, with every row. */
import { describe, expect, test } from '@jest/globals';
import type { OperationEvent } from '../../src/rollback/ports.ts';
import { describeInTurn } from '../support/in-turn.ts';
import { environments, type HistorySpec } from '../support/alembic.ts';
import { contentChecksum, inTurn, majors } from '../support/postgres.ts';
import { createScene, said, threeSteps } from '../support/scene.ts';

interface Flavour {
  readonly history: Omit<HistorySpec, 'revisions'>;
  readonly alembic?: Readonly<Record<string, unknown>>;
}

/** Refuses to run without its argument and its variable, as those of many tenants do. */
const tenantEnvPy = `
import os
from alembic import context
from sqlalchemy import create_engine
if (context.get_x_argument(as_dictionary=True)["tenant"], os.environ["APP_ENV"]) != ("a b=c", "production"):
    raise RuntimeError("the tenant is another")
with create_engine(os.environ["DATABASE_URL"]).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
`;

const flavours: readonly (readonly [string, Flavour])[] = [
  ...environments
    .filter((env) => env !== 'psycopg')
    .map((env) => [`the env.py "${env}"`, { history: { env } }] as const),
  ['a transaction for each migration', { history: { transactionPerMigration: true } }],
  [
    '-x arguments and variables of its own',
    {
      history: { envPy: tenantEnvPy },
      alembic: {
        databaseUrl: { env: 'DATABASE_URL', driver: 'postgresql+psycopg' },
        xArgs: { tenant: 'a b=c' },
        env: [{ name: 'APP_ENV', value: 'production' }],
      },
    },
  ],
];

describeInTurn('the procedure goes up, two steps down and up again with', (major, testOnce) => {
  testOnce('the env.py "psycopg"', () => expectUpDownUp(major, { history: { env: 'psycopg' } }));
});

describe('the procedure goes up, two steps down and up again with', () => {
  test.each(inTurn(flavours))('PostgreSQL %i: %s', (major, _, flavour) => expectUpDownUp(major, flavour));
});

async function expectUpDownUp(major: (typeof majors)[number], { history, alembic = {} }: Flavour): Promise<void> {
  await using scene = await createScene(major, {
    history: { ...threeSteps, ...history },
    spec: { policy: { dataLoss: 'Allow' }, alembic },
  });
  const table = `${scene.project.database.versionTableSchema ?? 'public'}.alembic_version`;
  const version = () => scene.query(`SELECT version_num FROM ${table}`);
  const users = `SELECT count(*)::int AS users, count(to_jsonb(u) -> 'email')::int AS emails FROM users u`;

  const up = await scene.goTo('a3');
  expect(said(up.outcome)).toMatch(/^ready Upgraded: /);
  expect(await version()).toEqual([{ version_num: 'a3' }]);
  expect(await scene.query(users)).toEqual([{ users: 1000, emails: 1000 }]);
  const atFirst = await contentChecksum(scene.database.adminUrl);

  const down = await scene.goTo('a1');
  expect(said(down.outcome)).toMatch(/^ready Downgraded: /);
  expect(await version()).toEqual([{ version_num: 'a1' }]);
  expect(await scene.query(users)).toEqual([{ users: 1000, emails: 0 }]);
  expect(down.status.lastBackup).toMatchObject({ revisions: ['a3'], verified: true });

  const again = await scene.goTo('a3');
  expect(said(again.outcome)).toMatch(/^ready Upgraded: /);
  expect(again.status.lastBackup).toMatchObject({ revisions: ['a1'], verified: true });
  expect(await contentChecksum(scene.database.adminUrl)).toBe(atFirst);
  expect(migrationsOf(scene.observed)).toEqual(['up a1', 'up a2', 'up a3', 'down a3', 'down a2', 'up a2', 'up a3']);
}

/** What was told of each migration as it ended, whatever env.py printed in between. */
function migrationsOf(observed: readonly OperationEvent[]): readonly string[] {
  return observed.flatMap((event) =>
    event.kind === 'migration' && event.event.kind === 'finished'
      ? [`${event.event.step.direction} ${event.event.step.revision}`]
      : [],
  );
}
