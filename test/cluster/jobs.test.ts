/** `runtime.kubernetes`: alembic and PostgreSQL's tools in real Jobs. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';

import { images, revisions } from '../support/cluster.ts';
import { jobScene, type JobScene } from '../support/job-scene.ts';
import { said } from '../support/scene.ts';

let scene: JobScene;

beforeAll(async () => {
  scene = await jobScene();
  await scene.deploy(images.application);
});
afterAll(async () => scene[Symbol.asyncDispose]());

test('an upgrade runs in a Job like the Deployment, after a backup by the tools beside the controller', async () => {
  const { outcome, status } = await scene.goTo(revisions.newest);
  expect(said(outcome)).toMatch(/^ready Upgraded/);
  expect(await scene.version()).toBe(revisions.newest);
  expect(status.lastBackup).not.toBeNull();
});

test('a downgrade is tried on a copy in Jobs too, and then done', async () => {
  const { outcome } = await scene.goTo(revisions.before, { policy: { rehearsal: 'Always', dataLoss: 'Allow' } });
  expect(said(outcome)).toMatch(/^ready Downgraded/);
  expect(await scene.version()).toBe(revisions.before);
});

test('with the older image deployed, the image that led to the newer revision leads back', async () => {
  await scene.goTo(revisions.newest, { policy: { rehearsal: 'Never', dataLoss: 'Allow' } });
  await scene.deploy(images.applicationBefore);
  const { outcome } = await scene.goTo(revisions.before);
  expect(said(outcome)).toMatch(/^ready Downgraded.*those of image \w{12} are run/s);
  expect(await scene.version()).toBe(revisions.before);
});
