/** What cuts the way back off says nothing of the migrations. */
import { expect, test } from '@jest/globals';

import { createScene, said, threeSteps } from '../../support/scene.ts';

const withUpgrade = (body: string) => ({
  revisions: threeSteps.revisions.map((revision) =>
    revision.id === 'a3' ? { ...revision, up: `${body}\n${revision.up}` } : revision,
  ),
});
const without = { policy: { rehearsal: 'Never', dataLoss: 'Allow' } };
const onCopy = `import os, time
is_copy = '__' in op.get_bind().execute(sa.text('SELECT current_database()')).scalar()`;

test('a way back that lasts longer than spec.timeout ends the rehearsal, and the database stays as it was', async () => {
  await using scene = await createScene(16, { history: withUpgrade(`${onCopy}\nif is_copy: time.sleep(60)`) });
  await scene.goTo('a3', without);
  const { outcome, status } = await scene.goTo('a2', {
    policy: { rehearsal: 'Always', dataLoss: 'Allow' },
    timeout: '15s',
  });
  expect(said(outcome)).toMatch(/^stalled TimedOut: /);
  expect(JSON.stringify(status)).not.toContain('did not end where it began');
  expect(await scene.version()).toBe('a3');
  expect(await scene.databases()).toEqual([scene.database.name]);
}, 120_000);

test('a Python that is killed on the way back is no migration that does not lead back', async () => {
  await using scene = await createScene(16, { history: withUpgrade(`${onCopy}\nif is_copy: os._exit(9)`) });
  await scene.goTo('a3', without);
  const { outcome, status } = await scene.goTo('a2', { policy: { rehearsal: 'Always', dataLoss: 'Allow' } });
  expect(said(outcome)).toMatch(/^ready Downgraded: /);
  expect(JSON.stringify(status)).not.toContain('did not end where it began');
}, 120_000);
