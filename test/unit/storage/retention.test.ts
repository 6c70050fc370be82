import { describe, expect, test } from '@jest/globals';
import type { BackupManifest } from '../../../src/rollback/model.ts';
import { chooseFallback, expired } from '../../../src/rollback/retention.ts';
import { database, manifestOf } from './samples.ts';

const now = new Date('2026-03-01T12:00:00Z');
const hoursAgo = (hours: number): string => new Date(now.getTime() - hours * 3_600_000).toISOString();

/** A backup of some hours ago, kept for a day, verified unless said otherwise. */
function backup(id: string, age: number, change: Partial<BackupManifest> = {}): BackupManifest {
  const moment = hoursAgo(age);
  const times = { startedAt: moment, finishedAt: moment, verifiedAt: moment, keptUntil: hoursAgo(age - 24) };
  return manifestOf({ id, ...times, revisions: ['a1'], ...change });
}

const day = { minAgeSeconds: 86_400, minCount: 0 };
const elsewhere = { ...database, systemIdentifier: '1' };
const ids = (backups: readonly BackupManifest[]): string[] => backups.map(({ id }) => id);

describe('the backups that have had their time', () => {
  const newest = backup('newest', 1);
  const cases: readonly {
    readonly name: string;
    readonly backups: readonly BackupManifest[];
    readonly policy?: typeof day;
    readonly protectedIds?: readonly string[];
    readonly gone: readonly string[];
  }[] = [
    { name: 'are none where there are no backups', backups: [], gone: [] },
    {
      name: 'are those beyond the minimal age, oldest first',
      backups: [newest, backup('old', 25), backup('older', 48), backup('young', 23)],
      gone: ['older', 'old'],
    },
    {
      name: 'are none among the newest few, however old those are',
      backups: [backup('a', 100), backup('b', 200), backup('c', 300), backup('d', 400)],
      policy: { minAgeSeconds: 60, minCount: 3 },
      gone: ['d'],
    },
    {
      name: 'are none that a manifest promised to keep longer than the policy now says',
      backups: [newest, backup('promised', 48, { keptUntil: hoursAgo(-1) })],
      gone: [],
    },
    {
      name: 'are none while the policy now says longer than a manifest promised',
      backups: [newest, backup('old', 48)],
      policy: { minAgeSeconds: 3 * 86_400, minCount: 0 },
      gone: [],
    },
    {
      name: 'never include the newest verified one at a revision, which a fallback could still need',
      backups: [newest, backup('b2', 500, { revisions: ['b2'] }), backup('b2 before', 600, { revisions: ['b2'] })],
      gone: ['b2 before'],
    },
    {
      name: 'never include the newest one that its schema alone tells the revision of',
      backups: [
        newest,
        backup('by schema', 500, { revisions: null, identified: ['b2'] }),
        backup('before', 600, { revisions: null, identified: ['b2'] }),
        backup('unknown', 700, { revisions: null }),
      ],
      gone: ['unknown', 'before'],
    },
    {
      name: 'never include the newest verified one at several heads, in whatever order they were read',
      backups: [newest, backup('ab', 500, { revisions: ['a', 'b'] }), backup('ba', 600, { revisions: ['b', 'a'] })],
      gone: ['ba'],
    },
    {
      name: 'never include the newest verified one at base, which is a revision too',
      backups: [newest, backup('base', 500, { revisions: [] })],
      gone: [],
    },
    {
      name: 'include one without a version table, since nobody can declare where it is',
      backups: [newest, backup('lost', 500, { revisions: null })],
      gone: ['lost'],
    },
    {
      name: 'never include one because a newer one at its revision was not verified',
      backups: [
        newest,
        backup('b2', 500, { revisions: ['b2'] }),
        backup('unverified', 30, { revisions: ['b2'], verifiedAt: null }),
      ],
      gone: ['unverified'],
    },
    {
      name: 'never include a verified one because failed attempts outnumber it',
      backups: [
        ...[1, 2, 3].map((age) => backup(`failed ${age}`, age, { verifiedAt: null })),
        backup('x', 90),
        backup('y', 91),
        backup('z', 92),
      ],
      policy: { minAgeSeconds: 0, minCount: 2 },
      gone: ['z'],
    },
    {
      name: 'never include the newest verified one of another database that the target once had',
      backups: [
        newest,
        backup('elsewhere', 500, { database: elsewhere }),
        backup('elsewhere before', 600, { database: elsewhere }),
      ],
      gone: ['elsewhere before'],
    },
    {
      name: 'never include what something names',
      backups: [newest, backup('named', 500), backup('other', 600)],
      protectedIds: ['named'],
      gone: ['other'],
    },
    {
      name: 'are none where the clock went backwards',
      backups: [backup('of tomorrow', -24), backup('of the day after', -48)],
      gone: [],
    },
  ];

  test.each(cases)('$name', ({ backups, policy = day, protectedIds = [], gone }) => {
    expect(ids(expired(backups, policy, now, new Set(protectedIds)))).toEqual(gone);
    expect(ids(expired(backups.toReversed(), policy, now, new Set(protectedIds)))).toEqual(gone);
  });

  test('leave one for each revision after any number of operations, so that the folder stays bounded', () => {
    const many = Array.from({ length: 300 }, (_, index) =>
      backup(`b${index}`, 100 + index, { revisions: [`r${index % 7}`] }),
    );
    const gone = expired(many, { minAgeSeconds: 86_400, minCount: 3 }, now, new Set());
    expect(many.length - gone.length).toBe(7);
  });

  test('never include the one that a fallback would take', () => {
    const backups = ['a1', 'b2', 'c3'].flatMap((revision, index) =>
      [1000, 2000, 3000].map((age) => backup(`${revision} ${age}`, age + index, { revisions: [revision] })),
    );
    const gone = new Set(ids(expired(backups, day, now, new Set())));
    const taken = ['a1', 'b2', 'c3'].map((revision) => chooseFallback(backups, [revision], database, 16));
    expect(taken.map((it) => it.kind === 'backup' && gone.has(it.backup.id))).toEqual([false, false, false]);
    expect(gone.size).toBe(6);
  });
});

describe('the fallback', () => {
  const choose = (backups: readonly BackupManifest[], desired: readonly string[] = ['a1']) =>
    chooseFallback(backups, desired, database, 16);

  test('takes the newest verified backup at exactly the desired revision, whatever the order of the list', () => {
    const backups = [
      backup('old', 30),
      backup('newest', 20),
      backup('at another', 10, { revisions: ['b2'] }),
      backup('unverified', 5, { verifiedAt: null }),
    ];
    expect(choose(backups)).toEqual({ kind: 'backup', backup: backups[1] });
    expect(choose(backups.toReversed())).toEqual({ kind: 'backup', backup: backups[1] });
  });

  test('takes one at several heads as a set', () => {
    const both = backup('both', 30, { revisions: ['b', 'a'] });
    expect(choose([both], ['a', 'b'])).toEqual({ kind: 'backup', backup: both });
  });

  test('takes one at base where base is desired', () => {
    const base = backup('base', 30, { revisions: [] });
    expect(choose([base], [])).toEqual({ kind: 'backup', backup: base });
  });

  test('takes one of the same database after a restore gave that another oid', () => {
    const before = backup('before', 30, { database: { ...database, oid: 99 } });
    expect(choose([before])).toEqual({ kind: 'backup', backup: before });
  });

  const unfit: readonly (readonly [string, Partial<BackupManifest>, string])[] = [
    ['that was never verified', { verifiedAt: null }, 'it was never verified'],
    ['at another revision', { revisions: ['b2'] }, 'it is at b2 and not at a1'],
    ['at more heads', { revisions: ['b2', 'a1'] }, 'it is at a1, b2 and not at a1'],
    ['at base', { revisions: [] }, 'it is at base and not at a1'],
    ['without a version table', { revisions: null }, 'it has no version table, so its revision is unknown'],
    [
      'of another server',
      { database: elsewhere },
      'it is of another server (system identifier 1 and not 7300000000000000001)',
    ],
    [
      'of another database',
      { database: { ...database, name: 'other' } },
      'it is of the database other and not unicorn_db',
    ],
    [
      'of another major version',
      { server: { version: '15.8', major: 15 } },
      "it is of PostgreSQL 15 and the server is 16, so its schema can't be compared",
    ],
  ];

  test.each(unfit)('takes none %s, and says why', (_name, change, because) => {
    expect(choose([backup('b', 30, change)])).toEqual({ kind: 'none', rejected: [{ id: 'b', because }] });
  });

  test('takes none where there is none', () => {
    expect(choose([])).toEqual({ kind: 'none', rejected: [] });
  });
});

test('a backup without a version table is a fallback where its schema tells its revision, and only then', () => {
  const known = backup('known', 2, { revisions: null, identified: ['a1'] });
  const unknown = backup('unknown', 1, { revisions: null });
  expect(chooseFallback([unknown, known], ['a1'], database, 16)).toEqual({ kind: 'backup', backup: known });
  expect(chooseFallback([unknown, known], ['b2'], database, 16)).toEqual({
    kind: 'none',
    rejected: [
      { id: 'unknown', because: 'it has no version table, so its revision is unknown' },
      { id: 'known', because: 'it is at a1 and not at b2' },
    ],
  });
});
