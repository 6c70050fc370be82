import { expect, test } from '@jest/globals';

import { databaseFailure, isConnectionLost } from '../../../src/adapters/postgres/connect-errors.ts';

const subject = { where: 'app@db:5432/unicorn', role: 'app', database: 'unicorn' };

test.each([
  ['28P01', 'password authentication failed for user "app"', 'AuthenticationFailed', 'stalled', 'reconcile NAME'],
  ['28000', 'no pg_hba.conf entry for host', 'AuthenticationFailed', 'stalled', 'pg_hba.conf'],
  ['3D000', 'database "unicorn" does not exist', 'DatabaseNotFound', 'stalled', 'createdb "unicorn"'],
  ['57P03', 'the database system is starting up', 'DatabaseUnreachable', 'retry', 'psql as app@db:5432/unicorn'],
  ['57P01', 'terminating connection due to administrator command', 'DatabaseUnreachable', 'retry', 'psql'],
  ['ECONNREFUSED', 'connect ECONNREFUSED 127.0.0.1:1', 'DatabaseUnreachable', 'retry', 'psql'],
  ['ENOTFOUND', 'getaddrinfo ENOTFOUND db', 'DatabaseUnreachable', 'retry', 'psql'],
  ['53300', 'sorry, too many clients already', 'DatabaseUnreachable', 'retry', 'no connection'],
  ['25006', 'cannot execute INSERT in a read-only transaction', 'DatabaseReadOnly', 'stalled', 'primary'],
  ['42501', 'permission denied to create database', 'PermissionDenied', 'stalled', 'ALTER ROLE "app" CREATEDB'],
  ['42501', 'permission denied for table t', 'PermissionDenied', 'stalled', 'adminUrlFrom'],
  ['42501', 'query would be affected by row-level security policy for table "t"', 'RowsHidden', 'stalled', 'BYPASSRLS'],
  ['55P03', 'canceling statement due to lock timeout', 'LockTimedOut', 'retry', 'pg_stat_activity'],
  ['55006', 'database "unicorn" is being accessed by other users', 'SwapBlocked', 'stalled', 'pg_stat_activity'],
  [
    '55000',
    'database "unicorn" is not currently accepting connections',
    'DatabaseUnreachable',
    'retry',
    'ALLOW_CONNECTIONS',
  ],
  ['08P01', 'unsupported startup parameter: options', 'PoolerRefused', 'stalled', "server's own host and port"],
  ['XX000', 'unexpected', 'InternalError', 'stalled', "controller's log"],
])('SQLSTATE or errno %s (%s) is %s', (code, message, reason, kind, next) => {
  const failure = databaseFailure(Object.assign(new Error(message), { code }), subject, 'Connecting');
  expect({ reason: failure.reason, kind: failure.kind }).toEqual({ reason, kind });
  expect(failure.message).toContain('app@db:5432/unicorn');
  expect(failure.message).toContain(next);
  expect(failure.cause).toBeInstanceOf(Error);
});

test('a session that ended without a word is a lost connection', () => {
  expect(isConnectionLost(new Error('Connection terminated unexpectedly'))).toBe(true);
  expect(isConnectionLost(Object.assign(new Error('syntax error'), { code: '42601' }))).toBe(false);
});
