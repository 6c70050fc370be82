import { expect, test } from '@jest/globals';
import { createKeptTargets } from '../../../src/adapters/kubernetes/kept.ts';
import { asStored } from '../../../src/adapters/kubernetes/objects.ts';

const key = { namespace: 'ops', name: 'unicorn' };
const version = (resourceVersion: string, uid = 'u') => ({ uid, resourceVersion });
const stored = (resourceVersion: string) =>
  asStored({
    metadata: { ...key, ...version(resourceVersion), generation: 1, managedFields: [{ manager: 'kubectl' }] },
    spec: {
      revision: 'a1',
      database: { urlFrom: { secretKeyRef: { name: 'unicorn', key: 'url' } } },
      alembic: { workingDir: '/app' },
      runtime: { process: {} },
      backup: { storage: { directory: { path: '/backups' } } },
    },
    status: null,
  });

test('what was read is recalled while the watch tells of no other version', () => {
  const kept = createKeptTargets();
  kept.keep(key, stored('7'));
  expect(kept.recall(key)).toBeNull();
  kept.told(key, version('7'));
  expect(kept.recall(key)).toMatchObject({ metadata: { ...key, generation: 1 }, spec: { revision: 'a1' } });
  kept.told(key, version('8'));
  expect(kept.recall(key)).toBeNull();
});

test('what was written by ourselves in part, or is gone, is not', () => {
  const kept = createKeptTargets();
  kept.keep(key, stored('7'));
  kept.rewritten(key, version('8'));
  kept.told(key, version('8'));
  expect(kept.recall(key)).toBeNull();
  expect(kept.version(key)).toMatchObject(version('8'));
  kept.keep(key, stored('8'));
  expect(kept.recall(key)).not.toBeNull();
  kept.told(key, null);
  expect(kept.recall(key)).toBeNull();
});
