/** A real S3 server, and buckets of a test's own. */
import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';

import {
  type Credentials,
  ensureS3Server,
  type S3Server,
  startS3Server as start,
} from '../../scripts/lib/s3-server.ts';
import type { TargetSpec } from '../../src/api/target.ts';
import { stalled } from '../../src/rollback/errors.ts';
import type { Home } from '../../src/rollback/ports.ts';
import { fromTestBed } from './testbed.ts';

export type { Credentials, S3Server };

type S3Storage = NonNullable<TargetSpec['backup']['storage']['s3']>;

export interface TestBucket {
  readonly name: string;
  /** As a declaration has it, with what is changed; the Secret is `backups`. */
  storage(change?: Partial<S3Storage>): { readonly s3: S3Storage };
  /** Keys of all that is in it. */
  keys(): Promise<string[]>;
  /** Keys of the uploads that were begun and neither completed nor given up. */
  unfinished(): Promise<string[]>;
  get(key: string): Promise<string>;
  put(key: string, content: string): Promise<void>;
  remove(key: string): Promise<void>;
}

/** The server of the run, started when first asked for, shared by all tests. */
export const s3Server = (): Promise<Credentials & { readonly endpoint: string; readonly region: string }> =>
  fromTestBed('s3', 'shared');

/** One of the test's own, to be stopped by it. */
export const startS3Server = async (options?: Parameters<typeof start>[1]): Promise<S3Server> =>
  start(await ensureS3Server(), options);

export async function createBucket(server: Credentials & { readonly endpoint: string }): Promise<TestBucket> {
  const name = `test-${randomBytes(5).toString('hex')}`;
  const { endpoint, accessKeyId, secretAccessKey } = server;
  const client = new S3Client({
    endpoint,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: { accessKeyId, secretAccessKey },
  });
  await client.send(new CreateBucketCommand({ Bucket: name }));
  return {
    name,
    storage: (change = {}) => ({ s3: { bucket: name, endpoint, secretRef: { name: 'backups' }, ...change } }),
    keys: async () => {
      const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: name }));
      return Contents.map(({ Key = '' }) => Key);
    },
    unfinished: async () => {
      const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: name }));
      return Uploads.map(({ Key = '' }) => Key);
    },
    get: async (key) => {
      const { Body } = await client.send(new GetObjectCommand({ Bucket: name, Key: key }));
      return (await Body?.transformToString()) ?? '';
    },
    put: async (key, content) => {
      await client.send(new PutObjectCommand({ Bucket: name, Key: key, Body: content }));
    },
    remove: async (key) => {
      await client.send(new DeleteObjectCommand({ Bucket: name, Key: key }));
    },
  };
}

/** A home's Secrets: that of `credentials`, whatever it is called, and no other key of it. */
export const secretsOf = (credentials: Credentials): Pick<Home, 'resolve'> => ({
  resolve: async ({ secretKeyRef }) => {
    const { accessKeyId, secretAccessKey } = credentials;
    const value = { accessKeyId, secretAccessKey }[secretKeyRef?.key ?? ''];
    if (value === undefined) throw stalled('SecretNotFound', `there is no key ${secretKeyRef?.key}`);
    return value;
  },
});

/** The Secret `backups` of a directory home. */
export async function writeSecret(dir: string, { accessKeyId, secretAccessKey }: Credentials): Promise<void> {
  const folder = join(dir, 'secrets', 'backups');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await writeFile(join(folder, 'accessKeyId'), accessKeyId);
  await writeFile(join(folder, 'secretAccessKey'), secretAccessKey);
}
