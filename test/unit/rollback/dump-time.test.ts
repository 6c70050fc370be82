import { describe, expect, test } from '@jest/globals';
import { databaseInName, dumpTime } from '../../../src/rollback/dump-time.ts';

const now = new Date(2026, 5, 15, 12, 0, 0);
const written = new Date(2026, 5, 14, 3, 0, 0);

describe('the time of a dump', () => {
  test.each(['unicorn_db_20260613_235901.sql', 'unicorn-db-20260613-235901.sql.gz', 'unicorn.20260613T235901.dump'])(
    'is what its name says, as local time: %s',
    (name) => expect(dumpTime(name, written, now)).toEqual({ at: new Date(2026, 5, 13, 23, 59, 1), because: null }),
  );

  test.each([
    ['unicorn_db.sql', /tells no time, so/],
    ['unicorn_db_20260231_120000.sql', /no time that can be \(20260231 120000\)/],
    ['unicorn_db_20260613_250000.sql', /no time that can be/],
    ['unicorn_db_19600101_000000.sql', /no time that can be/],
    ['unicorn_db_20270101_000000.sql', /a time to come \(20270101 000000\)/],
    ['unicorn_db_20260615_110000.sql', /older than its name says/],
  ])('is when it was last written where its name says none that can be: %s', (name, because) => {
    const time = dumpTime(name, written, now);
    expect(time.at).toEqual(written);
    expect(time.because).toMatch(because);
  });
});

test.each([
  ['unicorn_db_20260613_235901.sql', 'unicorn_db'],
  ['a_20260101_b_20260613_235901.sql', 'a_20260101_b'],
  ['unicorn_db.sql', null],
  ['20260613_235901.sql', null],
])('the database in the name %s is %s', (name, database) => expect(databaseInName(name)).toBe(database));
