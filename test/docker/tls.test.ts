import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer } from 'node:tls';
import { promisify } from 'node:util';

import { afterEach, describe, expect, test } from '@jest/globals';

import { createDockerHost } from '../../src/adapters/docker/index.ts';
import { dockerScene, testEngine } from '../support/docker.ts';
import { containedScene } from '../support/docker-scene.ts';
import { said, threeSteps } from '../support/scene.ts';

const engine = await testEngine();
const run = promisify(execFile);

/** A certificate authority, and a server and a client that it knows; named as Docker names them. */
async function makeCertificates(dir: string): Promise<void> {
  const openssl = (...args: string[]): Promise<unknown> => run('openssl', args, { cwd: dir });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  await openssl('req', '-x509', ...key, '-keyout', 'ca-key.pem', '-out', 'ca.pem', '-subj', '/CN=test authority');
  for (const [name, extension] of [
    ['server', 'subjectAltName=IP:127.0.0.1'],
    ['client', 'extendedKeyUsage=clientAuth'],
  ] as const) {
    const [keyFile, file] = name === 'client' ? ['key.pem', 'cert.pem'] : ['server-key.pem', 'server.pem'];
    await writeFile(join(dir, `${name}.ext`), extension);
    await openssl('req', ...key, '-keyout', keyFile, '-out', `${name}.csr`, '-subj', `/CN=${name}`);
    const signed = ['-CA', 'ca.pem', '-CAkey', 'ca-key.pem', '-CAcreateserial', '-extfile', `${name}.ext`];
    await openssl('x509', '-req', '-in', `${name}.csr`, '-out', file, ...signed);
  }
}

/** The engine behind TLS, as a remote one is: whoever has no certificate is not let in. */
async function startTls(dir: string, socketPath: string): Promise<AsyncDisposable & { readonly address: string }> {
  const read = (name: string): Promise<Buffer> => readFile(join(dir, name));
  const [cert, key, ca] = [await read('server.pem'), await read('server-key.pem'), await read('ca.pem')];
  const options = { cert, key, ca, requestCert: true, rejectUnauthorized: true, allowHalfOpen: true };
  const open = new Set<{ destroy(): unknown }>();
  const server = createServer(options, (client) => {
    const upstream = connect({ path: socketPath, allowHalfOpen: true });
    for (const one of [client, upstream]) {
      open.add(one);
      one.on('error', () => undefined);
    }
    client.pipe(upstream).pipe(client);
    client.on('close', () => upstream.destroy());
  });
  server.on('tlsClientError', () => undefined);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    address: `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      for (const one of open) one.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

(engine === null ? describe.skip : describe)('an engine behind TLS', () => {
  const names = ['DOCKER_HOST', 'DOCKER_TLS_VERIFY', 'DOCKER_CERT_PATH'] as const;
  afterEach(() => {
    for (const name of names) delete process.env[name];
  });

  test('is reached as Docker’s own variables say: programs run, the application is stopped and started', async () => {
    if (engine === null) return;
    const dir = await mkdtemp(join(tmpdir(), 'mt-tls-'));
    try {
      await makeCertificates(dir);
      await using tls = await startTls(dir, engine.socketPath);
      process.env['DOCKER_HOST'] = tls.address;
      await expect(createDockerHost(tls.address).server('nobody')).rejects.toMatchObject({
        reason: 'DockerUnreachable',
      });
      process.env['DOCKER_TLS_VERIFY'] = '1';
      process.env['DOCKER_CERT_PATH'] = dir;
      await using docker = await dockerScene(engine);
      const server = await docker.database();
      await using scene = await containedScene(docker, { history: threeSteps, server, engine: tls.address });
      const application = { workloads: [{ kind: 'Container', name: scene.name }] };
      expect(said((await scene.goTo('a2', { application })).outcome)).toMatch(/^ready Upgraded/);
      expect(await scene.version()).toBe('a2');
      expect(scene.observed).toContainEqual({ kind: 'downtime', ms: expect.any(Number) });
    } finally {
      await rm(dir, { recursive: true, force: true });
    }
  });
});
