import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

import { sql, writeHistory } from '../support/alembic.ts';
import { dockerScene, inContainer, testEngine, type DatabaseContainer, type DockerScene } from '../support/docker.ts';
import { query } from '../support/postgres.ts';

const engine = await testEngine();

(engine === null ? describe.skip : describe)('the Docker host of the test bed', () => {
  let scene: DockerScene;
  let server: DatabaseContainer;
  let dir: string;

  beforeAll(async () => {
    if (engine === null) return;
    scene = await dockerScene(engine);
    server = await scene.database({ published: true });
    dir = await mkdtemp(join(tmpdir(), 'mt-docker-'));
    await writeHistory(dir, { revisions: [{ id: 'a1', up: sql('CREATE TABLE t (id int)') }] });
  });
  afterAll(async () => {
    await scene[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });

  test('has PostgreSQL 16 in a container, reached by its address and by its published port', async () => {
    const here = await server.adminUrl();
    const published = new URL(here);
    published.host = `127.0.0.1:${server.port}`;
    for (const url of [here, published.href]) {
      const [row] = await query<{ server_version: string }>(url, 'SHOW server_version');
      expect(row?.server_version).toMatch(/^16\./);
    }
    expect(await inContainer(server.container, ['pg_dump', '--version'])).toMatchObject({ code: 0 });
  });

  test('has an application whose alembic reaches the database by its name on the network', async () => {
    const database = await server.createDatabase();
    const env = { DATABASE_URL: database.url };
    const app = await scene.application({ name: scene.name('ops-center'), dir, env });
    expect(await inContainer(app, ['python3', '-m', 'alembic', 'upgrade', 'head'])).toEqual({
      code: 0,
      output: '',
    });
    expect(await query(await database.adminUrl(), 'SELECT version_num FROM alembic_version')).toEqual([
      { version_num: 'a1' },
    ]);
    const { NetworkSettings } = await app.inspect();
    const address = NetworkSettings.Networks[scene.network]?.IPAddress;
    expect((await fetch(`http://${address}:8084/api/v1/system/status`)).status).toBe(200);
  });

  test('removes all that was on its network', async () => {
    if (engine === null) return;
    const another = await dockerScene(engine);
    await another.application({ name: another.name('app'), dir, command: ['sleep', '1000'] });
    await another[Symbol.asyncDispose]();
    expect((await engine.docker.listNetworks()).map(({ Name }) => Name)).not.toContain(another.network);
    const left = await engine.docker.listContainers({ all: true });
    expect(left.flatMap(({ Names }) => Names)).not.toContain(`/${another.name('app')}`);
  });
});
