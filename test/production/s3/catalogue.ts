/** A catalogue in a bucket of the test's own. */
import { createBackupStores } from '../../../src/adapters/storage/index.ts';
import type { BackupManifest } from '../../../src/rollback/model.ts';
import type { BackupDraft, BackupStore, DumpPlace, DumpStream } from '../../../src/rollback/ports.ts';
import { createBucket, type Credentials, s3Server, secretsOf, type TestBucket } from '../../support/s3.ts';
import { manifestOf, schema, target } from '../../unit/storage/samples.ts';

type Storage = Parameters<TestBucket['storage']>[0];

export interface ObjectCatalogue {
  /** What is there, by key, and what has it otherwise. */
  readonly objects: Pick<TestBucket, 'keys' | 'unfinished' | 'put' | 'remove'> & {
    /** What a person types. */
    looking(folder: string): string;
    removing(key: string): string;
  };
  readonly store: BackupStore;
  /** Commits a backup whose dump is that text, and returns its manifest. */
  readonly add: (content?: string, change?: Partial<BackupManifest>) => Promise<BackupManifest>;
}

export const openS3 = (bucket: TestBucket, credentials: Credentials, change: Storage = {}): Promise<BackupStore> =>
  createBackupStores().open(bucket.storage(change), target, secretsOf(credentials));

export async function s3Catalogue(change: Storage = {}): Promise<ObjectCatalogue & { readonly bucket: TestBucket }> {
  const server = await s3Server();
  const bucket = await createBucket(server);
  const store = await openS3(bucket, server, change);
  const option = `--endpoint-url ${server.endpoint}`;
  return {
    bucket,
    objects: {
      ...bucket,
      looking: (folder) => `aws s3 ls --recursive s3://${bucket.name}/${folder}/ ${option}`,
      removing: (key) => `aws s3 rm s3://${bucket.name}/${key} ${option}`,
    },
    store,
    add: adding(store),
  };
}

/** Commits a backup whose dump is that text. */
export const adding =
  (store: BackupStore): ObjectCatalogue['add'] =>
  async (content = 'PGDMP of sorts', more = {}) => {
    const id = more.id ?? store.newId(new Date());
    const draft = await store.begin(id, 'op1');
    await writeTo(draft, [content]);
    return draft.commit({ ...bare(id), ...more }, schema);
  };

/** A manifest as the procedure hands it over, of a streamed dump. */
export function bare(id: string): Omit<BackupManifest, 'files' | 'sizeBytes'> {
  const { files: _files, sizeBytes: _sizeBytes, ...manifest } = manifestOf({ id, format: 'custom' });
  return { ...manifest, schema: { digest: schema.digest, major: schema.major } };
}

export async function writeTo({ dump }: BackupDraft, parts: Iterable<string | Uint8Array>): Promise<DumpStream> {
  if (dump.kind !== 'stream') throw new Error('it goes to a folder');
  const content = async function* (): AsyncGenerator<Uint8Array> {
    for (const part of parts) yield Buffer.from(part);
  };
  return dump.write('database.dump', content(), 1000);
}

export async function textOf(place: DumpPlace): Promise<string> {
  if (place.kind !== 'stream') throw new Error('it is no stream');
  const chunks: Uint8Array[] = [];
  for await (const chunk of (await place.read()).content) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}
