import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { describe, expect, test } from '@jest/globals';

import { writeHistory } from '../support/alembic.ts';
import { dockerHost, testEngine } from '../support/docker.ts';
import { containedScene } from '../support/docker-scene.ts';
import { said, threeSteps } from '../support/scene.ts';

const engine = await testEngine();

(engine === null ? describe.skip : describe)('images on a Docker host', () => {
  const host = dockerHost(engine);

  async function imageWith(revisions: number): Promise<string> {
    const dir = await mkdtemp(join(tmpdir(), 'mt-image-'));
    await writeHistory(dir, { ...threeSteps, revisions: threeSteps.revisions.slice(0, revisions) });
    const image = await host.docker.imageOf(dir);
    await rm(dir, { recursive: true });
    return image;
  }

  test('with the older image deployed first, the newer one that led there leads back; where it is gone, what was kept of it', async () => {
    const [older, newer] = [await imageWith(1), await imageWith(3)];
    const command = [
      'python3',
      '-c',
      'import signal; signal.signal(signal.SIGTERM, lambda *_: exit(0)); signal.pause()',
    ];
    await using scene = await containedScene(host.docker, {
      history: threeSteps,
      server: host.server,
      application: { image: newer, command },
    });
    const deploy = async (image: string): Promise<void> => {
      await host.docker.engine.docker.getContainer(scene.name).remove({ force: true });
      const env = { DATABASE_URL: scene.database.url };
      await host.docker.application({ name: scene.name, dir: scene.dir, env, image, command });
    };
    const workloads = [{ kind: 'Container', name: scene.name }];
    await scene.goTo('a1', { application: { workloads } });
    expect(said((await scene.goTo('a3')).outcome)).toMatch(/^ready Upgraded/);

    await deploy(older);
    const back = await scene.goTo('a1', { policy: { rehearsal: 'Always', dataLoss: 'Allow' } });
    const short = newer.replace('sha256:', '').slice(0, 12);
    expect(said(back.outcome)).toMatch(
      new RegExp(`^ready Downgraded: .*those of image ${short} are run, in a container of it, which led to a3`),
    );
    expect(await scene.version()).toBe('a1');
    // What runs is still what was deployed.
    expect((await host.docker.engine.docker.getContainer(scene.name).inspect()).Image).toBe(older);

    await deploy(newer);
    expect(said((await scene.goTo('a3')).outcome)).toMatch(/^ready Upgraded/);
    await deploy(older);
    await host.docker.engine.docker.getImage(newer).remove({ force: true });
    const again = await scene.goTo('a1');
    expect(said(again.outcome)).toMatch(
      new RegExp(
        `^ready Downgraded: .*those are run that were kept, in what is deployed now, .*\\(not in image ${short}: The Docker Engine at .* has no image ${short} any more`,
      ),
    );
    expect(await scene.version()).toBe('a1');
  });
});
