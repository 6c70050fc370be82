import { beforeAll, expect, test } from '@jest/globals';

import { createBackupStores } from '../../../src/adapters/storage/index.ts';
import { schema, target } from '../../unit/storage/samples.ts';
import { createBucket, s3Server, secretsOf } from '../../support/s3.ts';
import { startS3Proxy } from '../../support/s3-proxy.ts';
import { adding, bare, openS3, writeTo } from './catalogue.ts';

// The server may have to be built first.
beforeAll(async () => void (await s3Server()), 600_000);

test('the encryption that is declared is asked for with every object that is written', async () => {
  const server = await s3Server();
  const bucket = await createBucket(server);
  await using proxy = await startS3Proxy(server.endpoint);
  const store = await openS3(bucket, server, { endpoint: proxy.endpoint, serverSideEncryption: 'AES256' });
  const id = store.newId(new Date());
  const draft = await store.begin(id, 'op1');
  await writeTo(
    draft,
    Array.from({ length: 20 }, () => Buffer.alloc(1024 * 1024)),
  );
  await draft.commit(bare(id), schema);
  const writing = proxy.heads.filter((head) => /^PUT (?!.*partNumber)|^POST .*uploads/.test(head));
  expect(writing).toHaveLength(4);
  for (const head of writing) expect(head).toMatch(/\r\nx-amz-server-side-encryption: AES256/i);
});

test('nothing is said of encryption where nothing is declared', async () => {
  const server = await s3Server();
  await using proxy = await startS3Proxy(server.endpoint);
  const store = await openS3(await createBucket(server), server, { endpoint: proxy.endpoint });
  await store.recordRehearsed(schema);
  expect(proxy.heads).toHaveLength(1);
  expect(proxy.heads[0]).not.toMatch(/encryption/i);
});

test('a look at a target asks nothing of a service whose catalogue this process knows', async () => {
  const server = await s3Server();
  const bucket = await createBucket(server);
  await using proxy = await startS3Proxy(server.endpoint);
  const stores = createBackupStores();
  const open = () => stores.open(bucket.storage({ endpoint: proxy.endpoint }), target, secretsOf(server));
  const manifest = await adding(await open())();
  expect((await (await open()).list({ mayBeOld: true })).backups).toEqual([manifest]);
  const asked = proxy.heads.length;

  expect((await (await open()).list({ mayBeOld: true })).backups).toEqual([manifest]);
  expect(proxy.heads).toHaveLength(asked);

  // What this process changes it knows, and whoever has to be sure asks.
  await (await open()).remove(manifest.id);
  expect((await (await open()).list({ mayBeOld: true })).backups).toEqual([]);
  const another = await adding(await openS3(bucket, server))();
  expect((await (await open()).list()).backups).toEqual([another]);

  // Nothing is known any more of what a target had that is gone.
  await stores.letGo(target);
  const askedBefore = proxy.heads.length;
  expect((await (await open()).list({ mayBeOld: true })).backups).toEqual([another]);
  expect(proxy.heads.length).toBeGreaterThan(askedBefore);
});
