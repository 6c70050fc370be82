import { join } from 'node:path';

import { describe, expect, test } from '@jest/globals';

import { createDatabase, majors, query } from '../../support/postgres.ts';
import { canonicalSchema, identify, open, silent, temporaryFolder, versionTable } from './open.ts';

/** Dump, restore, compare, swap and drop: every statement and tool that takes the name. */
describe.each(majors)('PostgreSQL %i: a database', (major) => {
  test.each([
    ['host=evil', 'secret'],
    ['a"b\'c d=e', 'p@:/?#%\\ \'"w'],
    [`x host=127.0.0.9 dbname=postgres `, ':\\'],
    ['x'.repeat(63), 'secret'],
    [`${'ü'.repeat(29)}-1234`, 'ü'],
  ])('named %s goes through everything, and is just a name', async (name, password) => {
    await using database = await createDatabase(major, {
      name,
      password,
      sql: `${versionTable('a1')} CREATE TABLE t AS SELECT i FROM generate_series(1, 10) i;`,
    });
    await using folder = await temporaryFolder();
    await using live = await open(database);
    const before = await identify(database);

    expect((await live.read()).identity).toMatchObject(before);
    await using lock = await live.lock();
    await lock?.assertHeld();

    const dump = await live.dump({ kind: 'path', path: join(folder.path, 'dump') }, silent);
    const into = await live.newDatabase('restored', 'abc123');
    const aside = { name: (await live.newDatabase('old', 'abc123')).name, oid: before.oid };
    await live.createDatabase(into, dump.properties);
    await live.restoreInto(
      into,
      { place: { kind: 'path', path: join(folder.path, 'dump') }, format: 'directory' },
      silent,
    );
    const restored = await live.contents(into);
    expect(restored.rowCounts).toEqual({ 'public.alembic_version': 1, 'public.t': 10 });
    expect(restored.versionTable).toEqual({ kind: 'present', revisions: ['a1'] });
    expect((await canonicalSchema(live, 'abc123')).digest).toBe(restored.schema.digest);

    await live.swap(before, into, aside);
    expect((await live.read()).identity).toMatchObject({ name, oid: into.oid });
    expect(await query(database.url, 'SELECT count(*)::int AS n FROM t')).toEqual([{ n: 10 }]);
    expect(await live.dropDatabase(aside)).toBe(true);
    expect(await live.dropDatabase(aside)).toBe(false);
  });
});
