import { describe, expect, test } from '@jest/globals';
import { lendDatabase } from '../../../src/cli/lend-database.ts';
import type { Databases, DatabaseSettings, LiveDatabase } from '../../../src/rollback/ports.ts';

/** Databases that only note what was opened, and what was closed. */
function recorder() {
  const opened: DatabaseSettings[] = [];
  const closed: number[] = [];
  const none = (): never => {
    throw new Error('nobody asked for it');
  };
  const databases: Databases = {
    openScratchServer: none,
    openCheckServer: none,
    open: async (settings) => {
      const number = opened.push(settings);
      return { [Symbol.asyncDispose]: async () => void closed.push(number) } as Partial<LiveDatabase> as LiveDatabase;
    },
  };
  return { databases, opened, closed };
}

const asking = (operationId: string): DatabaseSettings => ({
  url: 'postgresql://a',
  adminUrl: null,
  maintenanceDatabase: 'postgres',
  versionTable: { schema: 'public', name: 'alembic_version' },
  lockTimeoutSeconds: 5,
  operationId,
  place: null,
});

describe('a lent connection', () => {
  test('outlives who opened it, and serves the operation of the same id, who closes it', async () => {
    const { databases, opened, closed } = recorder();
    await using lent = lendDatabase(databases);
    await (await lent.lender.open(asking('a')))[Symbol.asyncDispose]();
    expect(closed).toEqual([]);

    const inherited = await lent.heir.open(asking('a'));
    expect(opened).toHaveLength(1);
    await inherited[Symbol.asyncDispose]();
    expect(closed).toEqual([1]);
  });

  test('is handed on once: who tries again gets a new one', async () => {
    const { databases, opened } = recorder();
    await using lent = lendDatabase(databases);
    await lent.lender.open(asking('a'));
    await lent.heir.open(asking('a'));
    await lent.heir.open(asking('a'));
    expect(opened).toHaveLength(2);
  });

  test('is closed, and not handed on, where anything else is asked for', async () => {
    const { databases, opened, closed } = recorder();
    await using lent = lendDatabase(databases);
    await lent.lender.open(asking('a'));
    await lent.heir.open({ ...asking('a'), url: 'postgresql://b' });
    expect(opened).toHaveLength(2);
    expect(closed).toEqual([1]);
  });

  test('is closed where nobody asks for it', async () => {
    const { databases, closed } = recorder();
    {
      await using lent = lendDatabase(databases);
      await lent.lender.open(asking('a'));
    }
    expect(closed).toEqual([1]);
  });
});
