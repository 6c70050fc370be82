import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { describe, expect, test } from '@jest/globals';

import { dockerScene, startOwnEngine, testEngine } from '../support/docker.ts';
import { containedScene } from '../support/docker-scene.ts';
import { operationSteps } from '../../src/rollback/model.ts';
import { query, startOwnServer } from '../support/postgres.ts';
import { said, threeSteps } from '../support/scene.ts';

const engine = await testEngine();

(engine === null ? describe.skip : describe)('the Docker Engine', () => {
  test('may be killed in the middle: nothing was changed, the application stays stopped, and once it is there again the change goes through', async () => {
    const own = await startOwnEngine();
    try {
      const docker = await dockerScene(own);
      const server = await docker.database();
      const slowly = {
        revisions: threeSteps.revisions.map((each) => ({
          ...each,
          up: `${each.up}\nop.execute('SELECT pg_sleep(3)')`,
        })),
      };
      await using scene = await containedScene(docker, {
        history: slowly,
        server,
        application: { host: { RestartPolicy: { Name: 'always' } } },
      });
      await scene.declare({ application: { workloads: [{ kind: 'Container', name: scene.name }] } });
      const going = scene.goTo('a1');
      while (!scene.observed.some((event) => event.kind === 'migration' && event.event.kind === 'started')) {
        await scene.query('SELECT 1');
      }
      await own.engine.kill();
      await own.engine.start();
      const { outcome } = await going;
      expect(said(outcome)).toMatch(/^(retrying|stalled) /);
      // An engine that was killed ends its containers when it starts.
      if (!(await server.container.inspect()).State.Running) await server.container.start();
      // It would start one that is always to run, in the middle of what it was stopped for.
      expect((await scene.application.inspect()).State.Running).toBe(false);
      await server.untilItAnswers();
      await scene.reconcile();
      const again = await scene.goTo('a1', { interval: '6m' });
      expect(said(again.outcome)).toMatch(/^ready /);
      expect(await scene.version()).toBe('a1');
      const { State, HostConfig } = await scene.application.inspect();
      expect({ running: State.Running, policy: HostConfig.RestartPolicy?.Name }).toEqual({
        running: true,
        policy: 'always',
      });
    } finally {
      await own.engine.stop();
    }
  });

  test('may be restarted at each step: the database ends where it is declared, and the application runs', async () => {
    const own = await startOwnEngine();
    try {
      const docker = await dockerScene(own);
      const server = await docker.database();
      await server.container.update({ RestartPolicy: { Name: 'always' } });
      await using scene = await containedScene(docker, {
        history: threeSteps,
        server,
        application: { host: { RestartPolicy: { Name: 'always' } } },
      });
      let at: string | null = null;
      const restarts: Promise<void>[] = [];
      const restart = async (): Promise<void> => {
        await own.engine.kill();
        await own.engine.start();
      };
      const { observe } = scene.ports;
      Object.assign(scene.ports, {
        observe: (...told: Parameters<typeof observe>) => {
          observe(...told);
          const [, , event] = told;
          if (event.kind === 'step' && event.state === 'started' && event.step === at) {
            at = null;
            restarts.push(restart());
          }
        },
      });
      await scene.goTo('a2', { application: { workloads: [{ kind: 'Container', name: scene.name }] } });

      // The first is told of when it is over, and two are not gone through here.
      const not = new Set(['check', 'rehearse', 'restore']);
      for (const [place, step] of operationSteps.filter((one) => !not.has(one)).entries()) {
        const revision = place % 2 === 0 ? 'a1' : 'a2';
        at = step;
        let { outcome } = await scene.goTo(revision);
        // It did come to that step.
        expect({ step, restarts: restarts.length }).toEqual({ step, restarts: place + 1 });
        await restarts.at(-1);
        await server.untilItAnswers();
        for (let tries = 0; tries < 5 && outcome.kind !== 'ready'; tries += 1) {
          // What stalled waits for a person, who asks again.
          if (outcome.kind === 'stalled') await scene.declare({ interval: `${place * 5 + tries + 6}m` });
          ({ outcome } = await scene.reconcile());
        }
        const { State, HostConfig } = await scene.application.inspect();
        expect({
          step,
          said: said(outcome),
          version: await scene.version(),
          running: State.Running,
          policy: HostConfig.RestartPolicy?.Name,
        }).toEqual({
          step,
          said: expect.stringMatching(/^ready /) as unknown,
          version: revision,
          running: true,
          policy: 'always',
        });
      }
    } finally {
      await own.engine.stop();
    }
  }, 400_000);

  test('runs the application alone where the database is on its host: the tools are this machine’s, and either’s URL works', async () => {
    if (engine === null) return;
    await using docker = await dockerScene(engine);
    const { IPAM } = await docker.engine.docker.getNetwork(docker.network).inspect();
    const gateway = IPAM?.Config?.[0]?.['Gateway'] ?? '';
    const dir = await mkdtemp(join(tmpdir(), 'mt-hba-'));
    await chmod(dir, 0o755);
    await writeFile(join(dir, 'pg_hba.conf'), 'host all all all scram-sha-256\n');
    const server = await startOwnServer(16, {
      listen_addresses: `127.0.0.1,${gateway}`,
      hba_file: join(dir, 'pg_hba.conf'),
    });
    try {
      const fromContainer = (url: string): string => url.replace('127.0.0.1', gateway);
      const database = {
        name: 'unicorn_db',
        owner: 'unicorn',
        password: 'secret',
        url: fromContainer(server.url('unicorn_db', 'unicorn', 'secret')),
        networkAdminUrl: fromContainer(server.url('unicorn_db')),
        adminUrl: () => Promise.resolve(server.url('unicorn_db')),
      };
      await query(server.superuserUrl, `CREATE ROLE unicorn LOGIN CREATEDB PASSWORD 'secret'`);
      await query(server.superuserUrl, 'CREATE DATABASE unicorn_db OWNER unicorn');
      await using scene = await containedScene(docker, {
        history: threeSteps,
        server: { name: 'unused', createDatabase: () => Promise.resolve(database) },
        url: () => server.url('unicorn_db', 'unicorn', 'secret'),
        toolDirectories: [server.binDir],
      });
      const runtime = { docker: { container: scene.name } };
      expect(said((await scene.goTo('a2', { runtime })).outcome)).toMatch(/^ready Upgraded/);
      await writeFile(join(scene.dir, 'secrets', 'unicorn', 'url'), database.url);
      expect(said((await scene.goTo('a1')).outcome)).toMatch(/^ready Downgraded/);
      expect(await scene.version()).toBe('a1');
    } finally {
      await server.stop();
      await rm(dir, { recursive: true, force: true });
    }
  });
});
