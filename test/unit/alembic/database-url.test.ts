import { describe, expect, test } from '@jest/globals';
import { secretsOfUrl, urlForDriver } from '../../../src/adapters/alembic/database-url.ts';

describe('a URL for a driver', () => {
  test.each([
    ['postgresql', 'postgres://a:b@h/d', 'postgresql://a:b@h/d', {}],
    [
      'postgresql+psycopg',
      'postgresql://a:b%40@h:1/d?sslmode=verify-full&sslrootcert=/x&options=-c%20a%3Db',
      'postgresql+psycopg://a:b%40@h:1/d?sslmode=verify-full&sslrootcert=/x&options=-c%20a%3Db',
      {},
    ],
    ['postgresql+psycopg2', 'postgresql:///d?host=/var/run', 'postgresql+psycopg2:///d?host=/var/run', {}],
    ['postgresql+asyncpg', 'postgresql+psycopg://a@h/d?sslmode=require', 'postgresql+asyncpg://a@h/d?ssl=require', {}],
    [
      'postgresql+asyncpg',
      'postgresql://a@h/d?sslmode=verify-ca&sslrootcert=%2Fetc%2Fca&sslcert=/c&sslkey=/k',
      'postgresql+asyncpg://a@h/d?ssl=verify-ca',
      { PGSSLROOTCERT: '/etc/ca', PGSSLCERT: '/c', PGSSLKEY: '/k' },
    ],
    [
      'postgresql+asyncpg',
      'postgresql://a@/d?host=/var/run&connect_timeout=5&application_name=x&channel_binding=prefer',
      'postgresql+asyncpg://a@/d?host=/var/run',
      {},
    ],
    ['postgresql+psycopg', 'postgresql://a:b%40@h/c%20d%3De%25%2F', 'postgresql+psycopg://a:b%40@h/c d=e%/', {}],
    ['postgresql', 'postgresql://a@h/c%3Fd', 'postgresql://a@h/?dbname=c%3Fd', {}],
    ['postgresql+asyncpg', 'postgresql://a@h/c%3Fd', 'postgresql+asyncpg://a@h/?database=c%3Fd', {}],
    ['postgresql+pg8000', 'postgresql://a@h/c%3Fd', 'postgresql+pg8000://a@h/?database=c%3Fd', {}],
    ['postgresql+pg8000', 'postgresql://a@h/d?sslmode=prefer&connect_timeout=3', 'postgresql+pg8000://a@h/d', {}],
  ])('%s of %s', (driver, url, expected, env) => {
    expect(urlForDriver(url, driver)).toEqual({ url: expected, env });
  });

  test.each([
    ['postgresql+asyncpg', 'postgresql://a:hidden@h/d?options=-c%20search_path%3Dx', 'options'],
    ['postgresql+asyncpg', 'postgresql://a:hidden@h/d?channel_binding=require', 'channel_binding'],
    ['postgresql+pg8000', 'postgresql://a:hidden@h/d?sslmode=verify-full', 'sslmode'],
    ['postgresql', 'mysql://a:hidden@h/d', 'postgresql://'],
  ])('%s can’t be told %s: refused, not dropped', (driver, url, named) => {
    const refusal = (): unknown => urlForDriver(url, driver);
    expect(refusal).toThrow(
      expect.objectContaining({ reason: 'DatabaseUrlInvalid', message: expect.stringContaining(named) }),
    );
    expect(refusal).toThrow(expect.objectContaining({ message: expect.not.stringContaining('hidden') }));
  });

  test.each([
    ['postgresql://a:b%40c@h/d', ['b%40c', 'b@c']],
    ['postgresql://a@h/d?password=x%2Fy&a=b', ['x%2Fy', 'x/y']],
    ['postgresql://a:100%@h/d', ['100%', '100%']],
    ['postgresql://a@h/d', []],
  ])('the secrets of %s', (url, secrets) => {
    expect(secretsOfUrl(url)).toEqual(secrets);
  });
});
