/** A backup that goes to a bucket: no upload that was begun, and no note of it, outlives the next start. */
import { mkdir } from 'node:fs/promises';

import { operationSteps } from '../../src/rollback/model.ts';
import { describeCrashes } from '../support/crash-suite.ts';
import { majorInTurn } from '../support/majors.ts';
import { createBucket, s3Server, writeSecret } from '../support/s3.ts';
import { threeSteps } from '../support/scene.ts';

const server = await s3Server();
const bucket = await createBucket(server);

describeCrashes({
  name: 'a backup into a bucket',
  options: {
    history: threeSteps,
    spec: {
      policy: { rehearsal: 'Never', dataLoss: 'Allow' },
      backup: { storage: { directory: null, ...bucket.storage() } },
    },
  },
  prepare: async (scene) => {
    await writeSecret(scene.dir, server);
    await mkdir(scene.backups);
    await scene.goTo('a3');
    await scene.declare({ revision: 'a1' });
  },
  desired: 'a1',
  without: ['rehearse', 'restore', 'quiesce', 'resume'],
  killedElsewhere: operationSteps.filter((step) => step !== 'backup'),
  leftBehind: async () => [
    ...(await bucket.unfinished()).map((key) => `the upload of ${key}`),
    ...(await bucket.keys()).filter((key) => key.startsWith('.unfinished/')),
  ],
  on: [majorInTurn(0)],
});
