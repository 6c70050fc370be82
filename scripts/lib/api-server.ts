import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { freePort } from './free-port.ts';
import type { KubeBinaries } from './kube-binaries.ts';
import { supervise } from './supervise.ts';
import type { Supervised } from './supervise.ts';

/** A Kubernetes API server with its etcd: no controllers, no nodes. Ends with this process. */
export interface ApiServer {
  readonly url: string;
  /** Path of a kubeconfig: a cluster administrator. */
  readonly kubeconfig: string;
  /** Path of the certificate that it is to be trusted by. */
  readonly certificate: string;
  /** Path of the private key that it signs service accounts' tokens with. */
  readonly serviceAccountKey: string;
  /** Path of the kubectl of the same version. */
  readonly kubectlPath: string;
  readonly logFile: string;
  stop(): Promise<void>;
  /** Kills the API server, not its etcd: nobody is told, nothing is lost. */
  kill(): Promise<void>;
  /** Starts it again after `kill`, and waits until it is ready. */
  start(): Promise<void>;
}

const READY_WITHIN_MS = 90_000;

export interface ApiServerOptions {
  /** Of the interface that it listens on, and by which it is reached from pods. Default: the loopback interface's. */
  readonly address?: string;
  /** Runs a command where that address is. Default: here. */
  readonly within?: (command: readonly string[]) => readonly string[];
  /** More of its flags. */
  readonly flags?: readonly string[];
}

/** Starts both in a temporary folder and waits until the API is ready. Throws with the end of the server's log where it fails. */
export async function startApiServer(
  binaries: KubeBinaries,
  { address = '127.0.0.1', within = (command) => command, flags = [] }: ApiServerOptions = {},
): Promise<ApiServer> {
  const dir = await mkdtemp(join(tmpdir(), 'migration-target-kube-'));
  const [etcdPort, peerPort, port] = [await freePort(), await freePort(), await freePort()];
  const url = `https://${address}:${port}`;
  const token = randomBytes(18).toString('hex');
  const logFile = join(dir, 'kube-apiserver.log');
  const kubeconfig = join(dir, 'kubeconfig');
  // The certificate that the server makes for itself is its own authority.
  const certificate = join(dir, 'certificates', 'apiserver.crt');

  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  await writeFile(join(dir, 'sa.key'), privateKey.export({ type: 'pkcs1', format: 'pem' }), { mode: 0o600 });
  await writeFile(join(dir, 'sa.pub'), publicKey.export({ type: 'spki', format: 'pem' }));
  await writeFile(join(dir, 'tokens.csv'), `${token},admin,admin,"system:masters"\n`, { mode: 0o600 });
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'test', cluster: { server: url, 'certificate-authority': certificate } }],
    users: [{ name: 'admin', user: { token } }],
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'admin' } }],
    'current-context': 'test',
  };
  await writeFile(kubeconfig, JSON.stringify(config, null, 2), { mode: 0o600 });

  const etcdUrl = `http://127.0.0.1:${etcdPort}`;
  const peerUrl = `http://127.0.0.1:${peerPort}`;
  const etcd = supervise(
    within([
      binaries.etcd,
      `--data-dir=${join(dir, 'etcd')}`,
      `--listen-client-urls=${etcdUrl}`,
      `--advertise-client-urls=${etcdUrl}`,
      `--listen-peer-urls=${peerUrl}`,
      `--initial-advertise-peer-urls=${peerUrl}`,
      `--initial-cluster=default=${peerUrl}`,
      '--unsafe-no-fsync',
      '--log-level=warn',
    ]),
    { logFile: join(dir, 'etcd.log'), signal: 'TERM', removeAfterwards: dir },
  );
  const command = within([
    binaries.apiserver,
    `--etcd-servers=${etcdUrl}`,
    `--cert-dir=${join(dir, 'certificates')}`,
    `--bind-address=${address}`,
    `--secure-port=${port}`,
    `--service-account-key-file=${join(dir, 'sa.pub')}`,
    `--service-account-signing-key-file=${join(dir, 'sa.key')}`,
    '--service-account-issuer=https://kubernetes.default.svc',
    `--token-auth-file=${join(dir, 'tokens.csv')}`,
    '--authorization-mode=RBAC',
    '--service-cluster-ip-range=10.0.0.0/24',
    '--allow-privileged',
    ...flags,
  ]);
  let server = supervise(command, { logFile, signal: 'TERM' });
  const stop = async (): Promise<void> => {
    await server.stop();
    await etcd.stop();
    await rm(dir, { recursive: true, force: true });
  };
  try {
    await untilReady(server, url, token, certificate);
  } catch (cause) {
    const log = await readFile(logFile, 'utf8').catch(() => '(it has no log)');
    await stop();
    throw new Error(`kube-apiserver did not start. The end of its log:\n${log.split('\n').slice(-12).join('\n')}`, {
      cause,
    });
  }
  return {
    url,
    kubeconfig,
    certificate,
    serviceAccountKey: join(dir, 'sa.key'),
    kubectlPath: binaries.kubectl,
    logFile,
    stop,
    kill: () => server.kill(),
    start: async () => {
      server = supervise(command, { logFile, signal: 'TERM' });
      await untilReady(server, url, token, certificate);
    },
  };
}

async function untilReady(server: Supervised, url: string, token: string, certificate: string): Promise<void> {
  const deadline = Date.now() + READY_WITHIN_MS;
  let ended = false;
  const end = (): void => void (ended = true);
  server.exited.then(end, end);
  while (!ended && Date.now() < deadline) {
    const ca = await readFile(certificate).catch(() => null);
    if (ca && (await status(`${url}/readyz`, token, ca)) === 200) return;
    await delay(100);
  }
  throw new Error(ended ? 'it ended' : `it was not ready within ${READY_WITHIN_MS / 1000} s`);
}

/** The status of an answer; null where there is none. */
function status(url: string, token: string, ca: Buffer): Promise<number | null> {
  return new Promise((resolve) => {
    const req = request(url, { ca, headers: { authorization: `Bearer ${token}` }, timeout: 5_000 }, (response) => {
      response.resume();
      resolve(response.statusCode ?? null);
    });
    req.on('timeout', () => req.destroy());
    req.on('error', () => resolve(null));
    req.end();
  });
}
