/** With its application stopped: killed anywhere, the application runs in the end, as the engine ran it before. */
import { randomBytes } from 'node:crypto';

import { afterAll, beforeAll, describe } from '@jest/globals';

import { createDockerHost } from '../../src/adapters/docker/index.ts';
import { describeCrashes } from '../support/crash-suite.ts';
import { dockerScene, testEngine, type DockerScene } from '../support/docker.ts';
import { majorInTurn } from '../support/majors.ts';
import { threeSteps } from '../support/scene.ts';

const engine = await testEngine();
const name = `ops-center-direct-${randomBytes(4).toString('hex')}`;
const address = `unix://${engine?.socketPath ?? ''}`;
const sleeps = 'import signal; signal.signal(signal.SIGTERM, lambda *_: exit(0)); signal.pause()';

(engine === null ? describe.skip : describe)('on a Docker host', () => {
  let docker: DockerScene;
  beforeAll(async () => {
    if (engine !== null) docker = await dockerScene(engine);
  });
  afterAll(async () => docker[Symbol.asyncDispose]());

  describeCrashes({
    name: 'a downgrade with its application stopped',
    options: {
      history: { ...threeSteps, transactionPerMigration: true },
      ports: (ports) => ({ ...ports, workloads: () => createDockerHost(address).workloads }),
    },
    engine: address,
    prepare: async (scene) => {
      await scene.goTo('a3');
      await docker.application({
        name,
        dir: scene.project.dir,
        command: ['python3', '-c', sleeps],
        host: { RestartPolicy: { Name: 'always' } },
      });
      await scene.declare({ revision: 'a1', application: { workloads: [{ kind: 'Container', name }] } });
    },
    desired: 'a1',
    without: ['rehearse', 'restore'],
    // As without an application: nothing was stopped yet, or all is over.
    killedElsewhere: ['check', 'plan', 'backup', 'gate', 'report'],
    leftBehind: async () => {
      const { State, HostConfig } = await docker.engine.docker.getContainer(name).inspect();
      const policy = HostConfig.RestartPolicy?.Name ?? '';
      return [
        ...(State.Running ? [] : ['a stopped application']),
        ...(policy === 'always' ? [] : [`policy ${policy}`]),
      ];
    },
    on: [majorInTurn(1)],
  });
});
