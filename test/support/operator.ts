/** The program as a user starts it: the controller as a child process, and single commands, against a real API server. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';

import { run } from '../../scripts/lib/run.ts';
import type { Ran } from '../../scripts/lib/run.ts';
import { program, programInPod } from './program.ts';

export interface OperatorOptions {
  readonly kubeconfig: string;
  readonly namespace: string;
  /** Has pg_dump and pg_restore of the server's major. */
  readonly binDir: string;
  /** Further arguments of `run`. */
  readonly args?: readonly string[];
  /** Further variables. */
  readonly env?: Readonly<Record<string, string>>;
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
  MIGRATION_TARGET_GRAPHS: process.env['MIGRATION_TARGET_GRAPHS'] ?? '',
  NO_COLOR: '1',
});

/** The program, its first arguments and its environment: outside of the cluster, or in a pod of it. */
function invocation(options: OperatorOptions) {
  const { pod, kubeconfig } = options;
  const env = { ...environment(options), ...options.env };
  return pod === undefined
    ? { args: [program, '--kubeconfig', kubeconfig, '-n', options.namespace], env }
    : { args: [programInPod], env: { ...env, HOME: pod.root, POD_ROOT: pod.root, ...pod.env } };
}

/** Starts `migration-target run` and waits until it listens. */
export async function startOperator(options: OperatorOptions): Promise<Operator> {
  const { args, env } = invocation(options);
  const child = spawn(process.execPath, [...args, 'run', '--listen', '127.0.0.1:0', ...(options.args ?? [])], {
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let written = '';
  const ended = once(child, 'exit').then(([code, signal]) => (code as number | null) ?? (signal as NodeJS.Signals));
  const lines = (): LogLine[] =>
    written
      .split('\n')
      .slice(0, -1)
      .map((line) => {
        try {
          return JSON.parse(line) as LogLine;
        } catch (cause) {
          throw new Error(`the controller wrote no JSON: ${line}`, { cause });
        }
      });
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
export function migrationTarget(options: OperatorOptions, ...typed: readonly string[]): Promise<Ran> {
  const { args, env } = invocation(options);
  return run(process.execPath, [...args, ...typed], { env });
}

/** A command that goes on. */
export interface Started extends AsyncDisposable {
  /** What it wrote so far, to both streams. */
  readonly written: () => string;
  readonly hasEnded: () => boolean;
  readonly ended: Promise<Ran>;
}

/** Starts one command of the program. */
export function startCommand(options: OperatorOptions, ...typed: readonly string[]): Started {
  const { args, env } = invocation(options);
  const child = spawn(process.execPath, [...args, ...typed], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const wrote = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const)
    child[stream].on('data', (chunk: Buffer) => (wrote[stream] += chunk.toString()));
  let hasEnded = false;
  const ended = once(child, 'close').then(([code]): Ran => {
    hasEnded = true;
    return { code: (code as number | null) ?? -1, ...wrote };
  });
  return {
    written: () => wrote.stdout + wrote.stderr,
    hasEnded: () => hasEnded,
    ended,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await ended;
    },
  };
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
