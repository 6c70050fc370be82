import { S3Client } from '@aws-sdk/client-s3';
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import type { TargetSpec } from '../../api/target.ts';
import { Failure } from '../../rollback/errors.ts';
import type { Home, Owner } from '../../rollback/ports.ts';
import { Bucket } from './bucket.ts';
import type { Where } from './failures.ts';

export type S3Storage = NonNullable<TargetSpec['backup']['storage']['s3']>;

const requestHandler = {
  // For all buckets of the process: connections are kept open and shared.
  httpAgent: new HttpAgent({ keepAlive: true, maxSockets: 50 }),
  httpsAgent: new HttpsAgent({ keepAlive: true, maxSockets: 50 }),
  connectionTimeout: 5000,
  // Of silence. A part is answered once it is stored, and a download may have to wait for pg_restore: then it goes on anew.
  socketTimeout: 60_000,
};

/** The bucket that is declared, with the credentials of its Secret. Asks the service nothing yet. Throws SecretNotFound. */
export async function openBucket(storage: S3Storage, owner: Owner, secrets: Pick<Home, 'resolve'>): Promise<Bucket> {
  const { bucket, endpoint, region, secretRef, serverSideEncryption, kmsKeyId } = storage;
  const where: Where = { bucket, endpoint: endpoint ?? null, secret: secretRef?.name ?? null };
  const client = new S3Client({
    requestHandler,
    // A part that can't be written for some seconds is no reason to lose those before it.
    maxAttempts: 5,
    ...(endpoint === undefined ? {} : { endpoint, forcePathStyle: true }),
    // Services other than Amazon's mostly have but one, and are asked in the name of this.
    ...(region !== undefined ? { region } : endpoint !== undefined ? { region: 'us-east-1' } : {}),
    ...(secretRef === undefined ? {} : { credentials: await credentialsOf(secretRef.name, owner, secrets) }),
  });
  return new Bucket(client, {
    ...where,
    prefix: (storage.prefix ?? '').replaceAll(/^\/+|\/+$/g, ''),
    encryption:
      serverSideEncryption === undefined ? null : { algorithm: serverSideEncryption, kmsKeyId: kmsKeyId ?? null },
  });
}

async function credentialsOf(
  name: string,
  owner: Owner,
  secrets: Pick<Home, 'resolve'>,
): Promise<{ accessKeyId: string; secretAccessKey: string; sessionToken?: string }> {
  const read = (key: string): Promise<string> => secrets.resolve({ secretKeyRef: { name, key } }, owner);
  const accessKeyId = await read('accessKeyId');
  const secretAccessKey = await read('secretAccessKey');
  const sessionToken = await read('sessionToken').catch((error: unknown) => {
    // Only temporary credentials have one; that the Secret is there is known by now.
    if (error instanceof Failure && error.reason === 'SecretNotFound') return null;
    throw error;
  });
  return { accessKeyId, secretAccessKey, ...(sessionToken === null ? {} : { sessionToken }) };
}
