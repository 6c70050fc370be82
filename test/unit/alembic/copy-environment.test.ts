import { describe, expect, test } from '@jest/globals';
import { copyEnvironment, urlOfCopy } from '../../../src/adapters/alembic/copy-environment.ts';

const here = { insteadOf: 'shop', database: 'shop__s1', url: null };
const apart = {
  insteadOf: 'shop',
  database: 'copy',
  url: 'postgresql://me:p%40ss@pg:5433/postgres?sslmode=require&sslrootcert=/ca',
};

describe('the URL of a copy', () => {
  test.each([
    [
      'postgresql://a:b%40@h:1/shop?sslmode=require&options=-c%20a%3Db',
      'postgresql://a:b%40@h:1/shop__s1?sslmode=require&options=-c%20a%3Db',
    ],
    ['postgres://h', 'postgres://h/shop__s1'],
    ['postgresql://h/?dbname=shop&sslmode=require', 'postgresql://h/shop__s1?sslmode=require'],
    ['postgresql:///shop?host=/var/run', 'postgresql:///shop__s1?host=/var/run'],
  ])('%s', (live, expected) => {
    expect(urlOfCopy(live, here)).toBe(expected);
    expect(urlOfCopy(live, apart)).toBe('postgresql://me:p%40ss@pg:5433/copy?sslmode=require&sslrootcert=/ca');
  });
});

describe('the environment of a rehearsal', () => {
  const live = 'postgresql://a:b@h/shop';

  test('names the copy where it named the live database, and says nothing else anew', () => {
    const declared = {
      DATABASE_URL: 'postgresql+asyncpg://a:b@h/shop?ssl=require',
      REPORTS_URL: 'postgresql://a:b@h/reports',
      REDIS_URL: 'redis://h/shop',
      SHOP: 'shop',
      PGHOST: 'h',
    };
    expect(copyEnvironment(declared, live, here)).toEqual({
      ...declared,
      DATABASE_URL: 'postgresql+asyncpg://a:b@h/shop__s1?ssl=require',
      PGDATABASE: 'shop__s1',
    });
  });

  test.each([
    ['shop', 'shop__s1'],
    ['reports', 'reports'],
  ])('PGDATABASE=%s', (declared, expected) => {
    expect(copyEnvironment({ PGDATABASE: declared }, live, here)).toEqual({ PGDATABASE: expected });
  });

  test('of a copy on another server says nothing any more of where the live one is', () => {
    const declared = {
      DATABASE_URL: 'postgresql+asyncpg://a:b@h/shop',
      PGHOST: 'h',
      PGSERVICE: 'shop',
      PGPASSFILE: '/pass',
      PGOPTIONS: '-c a=b',
    };
    expect(copyEnvironment(declared, live, apart)).toEqual({
      DATABASE_URL: 'postgresql+asyncpg://me:p%40ss@pg:5433/copy?ssl=require',
      PGOPTIONS: '-c a=b',
      PGDATABASE: 'copy',
      PGHOST: 'pg',
      PGPORT: '5433',
      PGUSER: 'me',
      PGPASSWORD: 'p@ss',
      PGSSLMODE: 'require',
      PGSSLROOTCERT: '/ca',
    });
  });
});
