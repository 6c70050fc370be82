/** What a controller keeps of a target in memory, and keeps open for it, goes with the target. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';

import type { TargetKey } from '../../../src/api/target.ts';
import { createScene, threeSteps } from '../../support/scene.ts';
import { runController } from '../../integration/bad-input/controller.ts';

test('the storage of a target that is declared no more is let go of', async () => {
  const { promise: gone, resolve } = Promise.withResolvers<TargetKey>();
  await using scene = await createScene(16, {
    history: threeSteps,
    ports: (ports) => ({
      ...ports,
      backups: {
        ...ports.backups,
        letGo: async (target) => {
          await ports.backups.letGo(target);
          resolve(target);
        },
      },
    }),
  });
  await scene.goTo('a1');
  let letGo: TargetKey | null = null;
  await runController(scene, {
    meanwhile: async () => {
      await rm(join(scene.dir, 'targets', 'unicorn.yaml'));
      letGo = await gone;
    },
  });
  expect(letGo).toEqual({ namespace: 'default', name: 'unicorn' });
});
