/** The sample application by itself, with plain alembic: what the demo and the documentation say of it holds. */
import { join } from 'node:path';

import { beforeAll, describe, expect, test } from '@jest/globals';

import { run } from '../../scripts/lib/run.ts';
import type { Ran } from '../../scripts/lib/run.ts';
import { describeInTurn } from '../support/in-turn.ts';
import { python } from '../support/alembic.ts';
import { contentChecksum, createDatabase, majors, query } from '../support/postgres.ts';
import type { TestDatabase } from '../support/postgres.ts';

const UNICORN = join(import.meta.dirname, '../../examples/unicorn');
const HEAD = '4f1c2d9ab0e7';

let interpreter: string;
beforeAll(async () => {
  interpreter = await python();
});

/** Runs a Python module in the application's folder, as its README tells. */
const runModule = (database: TestDatabase, module: string, ...args: readonly string[]): Promise<Ran> =>
  run(interpreter, ['-m', module, ...args], {
    cwd: UNICORN,
    env: { ...process.env, DATABASE_URL: database.url, PYTHONDONTWRITEBYTECODE: '1' },
  });

/** As `runModule`, for what must work. */
async function must(database: TestDatabase, module: string, ...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await runModule(database, module, ...args);
  if (code !== 0) throw new Error(`python -m ${module} ${args.join(' ')} exited with ${code}:\n${stderr}`);
  return stdout;
}

async function revision(database: TestDatabase): Promise<string> {
  const rows = await query<{ version_num: string }>(database.url, 'SELECT version_num FROM alembic_version');
  return rows.map((row) => row.version_num).join(',');
}

async function columns(database: TestDatabase, table: string): Promise<string[]> {
  const rows = await query<{ column_name: string }>(
    database.url,
    "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public' AND table_name = $1 ORDER BY 1",
    [table],
  );
  return rows.map((row) => row.column_name);
}

describeInTurn('the sample application', (major, testOnce) => {
  testOnce('its migrations lead from nothing to what its models say, and its seed fills that', async () => {
    await using database = await createDatabase(major);
    await must(database, 'alembic', 'upgrade', 'head');
    await must(database, 'alembic', 'check');
    expect(await must(database, 'unicorn.seed')).toMatch(/^232,200 rows in /);
    await must(database, 'unicorn.work', '10');
    const [counts] = await query(
      database.url,
      `SELECT (SELECT count(*)::int FROM organizations) AS organizations, (SELECT count(*)::int FROM users) AS users,
              (SELECT count(*)::int FROM projects) AS projects, (SELECT count(*)::int FROM tickets) AS tickets,
              (SELECT count(*)::int FROM audit_log) AS audit_log`,
    );
    expect(counts).toEqual({ organizations: 200, users: 20_000, projects: 2_000, tickets: 60_010, audit_log: 150_010 });
  });
});

describe('what its README says of the downgrades', () => {
  // They are plain SQL: one server version tells as much as three.
  const [major] = majors;
  if (major === undefined) throw new Error('no PostgreSQL to test with');

  test('below the migration that hashes addresses, each downgrade is undone by its upgrade, row for row', async () => {
    await using database = await createDatabase(major);
    await must(database, 'alembic', 'upgrade', 'a2597c0e4d6f');
    await must(database, 'unicorn.seed');
    // Columns have moved after a way down and up: a row's text is compared with that of a second way.
    await must(database, 'alembic', 'downgrade', '8d15f6a07c3b');
    const older = await contentChecksum(database.adminUrl);
    expect(await columns(database, 'users')).toContain('full_name');
    await must(database, 'alembic', 'upgrade', 'a2597c0e4d6f');
    expect(await columns(database, 'users')).not.toContain('full_name');
    await must(database, 'alembic', 'downgrade', '8d15f6a07c3b');
    expect(await contentChecksum(database.adminUrl)).toBe(older);
    await must(database, 'alembic', 'downgrade', 'base');
    expect(await columns(database, 'users')).toEqual([]);
  });

  test('4f1c2d9ab0e7 loses what people entered', async () => {
    await using database = await createDatabase(major);
    await must(database, 'alembic', 'upgrade', 'head');
    await must(database, 'unicorn.seed');
    await must(database, 'unicorn.work', '40');
    const urgent = (): Promise<{ n: number }[]> =>
      query(database.url, "SELECT count(*)::int AS n FROM tickets WHERE priority = 'urgent'");
    expect(await urgent()).toEqual([{ n: 10 }]);
    await must(database, 'alembic', 'downgrade', '17ce94a8b5d0');
    await must(database, 'alembic', 'upgrade', HEAD);
    expect(await urgent()).toEqual([{ n: 0 }]);
  });

  test('17ce94a8b5d0 says that it is undone, and leaves its column there', async () => {
    await using database = await createDatabase(major);
    await must(database, 'alembic', 'upgrade', 'head');
    await must(database, 'alembic', 'downgrade', 'f03b68d1ca97');
    expect(await revision(database)).toBe('f03b68d1ca97');
    expect(await columns(database, 'users')).toContain('last_seen_at');
    const again = await runModule(database, 'alembic', 'upgrade', 'head');
    expect(again.code).not.toBe(0);
    expect(again.stderr).toContain('column "last_seen_at" of relation "users" already exists');
  });

  test('f03b68d1ca97 raises, says where its data could come from, and changes nothing', async () => {
    await using database = await createDatabase(major);
    await must(database, 'alembic', 'upgrade', 'a2597c0e4d6f');
    await must(database, 'unicorn.seed');
    await must(database, 'alembic', 'upgrade', 'head');
    const before = await contentChecksum(database.adminUrl);
    const { code, stderr } = await runModule(database, 'alembic', 'downgrade', 'a2597c0e4d6f');
    expect(code).not.toBe(0);
    expect(stderr).toContain('Only a backup taken at a2597c0e4d6f has them.');
    expect(await revision(database)).toBe(HEAD);
    expect(await contentChecksum(database.adminUrl)).toBe(before);
  });
});

test('its seed refuses a database that has rows, and one without tables', async () => {
  const [major] = majors;
  if (major === undefined) throw new Error('no PostgreSQL to test with');
  await using database = await createDatabase(major);
  const early = await runModule(database, 'unicorn.seed');
  expect(early).toMatchObject({ code: 1, stderr: expect.stringContaining('Migrate first: alembic upgrade head') });
  await must(database, 'alembic', 'upgrade', 'head');
  await query(database.url, "INSERT INTO organizations (name) VALUES ('Somebody Ltd')");
  expect(await runModule(database, 'unicorn.seed')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('The database is not empty'),
  });
});
