/** The program as a user starts it: the controller as a child process, and single commands, against a real API server. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

import { run } from '../../scripts/lib/run.ts';
import type { Ran } from '../../scripts/lib/run.ts';

const program = join(import.meta.dirname, '../../bin/migration-target');
/** The same, but for where a pod finds its service account. */
const programInPod = join(import.meta.dirname, 'in-pod.ts');

export interface OperatorOptions {
  readonly kubeconfig: string;
  readonly namespace: string;
  /** Has pg_dump and pg_restore of the server's major. */
  readonly binDir: string;
  /** Further arguments of `run`. */
  readonly args?: readonly string[];
  /** Started as in a pod: from what lies in this folder as in the root of one, and by no kubeconfig. */
  readonly pod?: Pod;
}

/** What Kubernetes gives a container: see `podOf` (place.ts). */
export interface Pod {
  readonly root: string;
  readonly env: Readonly<Record<string, string>>;
}

/** A line of its log. */
export type LogLine = Readonly<Record<string, unknown>> & { readonly level: string; readonly msg: string };

export interface Operator extends AsyncDisposable {
  /** Of /healthz, /readyz and /metrics. */
  readonly url: string;
  /** All that it wrote so far, as it was written. */
  readonly written: () => string;
  /** The same, parsed. */
  readonly log: () => readonly LogLine[];
  /** Sends a signal. */
  kill(signal: NodeJS.Signals): void;
  /** Resolves with how it ended: the exit code, or the signal. */
  readonly ended: Promise<number | NodeJS.Signals>;
}

const environment = ({ binDir }: Pick<OperatorOptions, 'binDir'>): Record<string, string> => ({
  PATH: process.env['PATH'] ?? '',
  HOME: process.env['HOME'] ?? '/',
  MIGRATION_TARGET_PG_BIN: binDir,
  NO_COLOR: '1',
});

/** Starts `migration-target run` and waits until it listens. */
export async function startOperator(options: OperatorOptions): Promise<Operator> {
  const { pod, kubeconfig, args = [] } = options;
  const home = pod === undefined ? ['--kubeconfig', kubeconfig, '-n', options.namespace] : [];
  const all = ['run', ...home, '--listen', '127.0.0.1:0', ...args];
  const child = spawn(process.execPath, [pod === undefined ? program : programInPod, ...all], {
    env: { ...environment(options), ...(pod === undefined ? {} : { HOME: pod.root, POD_ROOT: pod.root, ...pod.env }) },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let written = '';
  const ended = once(child, 'exit').then(([code, signal]) => (code as number | null) ?? (signal as NodeJS.Signals));
  const lines = (): LogLine[] =>
    written
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as LogLine);
  const url = await new Promise<string>((resolve, reject) => {
    child.stderr.on('data', (chunk: Buffer) => {
      written += chunk.toString();
      const listen = /"listen":"([^"]+)"/.exec(written)?.[1];
      if (listen !== undefined) resolve(listen);
    });
    child.once('error', reject);
    void ended.then((how) => reject(new Error(`the controller ended (${how}):\n${written}`)));
  });
  return {
    url,
    written: () => written,
    log: lines,
    kill: (signal) => void child.kill(signal),
    ended,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

/** Runs one command of the program to its end. */
export function migrationTarget(options: OperatorOptions, ...args: readonly string[]): Promise<Ran> {
  const all = ['--kubeconfig', options.kubeconfig, '-n', options.namespace, ...args];
  return run(process.execPath, [program, ...all], { env: environment(options) });
}

/** The value of a metric's series: its name, with the labels that it has to have; null: there is none. */
export async function metric(
  operator: Operator,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): Promise<number | null> {
  const text = await (await fetch(`${operator.url}/metrics`)).text();
  const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  const found = text
    .split('\n')
    .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
    .filter((line) => wanted.every((label) => line.includes(label)));
  const values = found.map((line) => Number(line.slice(line.lastIndexOf(' ') + 1)));
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0);
}
