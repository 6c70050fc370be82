import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

import { diagnose, type Finding } from '../../src/rollback/diagnosis.ts';
import { examine } from '../../src/rollback/doctor.ts';
import { dockerScene, testEngine, type DatabaseContainer, type DockerScene } from '../support/docker.ts';
import { containedScene, type ContainedScene } from '../support/docker-scene.ts';
import { threeSteps } from '../support/scene.ts';

const engine = await testEngine();

(engine === null ? describe.skip : describe)('doctor on a Docker host', () => {
  let docker: DockerScene;
  let server: DatabaseContainer;
  let scene: ContainedScene;

  beforeAll(async () => {
    if (engine === null) return;
    docker = await dockerScene(engine);
    server = await docker.database();
    scene = await containedScene(docker, { history: threeSteps, server });
    await scene.goTo('a1');
  });
  afterAll(async () => {
    await scene[Symbol.asyncDispose]();
    await docker[Symbol.asyncDispose]();
  });

  const line = async (check: string): Promise<Finding | undefined> =>
    diagnose(await examine(await scene.target(), scene.ports, new AbortController().signal)).find(
      (finding) => finding.check === check,
    );

  test('tells which containers alembic and the tools were found in', async () => {
    expect(await line('tools')).toEqual({
      check: 'tools',
      level: 'ok',
      message: expect.stringMatching(
        new RegExp(`16\\.\\d+ in the container ${server.name}, as the server$`),
      ) as unknown,
    });
    expect(await line('alembic')).toEqual({
      check: 'alembic',
      level: 'ok',
      message: expect.stringContaining(` in the container ${scene.name}; 3 revisions`) as unknown,
    });
  });

  test('tells what would be stopped, and how it is; and what can’t be', async () => {
    const declare = (name: string) => scene.declare({ application: { workloads: [{ kind: 'Container', name }] } });
    await declare(scene.name);
    expect(await line('application')).toEqual({
      check: 'application',
      level: 'ok',
      message: `would stop ${scene.name}; the container ${scene.name} runs`,
    });
    await declare('nobody');
    expect(await line('application')).toMatchObject({
      level: 'fault',
      message: expect.stringContaining('docker ps --all') as unknown,
    });
    await scene.declare({ application: undefined });
    expect(await line('application')).toBeUndefined();
  });

  test('tells of a container that does not run, in which alembic does not run either', async () => {
    await scene.application.stop({ t: 0 });
    expect(await line('alembic')).toMatchObject({
      level: 'ok',
      message: expect.stringContaining(
        ` in a container made like ${scene.name}, which is exited; 3 revisions`,
      ) as unknown,
    });
  });

  test('finds a container that is not there, before a rollback would', async () => {
    await scene.application.remove({ force: true });
    expect(await line('alembic')).toMatchObject({
      level: 'fault',
      message: expect.stringContaining(`The container "${scene.name}" (spec.runtime.docker.container)`) as unknown,
    });
  });
});
