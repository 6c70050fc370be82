import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createBackupStores, newBackupId } from '../../../src/adapters/storage/index.ts';
import type { BackupManifest, SchemaFacts } from '../../../src/rollback/model.ts';
import type { TargetKey } from '../../../src/api/target.ts';
import type { BackupDraft, BackupStore } from '../../../src/rollback/ports.ts';

export const target = { namespace: 'ops-center', name: 'unicorn-db' };
export const database = { systemIdentifier: '7300000000000000001', name: 'unicorn_db', oid: 16_400 };
export const schema: SchemaFacts = {
  major: 16,
  digest: 'd1',
  lines: ['column public.users.email text not null', 'table public.users'],
};

/** The catalogue of a folder, which needs no secret. */
export const openDirectory = (path: string, of: TargetKey = target): Promise<BackupStore> =>
  createBackupStores().open({ directory: { path } }, of, { resolve: () => Promise.reject(new Error('asked')) });

/** Where a draft has its dump in a folder. */
export function dumpFolder({ dump }: BackupDraft): string {
  if (dump.kind !== 'path') throw new Error('it goes to a stream');
  return dump.path;
}

/** A manifest as the procedure hands it over, with what matters to a test changed. */
export function manifestOf(change: Partial<BackupManifest> & { readonly id: string }): BackupManifest {
  return {
    version: 1,
    target,
    operation: 'op1',
    database,
    server: { version: '16.4', major: 16 },
    tools: { pgDump: 'pg_dump (PostgreSQL) 16.4' },
    format: 'directory',
    revisions: ['a1'],
    versionTable: { schema: 'public', name: 'alembic_version' },
    schema: null,
    rowCounts: { 'public.users': 3 },
    properties: {
      owner: 'unicorn',
      encoding: 'UTF8',
      collate: 'C.UTF-8',
      ctype: 'C.UTF-8',
      localeProvider: 'c',
      icuLocale: null,
      icuRules: null,
      tablespace: 'pg_default',
      connectionLimit: -1,
      comment: null,
      statements: [],
    },
    scripts: null,
    files: [],
    sizeBytes: 0,
    startedAt: '2026-01-02T03:04:05.000Z',
    finishedAt: '2026-01-02T03:05:00.000Z',
    reason: 'BeforeChange',
    verifiedAt: null,
    keptUntil: '2026-01-03T03:05:00.000Z',
    ...change,
  };
}

/** What a dump looks like to the store, which does not look inside. */
export async function writeDump(directory: string, content = 'rows'): Promise<void> {
  await mkdir(directory);
  await writeFile(join(directory, 'toc.dat'), 'PGDMP toc');
  await writeFile(join(directory, '3301.dat.gz'), content);
}

export interface Catalogue extends AsyncDisposable {
  readonly path: string;
  readonly store: BackupStore;
  /** Commits a backup and returns its manifest. */
  add(change?: Partial<BackupManifest>, facts?: SchemaFacts | null): Promise<BackupManifest>;
}

/** A folder of the test's own, removed at its end. */
export async function catalogue(): Promise<Catalogue> {
  const base = await mkdtemp(join(tmpdir(), 'migration-target-storage-'));
  const path = join(base, 'backups');
  const store = await openDirectory(path);
  return {
    path,
    store,
    async add(change = {}, facts = schema) {
      const manifest = manifestOf({ id: newBackupId(target, new Date('2026-01-02T03:04:05Z')), ...change });
      const draft = await store.begin(manifest.id, manifest.operation ?? 'op1');
      await writeDump(dumpFolder(draft));
      const { files: _files, sizeBytes: _sizeBytes, ...rest } = manifest;
      return draft.commit({ ...rest, schema: facts && { digest: facts.digest, major: facts.major } }, facts);
    },
    async [Symbol.asyncDispose]() {
      await rm(base, { recursive: true, force: true });
    },
  };
}
