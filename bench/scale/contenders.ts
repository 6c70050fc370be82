/** The controllers that are compared, each started on a namespace with as many workers as ours has by default. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { openSync } from 'node:fs';
import { access, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { cacheDirectory } from '../../scripts/lib/cache.ts';
import { freePort } from '../../scripts/lib/free-port.ts';
import { publish } from '../../scripts/lib/publish.ts';
import { ensureVenv } from '../../scripts/lib/python.ts';
import { runOrThrow } from '../../scripts/lib/run.ts';
import { progress, type Stage } from '../stage.ts';

export interface Contender {
  readonly name: string;
  /** How it begins. */
  readonly userAgent: string;
  start(namespace: string): Promise<Running>;
}

export interface Running extends AsyncDisposable {
  readonly pid: number;
  scrape(): Promise<string>;
  /** Processor time that its event loop's thread took between two of its turns, at the longest; null: it is not told. */
  longestTurnMs(): Promise<number | null>;
}

interface Command {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

const workers = '4';

export async function contendersOn(stage: Stage, kubeconfig: string): Promise<readonly Contender[]> {
  const [controllerRuntime, kopf] = [await buildControllerRuntime(), await installKopf()];
  const env = { ...stage.env, KUBECONFIG: kubeconfig };
  const contender = (
    name: string,
    userAgent: string,
    commandOf: (namespace: string, port: number) => Command,
  ): Contender => ({
    name,
    userAgent,
    async start(namespace) {
      const port = await freePort();
      const command = commandOf(namespace, port);
      const logFile = join(stage.dir, `${namespace}.log`);
      const loopFile = command.env?.['BENCH_LOOP'] ?? null;
      if (loopFile !== null) await rm(loopFile, { force: true });
      const metrics = `http://127.0.0.1:${port}/metrics`;
      return {
        ...(await launch({ ...command, env: { ...env, ...command.env } }, metrics, logFile)),
        async longestTurnMs() {
          if (loopFile === null) return null;
          return (JSON.parse(await readFile(loopFile, 'utf8')) as { readonly processorMs: number }).processorMs;
        },
      };
    },
  });
  return [
    contender('migration-target', 'migration-target', (namespace, port) => ({
      command: process.execPath,
      env: {
        NODE_OPTIONS: `--import ${pathToFileURL(join(import.meta.dirname, 'loop.mjs')).href}`,
        BENCH_LOOP: join(stage.dir, `${namespace}.loop.json`),
      },
      // As the image does.
      args: [
        '--max-semi-space-size=4',
        stage.program,
        'run',
        '-n',
        namespace,
        '--listen',
        `127.0.0.1:${port}`,
        '--workers',
        workers,
      ],
    })),
    contender('controller-runtime', 'bench-controller-runtime', (namespace, port) => ({
      command: controllerRuntime,
      args: ['-namespace', namespace, '-metrics', `127.0.0.1:${port}`, '-workers', workers],
    })),
    contender('kopf', 'kopf', (namespace, port) => ({
      command: kopf,
      args: ['run', '--standalone', '-n', namespace, join(import.meta.dirname, 'kopf/controller.py')],
      env: { METRICS_PORT: String(port), WORKERS: workers },
    })),
  ];
}

/** Path of the program, from the cache, else built by Go. */
async function buildControllerRuntime(): Promise<string> {
  const source = join(import.meta.dirname, 'controller-runtime');
  const digest = createHash('sha256');
  for (const file of ['go.mod', 'go.sum', 'main.go']) digest.update(await readFile(join(source, file)));
  const dir = join(cacheDirectory(), `bench-controller-runtime-${digest.digest('hex').slice(0, 12)}`);
  const program = join(dir, 'controller');
  const isThere = await access(program).then(
    () => true,
    () => false,
  );
  if (isThere) return program;
  progress('building the controller on controller-runtime with Go: minutes, once');
  await publish(dir, async (own) => {
    const flags = ['-mod=readonly', '-buildvcs=false', '-trimpath', '-ldflags', '-s -w', '-o', join(own, 'controller')];
    const env = { ...process.env, CGO_ENABLED: '0', GOFLAGS: '' };
    await runOrThrow('go', ['build', ...flags, '.'], { cwd: source, env });
  });
  return program;
}

async function installKopf(): Promise<string> {
  const requirements = join(import.meta.dirname, 'kopf/requirements.txt');
  const { dir } = await ensureVenv({ name: 'bench-kopf', requirements, onProgress: progress });
  return join(dir, 'bin/kopf');
}

async function launch(
  { command, args, env }: Command,
  metrics: string,
  logFile: string,
): Promise<Omit<Running, 'longestTurnMs'>> {
  const log = openSync(logFile, 'a');
  const child = spawn(command, args, { env, stdio: ['ignore', log, log] });
  const ended = new Promise<void>((resolve) => void child.once('exit', () => resolve()));
  const scrape = async (): Promise<string> => (await fetch(metrics, { headers: { 'accept-encoding': 'gzip' } })).text();
  while ((await scrape().catch(() => null)) === null) {
    if (child.exitCode !== null) throw new Error(`${command} ended: ${await readFile(logFile, 'utf8')}`);
    await delay(50);
  }
  return {
    pid: child.pid ?? 0,
    scrape,
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM');
      await ended;
    },
  };
}
