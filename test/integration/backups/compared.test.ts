/** A backup counts only once it was restored and compared: what differs is told, and nothing is begun on top of it. */
import { createHash } from 'node:crypto';
import { cp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';

import { packSchema, unpackSchema } from '../../../src/adapters/storage/schema-file.ts';
import type { BackupManifest } from '../../../src/rollback/model.ts';
import type { Contents, LiveDatabase, Ports } from '../../../src/rollback/ports.ts';
import { contentChecksum, query } from '../../support/postgres.ts';
import { createScene, said, threeSteps } from '../../support/scene.ts';
import { createBench, twoSteps, type Bench } from '../cli/bench.ts';

/** Every file is as its manifest says, so that only what is restored can tell. */
describe('backups verify', () => {
  let bench: Bench;
  let id: string;
  let untouched: string;
  beforeAll(async () => {
    bench = await createBench(twoSteps);
    await bench.run('apply', '-f', await bench.declaration('b200'), '--yes');
    await query(bench.database.url, `INSERT INTO users VALUES (1, 'ada', 'ada@example.org'), (2, 'grace', NULL)`);
    await bench.run('backup', 'unicorn');
    id = (await bench.run('backups', '-o', 'name')).stdout.split('\n')[0] ?? '';
    untouched = `${bench.backups}-untouched`;
    await cp(bench.backups, untouched, { recursive: true });
  });
  beforeEach(async () => {
    await rm(bench.backups, { recursive: true });
    await cp(untouched, bench.backups, { recursive: true });
  });
  afterAll(async () => {
    await bench[Symbol.asyncDispose]();
  });

  const manifestFile = (): string => join(bench.backups, id, 'manifest.json');
  const readManifest = async (): Promise<BackupManifest> =>
    JSON.parse(await readFile(manifestFile(), 'utf8')) as BackupManifest;
  const changeManifest = async (change: (manifest: BackupManifest) => object): Promise<void> =>
    writeFile(manifestFile(), JSON.stringify(change(await readManifest())));

  /** As if the schema had been recorded so: with a name and a checksum that fit. */
  async function changeSchema(change: (lines: readonly string[]) => readonly string[]): Promise<void> {
    const manifest = await readManifest();
    const path = manifest.files.map((file) => file.path).find((one) => one.startsWith('schema-')) ?? '';
    const facts = await unpackSchema(await readFile(join(bench.backups, id, path)));
    const content = await packSchema({ ...facts, lines: change(facts.lines) });
    const sha256 = createHash('sha256').update(content).digest('hex');
    const renamed = `schema-${sha256.slice(0, 16)}.json.gz`;
    await rename(join(bench.backups, id, path), join(bench.backups, id, renamed));
    await writeFile(join(bench.backups, id, renamed), content);
    const files = manifest.files.map((file) =>
      file.path === path ? { path: renamed, bytes: content.byteLength, sha256 } : file,
    );
    const sizeBytes = files.reduce((sum, { bytes }) => sum + bytes, 0);
    await changeManifest((before) => ({ ...before, files, sizeBytes }));
  }

  test.each<[string, () => Promise<void>, RegExp]>([
    [
      'a table of which it has a row less',
      () => changeManifest((manifest) => ({ ...manifest, rowCounts: { ...manifest.rowCounts, 'public.users': 3 } })),
      /public\.users has 2 rows, and had 3/,
    ],
    [
      'a table that it lacks',
      () => changeManifest((manifest) => ({ ...manifest, rowCounts: { ...manifest.rowCounts, 'public.more': 1 } })),
      /public\.more is missing, and had 1 rows/,
    ],
    [
      'another revision',
      () => changeManifest((manifest) => ({ ...manifest, revisions: ['a100'] })),
      /the version table says b200, and was a100/,
    ],
    [
      'a schema that lacks something',
      () => changeSchema((lines) => [...lines, 'index public.lost']),
      /the schema differs: missing: index public\.lost/,
    ],
    [
      'a schema with something left over',
      () => changeSchema((lines) => lines.filter((line) => !line.includes('email'))),
      /the schema differs: left over: .*email/,
    ],
    [
      'a schema with another digest',
      () =>
        changeManifest((manifest) => ({
          ...manifest,
          schema: { digest: '0'.repeat(64), major: manifest.schema?.major ?? 0 },
        })),
      /the schema differs: its digest is [0-9a-f]{64}, and was 0{64}/,
    ],
  ])('finds %s, ends with 1, and leaves neither a mark nor a database', async (_, tamper, difference) => {
    await tamper();
    const [manifest, content] = [await readManifest(), await contentChecksum(bench.database.adminUrl)];
    const verified = await bench.run('backups', 'verify', id);
    expect(verified).toMatchObject({ code: 1 });
    // Lines are broken where a screen ends.
    expect(verified.stdout.replaceAll(/\s+/g, ' ')).toMatch(difference);
    expect(await readManifest()).toEqual(manifest);
    expect(await contentChecksum(bench.database.adminUrl)).toBe(content);
    const own = `SELECT datname::text FROM pg_database WHERE starts_with(datname, '${bench.database.name}')`;
    expect(await query(bench.database.adminUrl, own)).toEqual([{ datname: bench.database.name }]);
  });

  test('finds nothing in one that nobody changed', async () => {
    const verified = await bench.run('backups', 'verify', id);
    expect(verified).toMatchObject({ code: 0 });
  });
});

describe('the backup before a change', () => {
  test.each<[string, (contents: Contents) => Contents, RegExp]>([
    [
      'with a row less',
      (contents) => ({ ...contents, rowCounts: { ...contents.rowCounts, 'public.users': 999 } }),
      /not equal: public\.users has 999 rows, and had 1000\. Nothing was changed\./,
    ],
    [
      'at another revision',
      (contents) => ({ ...contents, versionTable: { kind: 'present', revisions: ['a1'] } }),
      /not equal: the version table says a1, and was a2\. Nothing was changed\./,
    ],
  ])('that comes back %s is none: nothing is changed, and nothing is left of it', async (_, change, says) => {
    let isFaulty = false;
    await using scene = await createScene(16, {
      history: threeSteps,
      ports: (ports) => withContents(ports, (contents) => (isFaulty ? change(contents) : contents)),
    });
    await scene.goTo('a2');
    const [content, backups] = [await contentChecksum(scene.database.adminUrl), await readdir(scene.backups)];
    isFaulty = true;
    const { outcome, status, again } = await scene.goTo('a1');
    expect(said(outcome)).toMatch(/^stalled BackupFailed: /);
    expect(outcome.message).toMatch(says);
    expect(again).toBe(false);
    expect(status.operation).toBeNull();
    expect(await contentChecksum(scene.database.adminUrl)).toBe(content);
    // Drafts begin with a dot, and are listed too.
    expect(await readdir(scene.backups)).toEqual(backups);
    expect(await scene.databases()).toEqual([scene.database.name]);
    expect(status.conditions.find(({ type }) => type === 'BackupReady')).toMatchObject({
      status: 'False',
      reason: 'BackupFailed',
    });
  });
});

/**
 * What is read of a restored database, changed. pg_dump and pg_restore lose nothing without telling, so a backup that is
 * short of something can't be made with them; all else is real.
 */
function withContents(ports: Ports, change: (contents: Contents) => Contents): Ports {
  return {
    ...ports,
    databases: {
      ...ports.databases,
      open: async (settings) => {
        const database = await ports.databases.open(settings);
        const contents: LiveDatabase['contents'] = async (of) => change(await database.contents(of));
        return new Proxy(database, {
          get: (real, name) => {
            if (name === 'contents') return contents;
            const value: unknown = Reflect.get(real, name, real);
            return typeof value === 'function' ? (value.bind(real) as unknown) : value;
          },
        });
      },
    },
  };
}
