import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { cacheDirectory, type OnProgress } from './cache.ts';
import { freePort } from './free-port.ts';
import { publish } from './publish.ts';
import { runOrThrow } from './run.ts';
import { supervise, type Supervised } from './supervise.ts';

const SOURCE = join(import.meta.dirname, '../../test/support/s3');
const MODULE = 'github.com/versity/versitygw';

/** The S3 server, from the cache, else built by Go from the version and checksums in test/support/s3 (a minute or two, once). Returns its path. */
export async function ensureS3Server(onProgress: OnProgress = () => undefined): Promise<string> {
  const goMod = await readFile(join(SOURCE, 'go.mod'), 'utf8');
  const version = new RegExp(`^\\s${MODULE} (v\\S+)`, 'm').exec(goMod)?.[1];
  if (!version) throw new Error(`${SOURCE}/go.mod does not name ${MODULE}`);
  const dir = join(cacheDirectory(), `versitygw-${version}-${process.platform}-${process.arch}`);
  const program = join(dir, 'versitygw');
  if ((await readFile(program).catch(() => null)) === null)
    await publish(dir, async (own) => {
      onProgress(`building the S3 server versitygw ${version} with Go, which takes a minute or two`);
      await build(join(own, 'versitygw'));
    });
  return program;
}

async function build(output: string): Promise<void> {
  const flags = ['-mod=readonly', '-buildvcs=false', '-trimpath', '-ldflags=-s -w'];
  const env = { ...process.env, CGO_ENABLED: '0', GOFLAGS: '' };
  await runOrThrow('go', ['build', ...flags, '-o', output, `${MODULE}/cmd/versitygw`], { cwd: SOURCE, env }).catch(
    (cause: unknown) => {
      throw new Error(
        'The S3 server of the tests could not be built. Go 1.25 or later does that: install it (https://go.dev/dl)',
        { cause },
      );
    },
  );
}

export interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

/** An S3 server over a temporary folder. Ends with this process. */
export interface S3Server extends Credentials {
  readonly endpoint: string;
  readonly region: string;
  readonly logFile: string;
  /** Somebody else, who may do nothing with buckets of others. */
  addUser(): Promise<Credentials>;
  stop(): Promise<void>;
  /** Kills it; what it holds stays. */
  kill(): Promise<void>;
  /** Starts it again after `kill`. */
  start(): Promise<void>;
}

/**
 * Starts one and waits until it answers. `address`: of this machine, the loopback interface's where left out; `tls`: paths of a
 * certificate and its key. Throws with the end of its log where it fails.
 */
export async function startS3Server(
  program: string,
  {
    address = '127.0.0.1',
    tls,
  }: { readonly address?: string; readonly tls?: { readonly cert: string; readonly key: string } } = {},
): Promise<S3Server> {
  const dir = await mkdtemp(join(tmpdir(), 'migration-target-s3-'));
  const [data, users, logFile] = [join(dir, 'data'), join(dir, 'users'), join(dir, 'versitygw.log')];
  for (const folder of [data, users]) await mkdir(folder);
  const port = await freePort();
  const region = 'us-east-1';
  const root = credentials();
  const command = [
    program,
    `--port=${address}:${port}`,
    `--region=${region}`,
    `--iam-dir=${users}`,
    '--keep-alive',
    ...(tls === undefined ? [] : [`--cert=${tls.cert}`, `--key=${tls.key}`]),
    'posix',
    data,
  ];
  const env = {
    ...process.env,
    ROOT_ACCESS_KEY: root.accessKeyId,
    ROOT_SECRET_KEY: root.secretAccessKey,
  };
  const launch = (): Supervised => supervise(command, { logFile, signal: 'TERM', env, removeAfterwards: dir });
  let server = launch();
  const endpoint = `${tls === undefined ? 'http' : 'https'}://${address}:${port}`;
  const stop = async (): Promise<void> => {
    await server.stop();
    await rm(dir, { recursive: true, force: true });
  };
  try {
    await untilListening(server, address, port);
  } catch (cause) {
    const log = await readFile(logFile, 'utf8').catch(() => '(it has no log)');
    await stop();
    throw new Error(`versitygw did not start. The end of its log:\n${log.split('\n').slice(-12).join('\n')}`, {
      cause,
    });
  }
  return {
    ...root,
    endpoint,
    region,
    logFile,
    addUser: async () => {
      const user = credentials();
      const { accessKeyId, secretAccessKey } = user;
      const admin = [
        'admin',
        '--access',
        root.accessKeyId,
        '--secret',
        root.secretAccessKey,
        '--endpoint-url',
        endpoint,
      ];
      const create = ['create-user', '--access', accessKeyId, '--secret', secretAccessKey, '--role', 'user'];
      await runOrThrow(program, [...admin, ...create]);
      return user;
    },
    stop,
    kill: () => server.kill(),
    start: async () => {
      server = launch();
      await untilListening(server, address, port);
    },
  };
}

const credentials = (): Credentials => ({
  accessKeyId: `TEST${randomBytes(8).toString('hex').toUpperCase()}`,
  secretAccessKey: randomBytes(20).toString('hex'),
});

async function untilListening(server: Supervised, address: string, port: number): Promise<void> {
  const deadline = Date.now() + 30_000;
  let ended = false;
  const end = (): void => void (ended = true);
  server.exited.then(end, end);
  while (!ended && Date.now() < deadline) {
    const socket = connect(port, address);
    const answered = await once(socket, 'connect').then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (answered) return;
    await delay(20);
  }
  throw new Error(ended ? 'it ended' : 'it does not answer');
}
