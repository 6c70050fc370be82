/**
 * From `kubectl apply` until the API server tells that the target is Ready, its database being there already; against
 * what `kubectl apply` of a ConfigMap takes until a watch tells of it. Seen by two watches of kubectl.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { startApiServer } from '../scripts/lib/api-server.ts';
import { ensureKubeBinaries } from '../scripts/lib/kube-binaries.ts';
import { runOrThrow } from '../scripts/lib/run.ts';
import { figure, quantile, type Figure } from './measure.ts';
import { newest, progress, root, type Stage } from './stage.ts';

const targets = 40;
const ns = 'bench';

export async function measureReady(stage: Stage): Promise<readonly Figure[]> {
  const server = await startApiServer(await ensureKubeBinaries(progress));
  // kubectl keeps what the API has in its home, as it does for people.
  const home = await mkdtemp(join(tmpdir(), 'migration-target-bench-kubectl-'));
  const env = { ...stage.env, HOME: home, KUBECONFIG: server.kubeconfig };
  const kubectl = async (args: readonly string[], input?: string): Promise<string> =>
    (await runOrThrow(server.kubectlPath, args, input === undefined ? { env } : { env, input })).stdout;
  const ended: (() => Promise<void>)[] = [];
  const watch = (what: string, path: string): Watch => {
    const args = ['-n', ns, 'get', what, '--watch', '-o', `jsonpath={.metadata.name} ${path}{"\\n"}`];
    return follow(server.kubectlPath, args, env, ended);
  };
  try {
    await kubectl(['apply', '-f', join(root, 'crds')]);
    await kubectl(['wait', '--for=condition=Established', '--timeout=60s', 'crd', '--all']);
    await kubectl(['create', 'namespace', ns]);
    const databases = await stage.copies(targets + 1);
    for (const [index, url] of databases.entries())
      await kubectl(['-n', ns, 'create', 'secret', 'generic', `target-${index}`, `--from-literal=url=${url}`]);
    await startController(stage, server.kubeconfig, ended);
    const readiness = watch('mtgt', '{.status.conditions[?(@.type=="Ready")].status}');
    const configMaps = watch('configmaps', '{.data.is}');

    const took: { readonly ready: number[]; readonly bare: number[] } = { ready: [], bare: [] };
    for (let index = 0; index <= targets; index += 1) {
      const name = `target-${index}`;
      const target = stage.document(name, newest, join(stage.dir, 'backups', name));
      const configMap = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data: { is: 'there' } };
      const ready = await timed(kubectl, target, readiness.tells(`${name} True`));
      const bare = await timed(kubectl, configMap, configMaps.tells(`${name} there`));
      // The first is the warm-up.
      if (index === 0) continue;
      took.ready.push(ready);
      took.bare.push(bare);
    }
    const reference = 'kubectl apply → watch, of a ConfigMap';
    return [
      figure('apply → Ready, p95', quantile(took.ready, 0.95), reference, quantile(took.bare, 0.95), {
        goal: { of: 'value', atMost: 500 },
        runs: targets,
      }),
      figure('apply → Ready, median', quantile(took.ready, 0.5), reference, quantile(took.bare, 0.5), {
        goal: null,
        runs: targets,
      }),
    ];
  } finally {
    for (const end of ended.toReversed()) await end();
    await server.stop();
    await rm(home, { recursive: true, force: true });
  }
}

async function timed(
  kubectl: (args: readonly string[], input: string) => Promise<string>,
  document: object,
  told: Promise<void>,
): Promise<number> {
  const startedAt = performance.now();
  await Promise.all([kubectl(['-n', ns, 'apply', '-f', '-'], JSON.stringify(document)), told]);
  return performance.now() - startedAt;
}

interface Watch {
  /** Resolves once that line was told, now or before. */
  tells(line: string): Promise<void>;
}

function follow(
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  ended: (() => Promise<void>)[],
): Watch {
  const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'inherit'] });
  ended.push(end(child));
  const awaited = new Map<string, () => void>();
  const told = new Set<string>();
  let rest = '';
  child.stdout.on('data', (chunk: Buffer) => {
    const lines = (rest + chunk.toString()).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      told.add(line);
      awaited.get(line)?.();
    }
  });
  return {
    tells: (line) =>
      told.has(line) ? Promise.resolve() : new Promise((resolve) => void awaited.set(line, () => resolve())),
  };
}

/** `migration-target run`, until it is ready. */
async function startController(stage: Stage, kubeconfig: string, ended: (() => Promise<void>)[]): Promise<void> {
  const args = [stage.program, 'run', '--kubeconfig', kubeconfig, '-n', ns, '--listen', '127.0.0.1:0'];
  const child = spawn(process.execPath, args, { env: stage.env, stdio: ['ignore', 'ignore', 'pipe'] });
  ended.push(end(child));
  const url = await new Promise<string>((resolve, reject) => {
    let text = '';
    child.stderr.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      const listen = /"listen":"([^"]+)"/.exec(text)?.[1];
      if (listen !== undefined) resolve(listen);
    });
    child.once('exit', () => reject(new Error(`the controller ended:\n${text}`)));
  });
  while ((await fetch(`${url}/readyz`)).status !== 200) await delay(50);
}

const end = (child: ReturnType<typeof spawn>) => async (): Promise<void> => {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => void child.once('exit', resolve));
  child.kill('SIGTERM');
  await gone;
};
