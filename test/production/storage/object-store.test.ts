/** What a catalogue does alike in a bucket and in a volume. */
import { beforeAll, describe, expect, test } from '@jest/globals';

import type { BackupManifest, RecordedScripts } from '../../../src/rollback/model.ts';
import { s3Server } from '../../support/s3.ts';
import { database, schema, target } from '../../unit/storage/samples.ts';
import { bare, s3Catalogue, textOf, writeTo, type ObjectCatalogue } from '../s3/catalogue.ts';
import { volumeCatalogue } from '../volume/catalogue.ts';

// The server may have to be built first.
beforeAll(async () => void (await s3Server()), 600_000);

const places: readonly (readonly [string, (prefix?: string) => Promise<ObjectCatalogue>])[] = [
  ['a bucket', (prefix) => s3Catalogue(prefix === undefined ? {} : { prefix })],
  ['a volume', volumeCatalogue],
];

describe.each(places)('in %s', (_place, open) => {
  describe('a backup', () => {
    test('is listed with all that its manifest says, and its dump comes back as it was streamed', async () => {
      const { store, add, objects } = await open('backups/production');
      const manifest = await add('the dump');

      expect(await store.list()).toEqual({ backups: [manifest], broken: [] });
      expect(manifest).toMatchObject({
        format: 'custom',
        files: [{ path: 'dump/database.dump', bytes: 8 }, { path: expect.stringMatching(/^schema-/) }],
      });
      expect(await textOf(store.dumpOf(manifest))).toBe('the dump');
      expect(await store.schema(manifest.id)).toEqual(schema);
      expect(await store.check(manifest.id)).toEqual({ ok: true });
      expect(await objects.keys()).toEqual([
        `backups/production/${manifest.id}/dump/database.dump`,
        `backups/production/${manifest.id}/manifest.json`,
        expect.stringMatching(/\/schema-[0-9a-f]{16}\.json\.gz$/),
      ]);
    });

    test('is none without its manifest, which comes last and goes first', async () => {
      const { store, objects } = await open();
      const id = store.newId(new Date());
      const draft = await store.begin(id, 'op1');
      await writeTo(draft, ['the dump']);
      expect(await store.list()).toEqual({ backups: [], broken: [] });
      await expect(store.schema(id)).rejects.toMatchObject({ reason: 'BackupNotFound' });

      await draft.commit(bare(id), schema);
      expect((await store.list()).backups).toHaveLength(1);
      await objects.remove(`${id}/manifest.json`);
      expect(await store.list()).toEqual({ backups: [], broken: [] });
    });

    test('newer ones first, each target its own, and no id is taken twice', async () => {
      const { store, add, objects } = await open();
      const old = await add('1', { startedAt: '2026-01-01T00:00:00Z' });
      const young = await add('2', { startedAt: '2026-01-02T00:00:00Z' });
      expect((await store.list()).backups.map(({ id }) => id)).toEqual([young.id, old.id]);
      await expect(store.begin(old.id, 'op2')).rejects.toMatchObject({ reason: 'BackupFailed' });

      await objects.put(`${target.namespace}.${target.name}-more-20260102T030405Z-57a1c6/manifest.json`, '{}');
      expect((await store.list()).backups).toHaveLength(2);
      expect((await store.list()).broken).toEqual([]);
    });

    test('is verified later, with its schema', async () => {
      const { store, add } = await open();
      const { id } = await add('the dump', { verifiedAt: null });
      const later = { ...schema, digest: 'd2' };
      await store.markVerified(id, '2026-02-01T00:00:00.000Z', later);
      expect((await store.list()).backups).toMatchObject([{ id, verifiedAt: '2026-02-01T00:00:00.000Z' }]);
      expect(await store.schema(id)).toEqual(later);
      expect(await store.check(id)).toEqual({ ok: true });
    });

    test('is removed, and nothing of it stays', async () => {
      const { store, add, objects } = await open();
      const { id } = await add();
      await store.recordRestore(id, database, 'done');
      await store.remove(id);
      expect(await objects.keys()).toEqual([]);
      await store.remove(id);
    });

    test('tells what was restored of it, for each database', async () => {
      const { store, add } = await open();
      const { id } = await add();
      expect(await store.restoreRecord(id, database)).toBeNull();
      await store.recordRestore(id, database, 'intended');
      await store.recordRestore(id, database, 'done');
      expect(await store.restoreRecord(id, database)).toBe('done');
      expect(await store.restoreRecord(id, { ...database, name: 'other' })).toBeNull();
      expect(await store.check(id)).toEqual({ ok: true });
    });
  });

  describe('what is not as the manifest says', () => {
    let catalogue: ObjectCatalogue;
    let manifest: BackupManifest;
    beforeAll(async () => {
      catalogue = await open();
      manifest = await catalogue.add('the dump');
    });
    const dump = (): string => `${manifest.id}/dump/database.dump`;

    test('another content of the same size is found by its checksum, by a check and by a restore', async () => {
      await catalogue.objects.put(dump(), 'THE DUMP');
      expect(await catalogue.store.check(manifest.id)).toEqual({
        ok: false,
        problem: expect.stringContaining('has another checksum than when it was written'),
      });
      await expect(textOf(catalogue.store.dumpOf(manifest))).rejects.toMatchObject({
        reason: 'BackupInvalid',
        message: expect.stringContaining('another checksum'),
      });
    });

    test('another size is found by a look at the list, and so is a file that is gone', async () => {
      await catalogue.objects.put(dump(), 'the dumps');
      expect((await catalogue.store.list()).broken).toMatchObject([
        {
          id: manifest.id,
          problem: expect.stringContaining(
            `has 9 bytes instead of 8. It is never used. Look at it: ${catalogue.objects.looking(manifest.id)}`,
          ),
        },
      ]);
      await expect(textOf(catalogue.store.dumpOf(manifest))).rejects.toMatchObject({ reason: 'BackupInvalid' });

      await catalogue.objects.remove(dump());
      expect((await catalogue.store.list()).broken).toMatchObject([{ problem: expect.stringContaining('is missing') }]);
      expect(await catalogue.store.check(manifest.id)).toMatchObject({ ok: false });
      await expect(textOf(catalogue.store.dumpOf(manifest))).rejects.toMatchObject({
        reason: 'BackupInvalid',
        message: expect.stringContaining('is gone'),
      });
      await catalogue.objects.put(dump(), 'the dump');
      expect(await catalogue.store.check(manifest.id)).toEqual({ ok: true });
    });

    test('a file that nobody wrote is told', async () => {
      await catalogue.objects.put(`${manifest.id}/dump/evil.sql`, 'DROP TABLE');
      expect(await catalogue.store.check(manifest.id)).toEqual({
        ok: false,
        problem: expect.stringContaining('dump/evil.sql is not in manifest.json'),
      });
      await catalogue.objects.remove(`${manifest.id}/dump/evil.sql`);
    });

    test.each([
      ['a manifest that was cut short', '{"version": 1,', 'not JSON'],
      ['one of a later version', '{"version": 2}', 'knows version 1'],
    ])('%s is broken', async (_, content, problem) => {
      await catalogue.objects.put(`${manifest.id}/manifest.json`, content);
      expect((await catalogue.store.list()).broken).toMatchObject([{ problem: expect.stringContaining(problem) }]);
      await expect(catalogue.store.schema(manifest.id)).rejects.toMatchObject({ reason: 'BackupInvalid' });
    });

    test('a dump in directory format, as a folder that was copied there has it, is broken', async () => {
      const folder = { ...manifest, format: 'directory', files: [{ ...manifest.files[0], path: 'dump/toc.dat' }] };
      const sizeBytes = manifest.files[0]?.bytes;
      await catalogue.objects.put(
        `${manifest.id}/manifest.json`,
        JSON.stringify({ ...folder, schema: null, sizeBytes }),
      );
      expect((await catalogue.store.list()).broken).toMatchObject([
        { problem: expect.stringContaining('bring it back to a folder') },
      ]);
    });
  });

  describe('what is remembered beside the backups', () => {
    test('schemas by revision and of the last rehearsal, those built from base, and scripts, the newest first', async () => {
      const { store } = await open('p');
      expect(await store.recordedSchema(database, ['a1'], 16)).toBeNull();
      await store.recordSchema(database, ['a1'], schema);
      expect(await store.recordedSchema(database, ['a1'], 16)).toEqual(schema);
      expect(await store.recordedSchema(database, ['a1'], 15)).toBeNull();
      expect(await store.recordedSchemas(database, 16)).toEqual([{ revisions: ['a1'], schema }]);

      expect(await store.rehearsedSchema()).toBeNull();
      await store.recordRehearsed(schema);
      expect(await store.rehearsedSchema()).toEqual(schema);

      const built = { major: 16, schemas: [{ revisions: ['a1'], schema }], unbuilt: [] };
      expect(await store.builtSchemas('scripts', 16)).toBeNull();
      await store.recordBuilt('scripts', built);
      expect(await store.builtSchemas('scripts', 16)).toEqual(built);

      const scripts = (digest: string, at: string): RecordedScripts => ({
        digest,
        revisions: ['a1'],
        reached: ['a1'],
        image: null,
        at,
        archive: { files: { 'a1.py': 'pass' }, versionLocations: ['versions'] },
      });
      await store.recordScripts(database, scripts('one', '2026-01-01T00:00:00.000Z'));
      await store.recordScripts(database, scripts('two', '2026-01-01T00:00:00.500Z'));
      expect((await store.recordedScripts(database)).map(({ digest }) => digest)).toEqual(['two', 'one']);
      expect(await store.list()).toEqual({ backups: [], broken: [] });
    });

    test('a damaged one is told with the command that removes it', async () => {
      const { store, objects } = await open();
      await store.recordSchema(database, ['a1'], schema);
      const [key = ''] = await objects.keys();
      await objects.put(key, 'nothing of the kind');
      await expect(store.recordedSchema(database, ['a1'], 16)).rejects.toMatchObject({
        reason: 'BackupInvalid',
        message: expect.stringContaining(objects.removing(key)),
      });
    });
  });

  describe('a draft', () => {
    test('that is discarded leaves nothing', async () => {
      const { store, objects } = await open();
      const draft = await store.begin(store.newId(new Date()), 'op1');
      await writeTo(draft, ['the dump']);
      await draft.discard();
      expect(await objects.keys()).toEqual([]);
    });

    test('whose dump ends in an error throws that error, and its upload is given up', async () => {
      const { store, objects } = await open();
      const draft = await store.begin(store.newId(new Date()), 'op1');
      const cutShort = new Error('pg_dump was killed');
      const content = function* (): Generator<Uint8Array> {
        for (let part = 0; part < 20; part += 1) yield Buffer.alloc(1024 * 1024);
        throw cutShort;
      };
      await expect(writeTo(draft, content())).rejects.toBe(cutShort);
      expect(await objects.unfinished()).toEqual([]);
      expect((await objects.keys()).filter((key) => key.includes('dump'))).toEqual([]);
    });

    test('of a dead operation goes with what it had uploaded; those of others stay, and so does a backup', async () => {
      const { store, objects } = await open();
      const [dead, alive, whole] = [1, 2, 3].map((day) => store.newId(new Date(`2026-01-0${day}T00:00:00Z`)));
      await writeTo(await store.begin(dead ?? '', 'op-dead'), ['half a dump']);
      await writeTo(await store.begin(alive ?? '', 'op-alive'), ['half a dump']);
      const draft = await store.begin(whole ?? '', 'op-dead');
      await writeTo(draft, ['the dump']);
      await draft.commit(bare(whole ?? ''), schema);
      // It died once the manifest was there, and the note of it was not yet removed.
      const note = (await objects.keys()).find((key) => key.startsWith(`.unfinished/${dead}`)) ?? '';
      await objects.put(note.replace(dead ?? '', whole ?? ''), 'op-dead');

      await store.removeLeftovers('op-dead');
      expect((await store.list()).backups.map(({ id }) => id)).toEqual([whole]);
      const left = await objects.keys();
      expect(left.filter((key) => key.includes(dead ?? ''))).toEqual([]);
      expect(left.filter((key) => key.includes(alive ?? ''))).toHaveLength(2);
      expect(left.filter((key) => key.startsWith('.unfinished/'))).toHaveLength(1);
    });

    test('a removal that was cut short is finished, whoever began it', async () => {
      const { store, objects, add } = await open();
      const { id } = await add();
      await objects.put(`.unfinished/${id}.removing`, 'removing');
      await objects.remove(`${id}/manifest.json`);
      await store.removeLeftovers('another');
      expect(await objects.keys()).toEqual([]);
    });
  });
});
