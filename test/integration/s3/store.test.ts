import { beforeAll, expect, test } from '@jest/globals';

import { schema } from '../../unit/storage/samples.ts';
import { createBucket, s3Server } from '../../support/s3.ts';
import { startS3Proxy } from '../../support/s3-proxy.ts';
import { bare, openS3, writeTo } from './catalogue.ts';

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
