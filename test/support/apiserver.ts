import { dirname } from 'node:path';
import { randomBytes } from 'node:crypto';

import { startApiServer as start } from '../../scripts/lib/api-server.ts';
import { ensureKubeBinaries } from '../../scripts/lib/kube-binaries.ts';
import { run } from '../../scripts/lib/run.ts';
import type { Ran } from '../../scripts/lib/run.ts';
import { fromTestBed } from './testbed.ts';

/** A Kubernetes API server, and kubectl of the same version as its administrator. */
export interface ApiServer {
  readonly url: string;
  /** Path of a file. */
  readonly kubeconfig: string;
  /** Path of a program. */
  readonly kubectlPath: string;
  readonly logFile: string;
  /** Runs kubectl to its end; `input` is its standard input. */
  kubectl(args: readonly string[], options?: { readonly input?: string }): Promise<Ran>;
}

export interface OwnApiServer extends ApiServer {
  stop(): Promise<void>;
  /** Kills the API server, not its etcd. */
  kill(): Promise<void>;
  /** Starts it again after `kill`, and waits until it is ready. */
  start(): Promise<void>;
}

/** The API server of the run, started when first asked for, shared by all tests. It has no controllers: what is owned is not collected. */
export async function apiServer(): Promise<ApiServer> {
  return withKubectl(await fromTestBed('apiServer', 'shared'));
}

/** One of the test's own, to be stopped by it. */
export async function startApiServer(): Promise<OwnApiServer> {
  const server = await start(await ensureKubeBinaries());
  return { ...withKubectl(server), stop: () => server.stop(), kill: () => server.kill(), start: () => server.start() };
}

/** A namespace of one test's own. */
export async function namespace(server: ApiServer): Promise<string> {
  const name = `test-${randomBytes(5).toString('hex')}`;
  const { code, stderr } = await server.kubectl(['create', 'namespace', name]);
  if (code !== 0) throw new Error(`kubectl create namespace ${name}: ${stderr}`);
  return name;
}

/** With a kubectl that knows of that server alone. */
export function withKubectl(server: Omit<ApiServer, 'kubectl'>): ApiServer {
  const { url, kubeconfig, kubectlPath, logFile } = server;
  // kubectl caches the API's kinds in its home: one for each server, and gone with it.
  const env = { PATH: process.env['PATH'], HOME: dirname(kubeconfig), KUBECONFIG: kubeconfig };
  return {
    url,
    kubeconfig,
    kubectlPath,
    logFile,
    kubectl: (args, options = {}) => run(kubectlPath, args, { env, ...options }),
  };
}
