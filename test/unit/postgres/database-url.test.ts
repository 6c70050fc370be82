import { describe, expect, test } from '@jest/globals';

import { parseDatabaseUrl, refuseReservedName } from '../../../src/adapters/postgres/database-url.ts';
import { Failure } from '../../../src/rollback/errors.ts';

const parse = (url: string) => parseDatabaseUrl(url, 'spec.database.urlFrom');

function failureOf(work: () => unknown): Failure {
  try {
    work();
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('a database URL', () => {
  test.each([
    ['postgres://u:p@h/db', { host: 'h', port: 5432, user: 'u', password: 'p', database: 'db' }],
    ['postgresql+asyncpg://u:p@h:6000/db', { host: 'h', port: 6000, user: 'u', password: 'p', database: 'db' }],
    ['postgresql+psycopg2://u@h/db', { user: 'u', password: null }],
    ['postgresql://u:p%40%3A%2F%23%3F%25@h/db', { password: 'p@:/#?%' }],
    ['postgresql://u:p@h/x%20host%3Devil', { host: 'h', database: 'x host=evil' }],
    ['postgresql://u:p@h/a%22b%27c%20d%3De', { database: 'a"b\'c d=e' }],
    ['postgresql://u:p@h/a%2Fb', { database: 'a/b' }],
    ['postgresql://u:p@[::1]:5433/db', { host: '::1', port: 5433 }],
    ['postgresql://u:p@/db?host=/var/run/postgresql', { host: '/var/run/postgresql', database: 'db' }],
    ['postgresql://u:p@%2Fvar%2Frun%2Fpostgresql/db', { host: '/var/run/postgresql' }],
    [
      'postgresql://u:p@h/db?sslmode=require&target_session_attrs=read-write&application_name=x',
      { parameters: { sslmode: 'require' } },
    ],
    ['postgresql+asyncpg://u:p@h/db?ssl=verify-full', { parameters: { sslmode: 'verify-full' } }],
  ])('%s is read', (url, expected) => {
    expect(parse(url)).toMatchObject(expected);
  });

  test.each([
    ['is no URL of PostgreSQL', 'mysql://u:s3cret@h/db'],
    ['names no database', 'postgresql://u:s3cret@h'],
    ['names no user', 'postgresql://h/db'],
    ['holds a % that starts no encoding', 'postgresql://u:s3cret%zz@h/db'],
    ['holds a # in the password', 'postgresql://u:s3cret#x@h/db'],
    ['holds a / in the password', 'postgresql://u:12/s3cret@h/db'],
    ['holds a ? in the password', 'postgresql://u:s3cret?x@h/db'],
    ['ends in a line break', 'postgresql://u:s3cret%0A@h/db'],
    ['is broken into two lines', 'postgresql://u:s3\ncret@h/db'],
    ['names several hosts', 'postgresql://u:s3cret@h1,h2/db'],
    ['has no host', 'postgresql://u:s3cret@/db'],
    ...['host=evil', 'hostaddr=10.0.0.1', 'port=1', 'dbname=evil', 'user=evil', 'password=s3cret', 'service=evil'].map(
      (parameter) => [`is redirected by ${parameter}`, `postgresql://u:s3cret@h/db?${parameter}`],
    ),
  ])('that %s is refused, and its password is in no message', (_, url) => {
    const failure = failureOf(() => parse(url));
    expect(failure.reason).toBe('DatabaseUrlInvalid');
    expect(failure.message).toContain('spec.database.urlFrom');
    expect(failure.message).toContain('percent-encoded');
    expect(`${failure.message} ${String(failure.cause)}`).not.toContain('s3cret');
  });
});

test.each(['postgres', 'template0', 'template1', 'maintenance', 'x'.repeat(64), 'ü'.repeat(32)])(
  'the database name %s is refused',
  (name) => {
    expect(failureOf(() => refuseReservedName(name, 'maintenance')).reason).toBe('DatabaseNameRefused');
  },
);

test.each(['db', 'Postgres', 'x'.repeat(63)])('the database name %s is taken', (name) => {
  expect(() => refuseReservedName(name, 'maintenance')).not.toThrow();
});
