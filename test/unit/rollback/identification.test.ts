import { describe, expect, test } from '@jest/globals';

import {
  adviceFor,
  describeIdentity,
  judgeIdentity,
  stampCommand,
  type Candidate,
  type Identification,
  type Source,
} from '../../../src/rollback/identification.ts';
import type { BuiltSchemas, SchemaFacts } from '../../../src/rollback/model.ts';
import { history } from './histories.ts';

const schema = (lines: string, major = 16): SchemaFacts => ({
  major,
  lines: lines.split(' '),
  digest: `${major}:${lines}`,
});
const graph = history('a1', 'a2 < a1', 'a3 < a2');
const known = (by: Source, id: string, lines: string, major = 16): Candidate => ({
  by,
  backup: by === 'backup' ? `backup-${id}` : null,
  revisions: [id],
  schema: schema(lines, major),
});
const nothingUnbuilt: BuiltSchemas = { major: 16, schemas: [], unbuilt: [] };
const judge = (
  candidates: readonly Candidate[],
  { said = null, built = nothingUnbuilt }: { said?: readonly string[] | null; built?: BuiltSchemas } = {},
): Identification => judgeIdentity(schema('t u'), candidates, { graph, built, said });

const all = [known('built', 'a1', 't'), known('built', 'a2', 't u'), known('built', 'a3', 't u v')];
const alembic = {
  workingDir: '/app',
  config: 'alembic.ini',
  section: 'alembic',
  python: 'python3',
  xArgs: {},
  env: [],
  databaseUrl: { env: 'DATABASE_URL', driver: 'postgresql' },
};

describe('a schema', () => {
  test('is that of the one revision that has it, by all that says so, the strongest first', () => {
    const { verdict, notKnown } = judge([...all, known('backup', 'a2', 't u'), known('recorded', 'a2', 't u')]);
    expect(verdict).toMatchObject({
      kind: 'identified',
      revisions: ['a2'],
      by: 'recorded',
      match: {
        evidence: [{ by: 'recorded' }, { by: 'backup', backup: 'backup-a2' }, { by: 'built' }],
        inScripts: true,
      },
    });
    expect(notKnown).toEqual([]);
  });

  test.each<[string, Candidate]>([
    ['another revision has it too', known('built', 'a3', 't u')],
    ['one that the scripts no longer have has it too', known('recorded', 'zz', 't u')],
  ])('is no single one where %s', (_called, other) => {
    const { verdict } = judge([known('recorded', 'a2', 't u'), other]);
    expect(verdict).toMatchObject({
      kind: 'ambiguous',
      among: [{ revisions: ['a2'] }, { revisions: other.revisions }],
    });
  });

  test('that nobody has is told by those that differ least, each once', () => {
    const { verdict } = judge([
      known('built', 'a1', 'w x y'),
      known('built', 'a2', 't u v w'),
      known('recorded', 'a2', 't u v'),
      ...['b1', 'b2', 'b3', 'b4', 'b5'].map((id) => known('recorded', id, 'x y z')),
    ]);
    expect(verdict).toMatchObject({
      kind: 'unknown',
      nearest: [
        { revisions: ['a2'], by: 'recorded', differences: 1, difference: { missing: ['v'], unexpected: [] } },
        {},
        {},
        {},
        {},
      ],
    });
  });

  test('of another major is not compared', () => {
    expect(judge([known('recorded', 'a2', 't u', 15)]).verdict).toEqual({ kind: 'unknown', nearest: [] });
  });

  test('could be one whose own is not known: that is said, with why', () => {
    const because = 'upgrade of a3: no such table.';
    const found = judge(all.slice(0, 2), { built: { ...nothingUnbuilt, unbuilt: [{ revisions: ['a3'], because }] } });
    expect(found).toMatchObject({ notKnown: ['a3'], unbuilt: [{ because, revisions: [['a3']] }] });
    expect(describeIdentity(found)).toBe(
      "Its schema is exactly that of a2 (as its migrations make it from base), and of no other revision that is known. The schema at a3 is not known. It could be one of them as well. Base can't be built further: upgrade of a3: no such table.",
    );
  });
});

describe('what to do next', () => {
  const advice = (found: Identification): string => adviceFor(found, { name: 'unicorn', spec: { alembic }, graph });

  test.each<[string, Identification, RegExp]>([
    [
      'to stamp it, for who agrees',
      judge(all),
      /^Nothing is stamped by itself\. If you agree, in \/app, with the database's URL in DATABASE_URL: alembic stamp a2; then: migration-target reconcile unicorn$/,
    ],
    ['to purge what alembic could not read', judge(all, { said: ['zz'] }), /: alembic stamp --purge a2; then/],
    ['nothing where the version table says so', judge(all, { said: ['a2'] }), /^The version table says so too/],
    [
      'to deploy the scripts that have it',
      judge([known('recorded', 'zz', 't u')]),
      /^The scripts don't have zz: deploy/,
    ],
    [
      'to decide',
      judge([known('built', 'a1', 't')]),
      /^Nothing is stamped on a guess.*alembic stamp REVISION.*migration-target backups unicorn$/,
    ],
  ])('is %s', (_called, found, says) => {
    expect(advice(found)).toMatch(says);
  });

  test.each([
    [
      { config: 'pyproject.toml', section: 'unicorn', xArgs: { tenant: 'a b' } },
      `alembic -c pyproject.toml -n unicorn -x 'tenant=a b' stamp b1 b2`,
    ],
    [{ flaskApp: 'app:create_app' }, 'flask --app app:create_app db stamp b1 b2'],
  ])('is told with the settings that are declared: %j', (changes, command) => {
    expect(stampCommand({ alembic: { ...alembic, ...changes } }, ['b2', 'b1'], { purge: false }).command).toBe(command);
  });
});
