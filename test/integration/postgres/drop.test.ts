import { expect, test } from '@jest/globals';

import { databaseUrl, query, startOwnServer } from '../../support/postgres.ts';
import { createDatabases } from '../../../src/adapters/postgres/index.ts';

test('a scratch database is dropped by an ordinary role while the server vacuums it', async () => {
  const server = await startOwnServer(16, {
    autovacuum_naptime: '1s',
    autovacuum_vacuum_cost_delay: '100ms',
    autovacuum_vacuum_cost_limit: '1',
  });
  try {
    const admin = server.superuserUrl;
    await query(admin, `CREATE ROLE unicorn LOGIN PASSWORD 'unicorn' CREATEDB`);
    await query(admin, 'CREATE DATABASE unicorn_db OWNER unicorn');
    const url = server.url('unicorn_db', 'unicorn', 'unicorn');
    await using live = await createDatabases({ toolDirectories: [server.binDir] }).open({
      url,
      adminUrl: null,
      maintenanceDatabase: 'postgres',
      versionTable: { schema: 'public', name: 'alembic_version' },
      lockTimeoutSeconds: 5,
      operationId: 'op1',
      place: null,
    });
    const scratch = await live.newDatabase('scratch', 'op1');
    await live.createDatabase(scratch, 'scratch');
    const inside = databaseUrl(admin, { database: scratch.name });
    await query(inside, `CREATE TABLE t AS SELECT g FROM generate_series(1, 200000) g; DELETE FROM t WHERE g % 2 = 0`);
    const vacuums = async (): Promise<boolean> =>
      (
        await query(
          admin,
          `SELECT 1 FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'autovacuum worker' AND query LIKE '%public.t%'`,
          [scratch.name],
        )
      ).length > 0;
    while (!(await vacuums())) await new Promise((resolve) => setTimeout(resolve, 50));
    expect(await live.dropDatabase(scratch)).toBe(true);
    expect(await query(admin, 'SELECT 1 FROM pg_database WHERE datname = $1', [scratch.name])).toEqual([]);
  } finally {
    await server.stop();
  }
});
