/** The dumps of old scripts, imported where they lie: by the program, as people type it, and then used by the procedure. */
import { execFile } from 'node:child_process';
import { appendFileSync } from 'node:fs';
import { mkdir, readFile, rename, rm, stat, symlink, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

import { openDumpFolder } from '../../../src/adapters/storage/index.ts';
import type { BackupManifest } from '../../../src/rollback/model.ts';
import type { Ports } from '../../../src/rollback/ports.ts';
import { createImporter, type Imported } from '../../../src/rollback/import-in-place.ts';
import { createDatabase, query } from '../../support/postgres.ts';
import { createScene, said, threeSteps, type Scene } from '../../support/scene.ts';
import { contentOf, createBench, twoSteps, until, type Bench } from '../cli/bench.ts';
import { open } from '../postgres/open.ts';
import { backupsOf } from './catalogue.ts';

const major = 16;
const exec = promisify(execFile);

/** As the scripts of old call it. */
async function dump(
  { url, server }: { readonly url: string; readonly server: { readonly binDir: string } },
  path: string,
  ...args: string[]
): Promise<void> {
  await exec(join(server.binDir, 'pg_dump'), ['--no-owner', '--dbname', url, '--file', path, ...args]);
}

/** `<database>_YYYYMMDD_HHMMSS` of a local time. */
const stamp = (at: Date): string => {
  const two = (value: number): string => String(value).padStart(2, '0');
  return `${at.getFullYear()}${two(at.getMonth() + 1)}${two(at.getDate())}_${two(at.getHours())}${two(at.getMinutes())}${two(at.getSeconds())}`;
};
/** One moment for the whole file, so that a name can be made again. */
const begun = Math.floor(Date.now() / 1000) * 1000;
const hoursAgo = (hours: number): Date => new Date(begun - hours * 3_600_000);

interface Listed {
  readonly files: readonly {
    readonly file: string;
    readonly kind: string;
    readonly id?: string;
    readonly because?: string;
  }[];
}

describe('backups import NAME DIR', () => {
  let bench: Bench;
  let dir: string;
  const takenAt = hoursAgo(30);
  const nameOf = (hours: number, extension: string): string =>
    `${bench.database.name}_${stamp(hoursAgo(hours))}${extension}`;
  let plain: string;
  let before: Record<string, string>;

  beforeAll(async () => {
    bench = await createBench(twoSteps);
    dir = join(bench.dir, '..', 'old');
    await mkdir(dir);
    await bench.run('apply', '-f', await bench.declaration('b200'), '--yes');
    await query(bench.database.url, `INSERT INTO users (id, name, email) VALUES (1, 'ada', 'ada@example.org')`);
    plain = `${bench.database.name}_${stamp(takenAt)}.sql`;
    await dump(bench.database, join(dir, plain));
    const text = await readFile(join(dir, plain), 'utf8');
    await query(bench.database.url, `INSERT INTO users (id, name) VALUES (2, 'bob')`);
    const later = join(dir, 'later');
    await dump(bench.database, later);
    await writeFile(join(dir, nameOf(20, '.sql.gz')), gzipSync(await readFile(later)));
    await rm(later);
    await dump(bench.database, join(dir, nameOf(10, '.dump')), '--format=custom');

    await writeFile(join(dir, nameOf(9, '.sql')), text); // the same once more
    await writeFile(join(dir, nameOf(8, '.sql')), '');
    await writeFile(join(dir, nameOf(7, '.sql')), text.slice(0, text.indexOf('ada@')));
    const packed = gzipSync(text);
    await writeFile(join(dir, nameOf(6, '.sql.gz')), packed.subarray(0, packed.length / 2));
    await writeFile(
      join(dir, nameOf(5, '.sql')),
      text.replace('SET lock_timeout', '\\! touch /tmp/mt-owned\nSET lock_timeout'),
    );
    await writeFile(join(dir, nameOf(4, '.sql')), text.replace(/\bb200\b/, 'zz99'));
    await writeFile(
      join(dir, nameOf(3, '.sql')),
      text.replace('CREATE TABLE public.users', 'CREATE TABEL public.users'),
    );
    await writeFile(join(dir, `other_db_${stamp(hoursAgo(2))}.sql`), text);
    await writeFile(join(dir, '..', 'outside.sql'), text);
    await symlink(join(dir, '..', 'outside.sql'), join(dir, 'linked.sql'));
    await writeFile(join(dir, 'README'), 'our backups');
    before = await contentOf(dir);
  });
  afterAll(async () => {
    await bench[Symbol.asyncDispose]();
  });

  test('imports each, says one line of each that can not be used, and goes on', async () => {
    const ran = await bench.run('backups', 'import', 'unicorn', dir);
    expect({ code: ran.code, stderr: ran.stderr }).toMatchObject({ code: 1 });
    const line = (name: string): string => ran.stderr.split('\n').find((one) => one.includes(name)) ?? 'no line';
    expect(line(plain)).toMatch(/✓ .* default\.unicorn-\S+: at b200, of \S+ \S+Z, 2 tables, /);
    expect(line(nameOf(20, '.sql.gz'))).toMatch(/✓ .*: at b200/);
    expect(line(nameOf(10, '.dump'))).toMatch(/✓ .*: at b200/);
    expect(line(nameOf(9, '.sql'))).toMatch(/· .* is in the catalogue already, as default\.unicorn-/);
    expect(line(nameOf(8, '.sql'))).toMatch(/✗ .* it is empty/);
    expect(line(nameOf(7, '.sql'))).toMatch(/✗ .*cut short/);
    expect(line(nameOf(6, '.sql.gz'))).toMatch(/✗ .*can't be unpacked.*cut short/);
    expect(line(nameOf(5, '.sql'))).toMatch(/✗ .*the psql command/);
    expect(line(nameOf(4, '.sql'))).toMatch(/✗ .*its version table says zz99, and the migrations of .* have no zz99/);
    expect(line(nameOf(3, '.sql'))).toMatch(/✗ .*syntax error.*TABEL/);
    expect(line('other_db_')).toMatch(/· .*is of the database other_db by its name, and not of /);
    expect(line('linked.sql')).toMatch(/✗ .*a symbolic link out of the folder, to .*outside\.sql/);
    expect(ran.stdout).toMatch(
      /: 3 imported, 1 in the catalogue already, 1 of other databases .*, 7 that can not be used, 1 not named like a dump/,
    );
    expect(ran.stdout).toContain('local time of this host');
    expect(ran.stderr).not.toMatch(/\n {4,}at |undefined/);
  });

  test('changes nothing in the folder, and copies nothing of it into the catalogue', async () => {
    expect(await contentOf(dir)).toEqual(before);
    const inCatalogue = Object.keys(await contentOf(bench.backups)).filter((path) => /\.(sql|gz|dump)$/.test(path));
    expect(
      inCatalogue.filter(
        (path) =>
          !/\/(schema|[0-9a-f]{32}|rehearsed|built|\.scripts\/)[^/]*\.json\.gz$/.test(path) && !path.includes('/dump/'),
      ),
    ).toEqual([]);
    await expect(stat('/tmp/mt-owned')).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('the manifest names the file, its size and checksum, and the time of its name by this host', async () => {
    const { stdout } = await bench.run('backups', 'unicorn', '-o', 'json');
    const { backups } = JSON.parse(stdout) as { readonly backups: readonly BackupManifest[] };
    const manifest = backups.find(({ external }) => external?.path === join(dir, plain));
    expect(manifest).toMatchObject({
      format: 'plain',
      reason: 'Imported',
      revisions: ['b200'],
      rowCounts: { 'public.users': 1 },
      startedAt: takenAt.toISOString(),
      finishedAt: takenAt.toISOString(),
      verifiedAt: expect.any(String),
      external: { bytes: (await stat(join(dir, plain))).size, sha256: expect.stringMatching(/^[0-9a-f]{64}$/) },
    });
    expect((await bench.run('backups', 'verify', manifest?.id ?? '')).code).toBe(0);
  });

  test('again it imports nothing twice, and a folder without faults ends with 0', async () => {
    for (const hours of [3, 4, 5, 6, 7, 8])
      for (const extension of ['.sql', '.sql.gz']) await rm(join(dir, nameOf(hours, extension)), { force: true });
    await rm(join(dir, 'linked.sql'));
    const { code, stdout } = await bench.run('backups', 'import', 'unicorn', dir, '-o', 'json');
    expect(code).toBe(0);
    const { files } = JSON.parse(stdout) as Listed;
    expect(files.map(({ kind }) => kind).toSorted()).toEqual(['foreign', 'present', 'present', 'present', 'present']);
  });

  test('one can be restored by its id; one that was changed or is gone is said, and never used', async () => {
    const { stdout } = await bench.run('backups', 'unicorn', '-o', 'json');
    const { backups } = JSON.parse(stdout) as { readonly backups: readonly BackupManifest[] };
    const id = backups.find(({ external }) => external?.path === join(dir, plain))?.id ?? '';
    expect((await bench.run('restore', 'unicorn', id, '--yes')).code).toBe(0);
    expect(await query(bench.database.adminUrl, 'SELECT id FROM users')).toEqual([{ id: 1 }]);

    const content = await readFile(join(dir, plain));
    await writeFile(join(dir, plain), content.toString().replace('ada@', 'eve@'));
    const changed = await bench.run('restore', 'unicorn', id, '--yes');
    expect(changed.code).not.toBe(0);
    expect(changed.stdout + changed.stderr).toMatch(/was changed since it was imported: it has another checksum/);
    await truncate(join(dir, plain), 100);
    expect((await bench.run('backups', 'unicorn')).stdout).toMatch(
      /broken[\s\S]*was changed since it was imported: 100 bytes instead of/,
    );
    await rm(join(dir, plain));
    expect((await bench.run('backups', 'unicorn')).stdout).toMatch(/is gone: somebody moved or removed it[\s\S]*rm -r/);
  });

  test('an operation that holds the database comes first and is waited for; Ctrl-C meanwhile ends it safely', async () => {
    await using live = await open(bench.database);
    const lock = await live.lock();
    if (lock === null) throw new Error('the lock is held');
    await query(bench.database.url, `INSERT INTO users (id, name) VALUES (9, 'new')`);
    await dump(bench.database, join(dir, nameOf(1, '.sql')));
    const stopped = bench.start('backups', 'import', 'unicorn', dir);
    await until(stopped, () => stopped.printed().includes('It is waited for.'));
    stopped.child.kill('SIGINT');
    expect(await stopped.ended).toMatchObject({ code: 130, stderr: expect.stringContaining('goes on with the rest') });

    const waiting = bench.start('backups', 'import', 'unicorn', dir);
    await until(waiting, () => waiting.printed().includes('It is waited for.'));
    await lock[Symbol.asyncDispose]();
    expect(await waiting.ended).toMatchObject({ code: 0, stdout: expect.stringMatching(/: 2 imported, /) });
  });

  test('a folder that is missing, that is a file, or that holds no dump is said', async () => {
    const missing = await bench.run('backups', 'import', 'unicorn', join(dir, 'nowhere'));
    expect(missing).toMatchObject({ code: 1, stderr: expect.stringContaining('There is no folder') });
    const file = await bench.run('backups', 'import', 'unicorn', join(dir, 'README'));
    expect(file).toMatchObject({ code: 1, stderr: expect.stringContaining('is no folder') });
    const none = await bench.run('backups', 'import', 'unicorn', bench.backups);
    expect(none).toMatchObject({ code: 1, stderr: expect.stringContaining('is named like a dump') });
  });
});

// ------------------------------------------------------------------------------------------- the procedure

/** All of a folder, in the order of the names. */
async function importAll(scene: Scene, dir: string): Promise<readonly Imported[]> {
  const importer = await createImporter(await scene.target(), scene.ports, null, new AbortController().signal);
  const { found } = await openDumpFolder(dir);
  const imported: Imported[] = [];
  for (const one of found) if (one.kind === 'dump') imported.push(await importer.import(one.dump, () => undefined));
  return imported;
}

const raising = {
  revisions: threeSteps.revisions.map((one) =>
    one.id === 'a2' ? { ...one, downgrade: `raise RuntimeError('no way back')` } : one,
  ),
};

/** At `revision`, with a dump of it in a folder, of `hours` ago, and nothing in the catalogue. */
async function withOldDump(
  revision: string,
  hours: number,
  ports: (ports: Ports) => Ports = (same) => same,
): Promise<{ readonly scene: Scene; readonly dir: string }> {
  const scene = await createScene(major, { history: raising, ports });
  const dir = join(scene.dir, 'old');
  await mkdir(dir);
  await scene.goTo(revision);
  await dump(scene.database, join(dir, `${scene.database.name}_${stamp(hoursAgo(hours))}.sql`));
  return { scene, dir };
}

describe('an imported backup', () => {
  test('at the desired revision is the fallback of a downgrade that raises; what is lost since is told', async () => {
    const { scene, dir } = await withOldDump('a1', 50);
    await using _ = scene;
    await scene.goTo('a3');
    for (const { id } of await backupsOf(scene)) await rm(join(scene.backups, id), { recursive: true });
    await scene.query(`INSERT INTO users VALUES (5000, 'late', 'late@example.org')`);
    const [imported] = await importAll(scene, dir);
    if (imported?.kind !== 'imported') throw new Error(JSON.stringify(imported));
    const { id, finishedAt } = imported.manifest;
    expect(said((await scene.goTo('a1')).outcome)).toMatch(
      new RegExp(
        `^ready RestoredFromBackup: .* was restored from backup ${id} of ${finishedAt}, at a1, and verified\\. What was written since then is not in it \\(rows before → now: public\\.users 1001 → 1000\\).*no way back`,
        's',
      ),
    );
    expect(await scene.version()).toBe('a1');
  });

  test('that changed meanwhile is not: the database stays as it is, and the file is named', async () => {
    const { scene, dir } = await withOldDump('a1', 50);
    await using _ = scene;
    await scene.goTo('a3');
    for (const { id } of await backupsOf(scene)) await rm(join(scene.backups, id), { recursive: true });
    const [imported] = await importAll(scene, dir);
    if (imported?.kind !== 'imported') throw new Error(JSON.stringify(imported));
    const path = imported.manifest.external?.path ?? '';
    await writeFile(path, (await readFile(path, 'utf8')).replace('user 7\n', 'user 8\n'));
    const { outcome } = await scene.goTo('a1');
    expect(said(outcome)).toMatch(
      /^stalled DowngradeFailed: .*was changed since it was imported.*is at a3, as before/s,
    );
    expect(await scene.version()).toBe('a3');
  });

  test('that has had its time is forgotten, and its file stays', async () => {
    let days = 0;
    const { scene, dir } = await withOldDump('a1', 50, (ports) => ({
      ...ports,
      clock: { now: () => new Date(Date.now() + days * 24 * 3_600_000) },
    }));
    await using _ = scene;
    const oldest = join(dir, `${scene.database.name}_${stamp(hoursAgo(60))}.sql`);
    await scene.query(`DELETE FROM users WHERE id = 1`);
    await dump(scene.database, oldest);
    const retention = { minAge: '24h', minCount: 1 };
    await scene.declare({
      revision: 'a1',
      revisions: null,
      backup: { storage: { directory: { path: scene.backups } }, retention },
    });
    const imported = await importAll(scene, dir);
    expect(imported.map(({ kind }) => kind)).toEqual(['imported', 'imported']);
    days = 2;
    await scene.reconcile({ kind: 'backup', reason: 'Requested' });
    expect((await backupsOf(scene)).filter(({ external }) => external !== undefined)).toEqual([]);
    await stat(oldest);
    const notes = scene.observed.flatMap((event) => (event.kind === 'note' ? [event.message] : []));
    expect(notes.join('\n')).toContain(`Its file ${oldest} stays as it is.`);
  });
});

describe('an old dump without a version table', () => {
  test('is at the revision whose schema is its own, and no other; restored, it is stamped there', async () => {
    await using scene = await createScene(major, { history: { revisions: threeSteps.revisions } });
    const dir = join(scene.dir, 'old');
    await mkdir(dir);
    await scene.goTo('a2');
    const path = join(dir, `${scene.database.name}_${stamp(hoursAgo(5))}.sql`);
    await dump(scene.database, path, '--exclude-table=alembic_version');
    await scene.goTo('a3');
    const [imported] = await importAll(scene, dir);
    expect(imported).toMatchObject({ kind: 'imported', manifest: { revisions: null, identified: ['a2'] } });
    const { outcome } = await scene.reconcile({
      kind: 'restore',
      backup: imported?.kind === 'imported' ? imported.manifest.id : '',
    });
    expect(said(outcome)).toMatch(/^ready RestoredFromBackup: /);
    expect(await scene.version()).toBe('a2');
  });

  test('is of unknown revision where its schema is none that is known, or where that of another revision is not known', async () => {
    const unbuilt = { id: 'a4', up: `raise RuntimeError('not from base')`, downgrade: 'pass' };
    await using scene = await createScene(major, { history: { revisions: [...threeSteps.revisions, unbuilt] } });
    const dir = join(scene.dir, 'old');
    await mkdir(dir);
    await scene.goTo('a2');
    const named = (hours: number): string => join(dir, `${scene.database.name}_${stamp(hoursAgo(hours))}.sql`);
    await dump(scene.database, named(6), '--exclude-table=alembic_version');
    await using stray = await createDatabase(major, { sql: 'CREATE TABLE users (id int)' });
    await dump(stray, named(5));
    const imported = await importAll(scene, dir);
    expect(imported).toMatchObject([
      { notes: [expect.stringMatching(/exactly that of a2 .*The schema at a4 is not known\..*counts as unknown/s)] },
      { notes: [expect.stringMatching(/no version table.*none of the .* that are known.*counts as unknown/s)] },
    ]);
    for (const one of imported) {
      expect(one).toMatchObject({ kind: 'imported', manifest: { revisions: null } });
      expect(one.kind === 'imported' ? one.manifest : {}).not.toHaveProperty('identified');
    }
  });
});

test('a dump that is written to while it is read is left out; one without a time in its name is of when it was written', async () => {
  const { scene, dir } = await withOldDump('a1', 50);
  await using _ = scene;
  const importer = await createImporter(await scene.target(), scene.ports, null, new AbortController().signal);
  const [one] = (await openDumpFolder(dir)).found;
  if (one?.kind !== 'dump') throw new Error('no dump');
  let isWritten = false;
  const refused = await importer.import(one.dump, () => {
    if (!isWritten) appendFileSync(one.dump.path, '-- one more line\n');
    isWritten = true;
  });
  expect(refused).toMatchObject({ kind: 'refused', because: expect.stringContaining('written to while it was read') });
  expect(await backupsOf(scene)).not.toContainEqual(expect.objectContaining({ reason: 'Imported' }));

  const path = join(dir, 'before.sql');
  await rename(one.dump.path, path);
  const written = hoursAgo(77);
  await utimes(path, written, written);
  expect(await importAll(scene, dir)).toMatchObject([
    {
      kind: 'imported',
      manifest: { startedAt: written.toISOString() },
      notes: [expect.stringContaining('its name tells no time')],
    },
  ]);
});
