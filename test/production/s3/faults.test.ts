import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';

import { freePort } from '../../../scripts/lib/free-port.ts';
import { runOrThrow } from '../../../scripts/lib/run.ts';
import type { BackupStore } from '../../../src/rollback/ports.ts';
import { createBucket, s3Server, startS3Server } from '../../support/s3.ts';
import { type S3Proxy, startS3Proxy } from '../../support/s3-proxy.ts';
import { schema } from '../../unit/storage/samples.ts';
import { bare, openS3, textOf, writeTo } from './catalogue.ts';

const node = join(import.meta.dirname, '../../../node_modules/.bin/node');

beforeAll(async () => void (await s3Server()), 600_000);
afterEach(() => {
  jest.restoreAllMocks();
});

/** What is said where the catalogue is read. */
async function failureOf(work: Promise<unknown>): Promise<{ kind: string; reason: string; message: string }> {
  const error: unknown = await work.then(
    () => new Error('nothing failed'),
    (thrown: unknown) => thrown,
  );
  return error as { kind: string; reason: string; message: string };
}

const unavailable = (kind: 'retry' | 'stalled', message: RegExp): object =>
  expect.objectContaining({ kind, reason: 'StorageUnavailable', message: expect.stringMatching(message) });

describe('what stands in the way is told apart, with what to do', () => {
  test('a bucket that is not there', async () => {
    const server = await s3Server();
    const bucket = await createBucket(server);
    const store = await openS3(bucket, server, { bucket: 'no-such-bucket' });
    expect(await failureOf(store.list())).toEqual(
      unavailable('retry', /There is no bucket no-such-bucket .*aws s3 mb s3:\/\/no-such-bucket --endpoint-url http/),
    );
    const id = store.newId(new Date());
    expect(await failureOf(store.begin(id, 'op1'))).toEqual(unavailable('retry', /There is no bucket/));
  });

  test('an unknown key, and a wrong secret, which is not repeated', async () => {
    const server = await s3Server();
    const bucket = await createBucket(server);
    for (const wrong of [{ accessKeyId: 'NOBODY' }, { secretAccessKey: 'not-the-secret' }]) {
      const credentials = { ...server, ...wrong };
      const failure = await failureOf((await openS3(bucket, credentials)).list());
      expect(failure).toEqual(unavailable('retry', /does not take the credentials of the Secret backups/));
      expect(inspect(failure, { depth: 20, showHidden: true })).not.toContain(credentials.secretAccessKey);
    }
  });

  test('a bucket of somebody else', async () => {
    const server = await startS3Server();
    try {
      const bucket = await createBucket(server);
      const store = await openS3(bucket, await server.addUser());
      expect(await failureOf(store.list())).toEqual(
        unavailable('retry', /is not open to these credentials .*s3:ListBucket, .*s3:AbortMultipartUpload/),
      );
    } finally {
      await server.stop();
    }
  });

  test('nobody who answers, or no such name', async () => {
    const server = await s3Server();
    const bucket = await createBucket(server);
    for (const endpoint of [`http://127.0.0.1:${await freePort()}`, 'http://s3.invalid']) {
      const store = await openS3(bucket, server, { endpoint });
      expect(await failureOf(store.list())).toEqual(unavailable('retry', /can't be reached .*curl -I http/));
    }
  });

  test('a certificate of an authority that nobody knows', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'mt-s3-tls-'));
    const tls = { cert: join(dir, 'cert.pem'), key: join(dir, 'key.pem') };
    const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1'];
    const made = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-keyout', tls.key, '-out', tls.cert];
    await runOrThrow('openssl', [...made, ...subject]);
    const server = await startS3Server({ tls });
    try {
      const store = await openS3(await createBucket(await s3Server()), server, { endpoint: server.endpoint });
      expect(await failureOf(store.list())).toEqual(unavailable('retry', /can't be trusted .*NODE_EXTRA_CA_CERTS/));
    } finally {
      await server.stop();
      await rm(dir, { recursive: true });
    }
  });

  // What this server can't be brought to say is said by a proxy in its place.
  test.each<[string, number, 'retry' | 'stalled', RegExp]>([
    ['SlowDown', 503, 'retry', /could not do it now \(SlowDown/],
    ['QuotaExceeded', 400, 'retry', /is full/],
    ['RequestTimeTooSkewed', 403, 'retry', /clock .*timedatectl/],
    ['ExpiredToken', 400, 'retry', /Secret backups .*sessionToken/],
    ['AuthorizationHeaderMalformed', 400, 'stalled', /region .*spec\.backup\.storage\.s3\.region/],
    ['NotImplemented', 501, 'stalled', /serverSideEncryption/],
    ['InvalidRequest', 400, 'retry', /can't be used .*aws s3 ls/],
  ])('%s', async (code, status, kind, message) => {
    const server = await s3Server();
    await using proxy = await startS3Proxy(server.endpoint);
    const store = await openS3(await createBucket(server), server, { endpoint: proxy.endpoint });
    proxy.answer(status, code, Infinity);
    expect(await failureOf(store.list())).toEqual(unavailable(kind, message));
  });

  test('a Secret without the keys', async () => {
    const bucket = await createBucket(await s3Server());
    const opening = openS3(bucket, {} as never);
    expect(await failureOf(opening)).toMatchObject({ reason: 'SecretNotFound' });
  });

  test('an answer of something that is no S3', async () => {
    const server = await s3Server();
    const web = createServer((_, response) => void response.end('<html>It works!</html>')).listen(0, '127.0.0.1');
    await new Promise((resolve) => web.once('listening', resolve));
    const { port } = web.address() as { port: number };
    try {
      const store = await openS3(await createBucket(server), server, { endpoint: `http://127.0.0.1:${port}` });
      expect(await failureOf(store.list())).toEqual(unavailable('stalled', /not as S3 does/));
    } finally {
      web.closeAllConnections();
      web.close();
    }
  });
});

describe('what passes is sat out', () => {
  test('a service that is overloaded for a moment', async () => {
    const server = await s3Server();
    await using proxy = await startS3Proxy(server.endpoint);
    const store = await openS3(await createBucket(server), server, { endpoint: proxy.endpoint });
    proxy.answer(503, 'SlowDown', 2);
    expect(await store.list()).toEqual({ backups: [], broken: [] });
  });

  test('a clock that is an hour wrong', async () => {
    const server = await s3Server();
    const store = await openS3(await createBucket(server), server);
    const { now } = Date;
    jest.spyOn(Date, 'now').mockImplementation(() => now.call(Date) + 3_600_000);
    expect(await store.list()).toEqual({ backups: [], broken: [] });
  });
});

/** 30 MiB that nothing can be saved of: four parts. */
const parts = Array.from({ length: 30 }, () => randomBytes(1024 * 1024));
const whole = Buffer.concat(parts).toString('utf8');

test('what a killed process was uploading goes when the next one clears away after it', async () => {
  const server = await s3Server();
  const bucket = await createBucket(server);
  const store = await openS3(bucket, server);
  const request = { storage: bucket.storage(), credentials: server, id: store.newId(new Date()) };
  const program = join(import.meta.dirname, 'child.ts');
  const child = spawn(node, ['--disable-warning=ExperimentalWarning', program, JSON.stringify(request)]);
  const ended = once(child, 'exit');
  while ((await bucket.unfinished()).length === 0) expect(child.exitCode).toBeNull();
  child.kill('SIGKILL');
  await ended;

  expect(await bucket.unfinished()).toEqual([`${request.id}/dump/database.dump`]);
  await store.removeLeftovers('op-other');
  expect(await bucket.unfinished()).toHaveLength(1);
  await store.removeLeftovers('op-killed');
  expect(await bucket.unfinished()).toEqual([]);
  expect(await bucket.keys()).toEqual([]);
});

describe('a dump of several parts', () => {
  let proxy: S3Proxy;
  let store: BackupStore;
  let bucket: Awaited<ReturnType<typeof createBucket>>;
  beforeAll(async () => {
    const server = await s3Server();
    proxy = await startS3Proxy(server.endpoint);
    bucket = await createBucket(server);
    store = await openS3(bucket, server, { endpoint: proxy.endpoint });
  });
  afterAll(async () => proxy[Symbol.asyncDispose]());
  afterEach(() => {
    proxy.cut('up', Infinity, 0);
  });

  test('never lies whole in the memory', async () => {
    const draft = await store.begin(store.newId(new Date()), 'op1');
    const before = proxy.received();
    let made = 0;
    let most = 0;
    const content = function* (): Generator<Uint8Array> {
      for (let part = 0; part < 160; part += 1) {
        const chunk = parts[part % parts.length] ?? Buffer.alloc(0);
        made += chunk.length;
        most = Math.max(most, made - (proxy.received() - before));
        yield chunk;
      }
    };
    await writeTo(draft, content());
    expect(made).toBe(160 * 1024 * 1024);
    // Four parts of 8 MiB on their way, and one that is being filled.
    expect(most).toBeLessThan(64 * 1024 * 1024);
    await draft.discard();
  });

  test('is written though connections are cut, and comes back though they are', async () => {
    const id = store.newId(new Date());
    const draft = await store.begin(id, 'op1');
    proxy.cut('up', 3_000_000, 2);
    await writeTo(draft, parts);
    const manifest = await draft.commit(bare(id), schema);
    expect(manifest.files[0]).toMatchObject({ bytes: 30 * 1024 * 1024 });

    const asked = proxy.heads.length;
    proxy.cut('down', 5_000_000, 4);
    expect((await textOf(store.dumpOf(manifest))) === whole).toBe(true);
    const ranges = proxy.heads.slice(asked).flatMap((head) => /\r\nrange: bytes=(\d+)-/i.exec(head)?.[1] ?? []);
    expect(ranges).toHaveLength(4);
    expect(await store.check(id)).toEqual({ ok: true });
  });

  test('is given up where they are cut again and again, and nothing of it is left', async () => {
    const id = store.newId(new Date());
    const draft = await store.begin(id, 'op1');
    const keys = await bucket.keys();
    proxy.cut('up', 3_000_000, Infinity);
    expect(await failureOf(writeTo(draft, parts))).toEqual(unavailable('retry', /can't be reached/));
    proxy.cut('up', Infinity, 0);
    await draft.discard();
    expect(await bucket.unfinished()).toEqual([]);
    expect(await bucket.keys()).toEqual(keys.filter((key) => !key.includes(id)));
  });

  test('is not read on for ever where nothing comes any more', async () => {
    const id = store.newId(new Date());
    const draft = await store.begin(id, 'op1');
    const written = await writeTo(draft, parts);
    const { content } = await written.read();
    const chunks = content[Symbol.asyncIterator]();
    await chunks.next();
    proxy.cut('down', 0, Infinity);
    const rest = async (): Promise<void> => {
      for (let next = await chunks.next(); next.done !== true; next = await chunks.next());
    };
    expect(await failureOf(rest())).toEqual(unavailable('retry', /can't be reached/));
    proxy.cut('down', 0, 0);
    await draft.discard();
  });

  test('that becomes another while it is read is told, not mixed', async () => {
    const id = store.newId(new Date());
    const draft = await store.begin(id, 'op1');
    const written = await writeTo(draft, parts);
    const manifest = await draft.commit(bare(id), schema);
    proxy.cut('down', 5_000_000, 1);
    const { content } = await written.read();
    const chunks = content[Symbol.asyncIterator]();
    await chunks.next();
    await bucket.put(`${id}/dump/database.dump`, 'x'.repeat(manifest.files[0]?.bytes ?? 0));
    const rest: Uint8Array[] = [];
    const readOn = async (): Promise<void> => {
      for (let next = await chunks.next(); next.done !== true; next = await chunks.next()) rest.push(next.value);
    };
    expect(await failureOf(readOn())).toMatchObject({ reason: 'BackupInvalid' });
    expect(rest.some((chunk) => Buffer.from(chunk).includes('x'.repeat(1000)))).toBe(false);
  });
});
