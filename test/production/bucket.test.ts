/** Backups in a bucket, of a controller in a pod: with the credentials of the target's own namespace, not with the controller's. */
import { beforeAll, expect, test } from '@jest/globals';

import { createBucket, s3Server } from '../support/s3.ts';
import { condition, eventually, operatorFor, place, podOf, useCluster } from '../support/place.ts';

useCluster();
beforeAll(async () => void (await s3Server()), 600_000);

const args = ['--allow=process'];

test('the Secret that is named is read where the target is, and needs no leave', async () => {
  const server = await s3Server();
  const bucket = await createBucket(server);
  const here = await place();
  await here.kubectl([
    'create',
    'secret',
    'generic',
    'backups',
    `--from-literal=accessKeyId=${server.accessKeyId}`,
    `--from-literal=secretAccessKey=${server.secretAccessKey}`,
  ]);
  const operator = await operatorFor(here, { pod: await podOf(here), args });
  await here.apply('unicorn', 'a1', { backup: { storage: { directory: null, ...bucket.storage() } } });
  await here.wait('unicorn', 'condition=Ready');
  expect((await bucket.keys()).filter((key) => key.endsWith('/manifest.json'))).toHaveLength(1);
  await eventually('the backup is shown', async () =>
    (await here.kubectl(['get', 'migrationbackups', '-o', 'name'])).includes('unicorn-'),
  );
  const told = JSON.stringify([operator.log(), await here.target('unicorn')]);
  expect(told).not.toContain(server.secretAccessKey);
});

test('without one the controller would act as itself, which it was not allowed to', async () => {
  const here = await place();
  await operatorFor(here, { pod: await podOf(here), args });
  await here.apply('unicorn', 'a1', { backup: { storage: { directory: null, s3: { bucket: 'backups' } } } });
  await here.wait('unicorn', 'condition=Stalled');
  expect(condition(await here.target('unicorn'), 'Stalled')).toMatchObject({
    reason: 'NotAllowed',
    message: expect.stringMatching(/^In a pod spec\.backup\.storage\.s3 without secretRef would .*--allow=s3 /),
  });
});
