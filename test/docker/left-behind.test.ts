import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type Docker from 'dockerode';

import { sql, writeHistory } from '../support/alembic.ts';
import { dockerScene, inContainer, testEngine, type DockerScene } from '../support/docker.ts';

const engine = await testEngine();

(engine === null ? describe.skip : describe)('a controller that is killed leaves in containers', () => {
  let docker: DockerScene;
  let dir: string;
  let application: Docker.Container;
  let name: string;

  beforeAll(async () => {
    if (engine === null) return;
    docker = await dockerScene(engine);
    dir = await mkdtemp(join(tmpdir(), 'mt-left-'));
    await writeHistory(dir, { revisions: [{ id: 'a1', up: sql('SELECT 1') }] });
    name = docker.name('app');
    application = await docker.application({ name, dir, command: ['/usr/bin/sleep', '1000'] });
  });
  afterAll(async () => {
    await docker[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });

  /** Starts alembic there, from a process of its own that is killed then; resolves with what it said. */
  async function killed(): Promise<string> {
    const program = join(import.meta.dirname, 'lent-python.ts');
    const child = spawn(process.execPath, [program, `unix://${docker.engine.socketPath}`, name], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [said] = (await once(child.stdout, 'data')) as [Buffer];
    child.kill('SIGKILL');
    await once(child, 'exit');
    return said.toString();
  }

  test('no Python in the application’s', async () => {
    expect(await killed()).toBe(`runs in the container ${name}\n`);
    for (;;) {
      const { output } = await inContainer(application, ['sh', '-c', 'cat /proc/[0-9]*/comm']);
      if (!output.includes('python3')) break;
    }
  });

  test('no container that was made like it', async () => {
    await application.stop({ t: 0 });
    expect(await killed()).toBe(`runs in a container made like ${name}, which is exited\n`);
    const label = [`dev.migrationtarget.one-off-of=${name}`];
    while ((await docker.engine.docker.listContainers({ all: true, filters: { label } })).length > 0);
  });
});
