/** Schemas that are kept beside the backups: of revisions that were reached, and of those that were built from base. */
import { describe, expect, test } from '@jest/globals';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { BuiltSchemas, SchemaFacts } from '../../../src/rollback/model.ts';
import { catalogue, database, schema, target, openDirectory } from './samples.ts';

const facts = (digest: string, ...lines: readonly string[]): SchemaFacts => ({ major: 16, digest, lines });

describe('the schemas recorded of a database', () => {
  test('are listed with their revisions: not those of another database, target or major', async () => {
    await using folder = await catalogue();
    const { store, path } = folder;
    expect(await store.recordedSchemas(database, 16)).toEqual([]);
    await store.recordSchema(database, ['b1', 'a1'], schema);
    await store.recordSchema(database, [], facts('empty'));
    await store.recordSchema(database, ['a2'], { ...schema, major: 15 });
    await store.recordSchema({ ...database, name: 'other' }, ['a3'], schema);
    const other = await openDirectory(path, { ...target, name: 'other' });
    await other.recordSchema(database, ['a4'], schema);
    await store.recordRehearsed(facts('rehearsed'));
    const found = await store.recordedSchemas(database, 16);
    expect(found.toSorted((a, b) => a.revisions.length - b.revisions.length)).toEqual([
      { revisions: [], schema: facts('empty') },
      { revisions: ['a1', 'b1'], schema },
    ]);
  });

  test('of before files told their revisions are left out, and read where they are asked for', async () => {
    await using folder = await catalogue();
    const { store, path } = folder;
    await store.recordSchema(database, ['a1'], schema);
    const [name = ''] = await readdir(join(path, '.schemas'));
    await writeFile(join(path, '.schemas', name), gzipSync(JSON.stringify(schema)));
    expect(await store.recordedSchemas(database, 16)).toEqual([]);
    expect(await store.recordedSchema(database, ['a1'], 16)).toEqual(schema);
  });
});

describe('schemas that were built from base', () => {
  const built: BuiltSchemas = {
    major: 16,
    schemas: [
      { revisions: [], schema: facts('d0') },
      { revisions: ['a1'], schema: facts('d1', 'column a', 'table t') },
      { revisions: ['a2', 'b1'], schema: facts('d2', 'column a', 'column b', 'table t') },
    ],
    unbuilt: [{ revisions: ['a3'], because: 'it raises' }],
  };

  test('are read as they were written, for that digest and major alone', async () => {
    await using folder = await catalogue();
    const { store } = folder;
    expect(await store.builtSchemas('scripts', 16)).toBeNull();
    await store.recordBuilt('scripts', built);
    expect(await store.builtSchemas('scripts', 16)).toEqual(built);
    expect(await store.builtSchemas('others', 16)).toBeNull();
    expect(await store.builtSchemas('scripts', 15)).toBeNull();
  });

  test.each([
    ['is no gzip', Buffer.from('nothing')],
    ['was cut short', gzipSync(JSON.stringify({ version: 1, of: 'scripts' }))],
    [
      'names a line that is not there',
      gzipSync(
        JSON.stringify({
          version: 1,
          of: 'scripts',
          major: 16,
          lines: [],
          schemas: [{ revisions: [], digest: 'd', at: [0] }],
          unbuilt: [],
        }),
      ),
    ],
  ])('are no use where the file %s: it says which', async (_called, content) => {
    await using folder = await catalogue();
    const { store, path } = folder;
    await store.recordBuilt('scripts', built);
    const [name = ''] = await readdir(join(path, '.schemas'));
    await writeFile(join(path, '.schemas', name), content);
    await expect(store.builtSchemas('scripts', 16)).rejects.toMatchObject({
      reason: 'BackupInvalid',
      message: expect.stringMatching(/schemas built from base in .*can't be read: rm '/),
    });
  });

  test('are kept of the newest few scripts', async () => {
    await using folder = await catalogue();
    const { store, path } = folder;
    for (let version = 1; version <= 20; version += 1) await store.recordBuilt(`scripts ${version}`, built);
    expect(await readdir(join(path, '.schemas'))).toHaveLength(16);
    expect(await store.builtSchemas('scripts 20', 16)).toEqual(built);
  });
});
