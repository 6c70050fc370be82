/** What a target costs whose database is where it should be: read every few minutes, by the thousand. */
import { chmod, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { createScene, said, threeSteps, type Scene } from '../support/scene.ts';

/** Forwards every connection to a server, and counts them. */
async function countingProxy(to: { readonly host: string; readonly port: number }) {
  let connections = 0;
  const sockets = new Set<Socket>();
  const proxy = createServer((client) => {
    connections += 1;
    const server = connect(to.port, to.host);
    for (const [from, into] of [
      [client, server],
      [server, client],
    ] as const) {
      sockets.add(from);
      from.on('error', () => into.destroy());
      from.on('close', () => sockets.delete(from));
      from.pipe(into);
    }
  }).listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  const address = proxy.address();
  if (address === null || typeof address === 'string') throw new Error('a TCP socket has no port');
  return {
    port: address.port,
    count: () => connections,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      proxy.close();
      await once(proxy, 'close');
    },
  };
}

/** A target that was taken to a3; from then on its database is reached through the proxy, and its Python leaves a mark. */
async function inSync(scene: Scene, port: number) {
  expect(said((await scene.goTo('a3')).outcome)).toMatch(/^ready Upgraded/);
  const mark = join(scene.dir, 'python-ran');
  const python = join(scene.dir, 'python');
  await writeFile(python, `#!/bin/sh\ntouch '${mark}'\nexit 1\n`);
  await chmod(python, 0o755);
  const url = new URL(scene.database.url);
  url.port = String(port);
  const declare = async (spec: Readonly<Record<string, unknown>>): Promise<void> => {
    await scene.declare({ revision: 'a3', alembic: { python }, ...spec });
    await writeFile(join(scene.dir, 'secrets', 'unicorn', 'url'), url.href, { mode: 0o600 });
  };
  await declare({});
  // The first reading by this way also finds out, once for each server, that there is no TLS.
  expect(said((await scene.reconcile()).outcome)).toMatch(/^ready/);
  return { mark, declare };
}

describe('reading the state of a target that is in sync', () => {
  test('costs one connection and no Python', async () => {
    await using scene = await createScene(16, { history: threeSteps });
    await using proxy = await countingProxy(scene.database.server);
    const { mark } = await inSync(scene, proxy.port);
    const before = proxy.count();

    expect(said((await scene.reconcile()).outcome)).toMatch(/^ready/);

    expect(proxy.count() - before).toBe(1);
    expect(existsSync(mark)).toBe(false);
  });

  test('costs the same where something is declared anew that the database is at', async () => {
    await using scene = await createScene(16, { history: threeSteps });
    await using proxy = await countingProxy(scene.database.server);
    const { mark, declare } = await inSync(scene, proxy.port);
    await declare({ interval: '7m' });
    const before = proxy.count();

    expect(said((await scene.reconcile()).outcome)).toMatch(/^ready/);

    expect((await scene.status()).observedGeneration).toBe((await scene.target()).metadata.generation);
    expect(proxy.count() - before).toBe(1);
    expect(existsSync(mark)).toBe(false);
  });

  test('is not what a change costs: that is seen by the proxy, and by the mark', async () => {
    await using scene = await createScene(16, { history: threeSteps });
    await using proxy = await countingProxy(scene.database.server);
    const { mark, declare } = await inSync(scene, proxy.port);
    await declare({ revision: 'a2' });
    const before = proxy.count();

    expect(said((await scene.reconcile()).outcome)).toMatch(/^stalled PythonNotFound/);

    expect(proxy.count() - before).toBeGreaterThan(1);
    expect(existsSync(mark)).toBe(true);
  });
});
