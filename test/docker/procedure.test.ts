import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { describe, expect, test } from '@jest/globals';

import { python, writeHistory } from '../support/alembic.ts';

import { dockerHost, inContainer, testEngine } from '../support/docker.ts';
import { containedScene } from '../support/docker-scene.ts';
import { testServer } from '../support/postgres.ts';
import { createBucket, s3Server, writeSecret } from '../support/s3.ts';
import { restoreByHand } from '../support/restore-by-hand.ts';
import { said, threeSteps } from '../support/scene.ts';

const engine = await testEngine();

(engine === null ? describe.skip : describe)('on a Docker host', () => {
  const host = dockerHost(engine);

  /** What a container has of files that come and go. */
  const filesOf = async (container: Parameters<typeof inContainer>[0]): Promise<string> =>
    (await inContainer(container, ['sh', '-c', 'ls -A /dev/shm /tmp /run | grep -v "^.s.PGSQL\\|^PostgreSQL"'])).output;

  test('a database goes up and down: alembic and the tools run in their containers, the dumps come to the backup folder', async () => {
    await using scene = await containedScene(host.docker, { history: threeSteps, server: host.server });
    const [before, beforeApp] = [await filesOf(host.server.container), await filesOf(scene.application)];
    const up = await scene.goTo('a3');
    expect(said(up.outcome)).toMatch(/^ready Upgraded/);
    expect(await scene.version()).toBe('a3');
    const down = await scene.goTo('a1');
    expect(said(down.outcome)).toMatch(/^ready Downgraded/);
    expect(await scene.version()).toBe('a1');
    expect(await scene.query('SELECT count(*)::int AS n FROM users')).toEqual([{ n: 1000 }]);

    const backups = await (
      await scene.ports.backups.open({ directory: { path: scene.backups } }, key, scene.ports.home)
    ).list();
    expect(backups.broken).toEqual([]);
    expect(
      backups.backups.map(({ format, revisions, verifiedAt }) => ({
        format,
        revisions,
        verified: verifiedAt !== null,
      })),
    ).toEqual([
      { format: 'custom', revisions: ['a3'], verified: true },
      { format: 'custom', revisions: null, verified: true },
    ]);
    const [newest] = backups.backups;
    const dump = await readFile(join(scene.backups, newest?.id ?? '', 'dump', 'database.dump'));
    expect(dump.subarray(0, 5).toString()).toBe('PGDMP');
    expect(await readdir(scene.backups)).not.toContainEqual(expect.stringContaining('partial'));
    // It is whole without us too.
    const byHand = {
      server: await testServer(16),
      name: scene.database.name,
      adminUrl: await scene.database.adminUrl(),
    };
    await restoreByHand(join(scene.backups, newest?.id ?? ''), byHand, `${scene.database.name}_aside`);
    expect(await scene.version()).toBe('a3');
    // Nothing is left inside.
    expect(await filesOf(host.server.container)).toBe(before);
    expect(await filesOf(scene.application)).toBe(beforeApp);
    const containers = await host.docker.engine.docker.listContainers({
      all: true,
      filters: { label: [`dev.migrationtarget.one-off-of=${scene.name}`] },
    });
    expect(containers).toEqual([]);
  });

  test('the same with a bucket: what pg_dump says in its container goes there, and comes from there', async () => {
    const s3 = await s3Server();
    const bucket = await createBucket(s3);
    await using scene = await containedScene(host.docker, {
      history: threeSteps,
      server: host.server,
      spec: { backup: { storage: bucket.storage() } },
    });
    await writeSecret(scene.dir, s3);
    expect(said((await scene.goTo('a3')).outcome)).toMatch(/^ready Upgraded/);
    expect(said((await scene.goTo('a1')).outcome)).toMatch(/^ready Downgraded/);
    expect((await bucket.keys()).filter((key) => key.endsWith('/dump/database.dump'))).toHaveLength(2);
    await expect(readdir(scene.backups)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  const key = { namespace: 'default', name: 'unicorn' };

  test('a rehearsal runs on a copy in the same container, and tells what would be lost', async () => {
    await using scene = await containedScene(host.docker, { history: threeSteps, server: host.server });
    await scene.goTo('a3', { policy: { rehearsal: 'Always', dataLoss: 'Allow' } });
    expect(await scene.version()).toBe('a3');
    const down = await scene.goTo('a1', { policy: { rehearsal: 'Always', dataLoss: 'RequireApproval' } });
    expect(said(down.outcome)).toMatch(/^awaitingApproval/);
    expect(down.status.plan?.loss?.rows).toBe(1000);
    expect(await scene.version()).toBe('a3');
    const allowed = await scene.goTo('a1', { policy: { rehearsal: 'Always', dataLoss: 'Allow' } });
    expect(said(allowed.outcome)).toMatch(/^ready Downgraded/);
    expect(await scene.version()).toBe('a1');
  });

  test('a downgrade that fails ends in a restore of the backup at the desired revision, streamed into the container', async () => {
    const [first, second] = threeSteps.revisions;
    if (first === undefined || second === undefined) throw new Error('two revisions are needed');
    const history = { revisions: [first, { ...second, downgrade: `raise Exception('no way down')` }] };
    await using scene = await containedScene(host.docker, { history, server: host.server });
    await scene.goTo('a1');
    const atA1 = await scene.checksum();
    await scene.goTo('a2');
    const down = await scene.goTo('a1');
    expect(said(down.outcome)).toMatch(/^ready RestoredFromBackup/);
    expect(await scene.version()).toBe('a1');
    expect(await scene.checksum()).toBe(atA1);
  });

  test('where the application does not run, alembic runs in a container made like it, which is gone afterwards', async () => {
    await using scene = await containedScene(host.docker, { history: threeSteps, server: host.server });
    await scene.application.stop();
    const up = await scene.goTo('a2', { policy: { rehearsal: 'Always', dataLoss: 'Allow' } });
    expect(said(up.outcome)).toMatch(/^ready Upgraded/);
    expect(await scene.version()).toBe('a2');
    expect((await scene.application.inspect()).State.Running).toBe(false);
    const containers = await host.docker.engine.docker.listContainers({
      all: true,
      filters: { network: [host.docker.network] },
    });
    expect(containers.map(({ Names }) => Names[0])).not.toContainEqual(
      expect.not.stringMatching(/unicorn-postgresql|ops-center/),
    );
  });

  test('the URL may be the one of this machine too: env.py is handed the name of the container', async () => {
    await using scene = await containedScene(host.docker, {
      history: threeSteps,
      server: host.server,
      url: ({ url }) => url.replace(`${host.server.name}:5432`, `127.0.0.1:${host.server.port}`),
      spec: { alembic: { workingDir: '/app', databaseUrl: { env: 'DATABASE_URL' } } },
    });
    expect(said((await scene.goTo('a2')).outcome)).toMatch(/^ready Upgraded/);
    expect(await scene.version()).toBe('a2');
  });

  test('nothing of a container is remembered by a path that leads elsewhere here', async () => {
    const graphs = await mkdtemp(join(tmpdir(), 'mt-graphs-'));
    const usual = process.env['MIGRATION_TARGET_GRAPHS'];
    process.env['MIGRATION_TARGET_GRAPHS'] = graphs;
    try {
      // At the same path in both, with the same Python: all that would be needed.
      const app = await mkdtemp(join(tmpdir(), 'mt-app-'));
      await writeHistory(app, threeSteps);
      const mounted = { Binds: [`${app}:${app}:ro`] };
      await using scene = await containedScene(host.docker, {
        history: threeSteps,
        server: host.server,
        application: { host: mounted },
      });
      const alembic = { workingDir: app, python: await python() };
      expect(said((await scene.goTo('a1', { alembic })).outcome)).toMatch(/^ready Upgraded/);
      expect(await readdir(graphs)).toEqual([]);
      await rm(app, { recursive: true, force: true });
    } finally {
      if (usual === undefined) delete process.env['MIGRATION_TARGET_GRAPHS'];
      else process.env['MIGRATION_TARGET_GRAPHS'] = usual;
      await rm(graphs, { recursive: true, force: true });
    }
  });

  test('passwords are in no argument, and in no environment that the engine shows', async () => {
    const shown: string[] = [];
    await using scene = await containedScene(host.docker, {
      history: threeSteps,
      server: host.server,
      spec: { alembic: { workingDir: '/app', databaseUrl: { env: 'DATABASE_URL' } } },
    });
    const since = Math.floor(Date.now() / 1000);
    await scene.application.stop();
    await scene.goTo('a1');
    const events = await host.docker.engine.docker.getEvents({ since, until: Math.ceil(Date.now() / 1000) + 1 });
    for await (const chunk of events) shown.push(String(chunk));
    expect(shown.join('')).toContain('exec_create');
    expect(shown.join('')).toContain('pg_dump');
    expect(shown.join('')).not.toContain(scene.database.password);
  });
});
