/** The API server of the bench, with its log of who asked for what, and a client that writes many objects at once. */
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { Agent, request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { startApiServer } from '../../scripts/lib/api-server.ts';
import { ensureKubeBinaries } from '../../scripts/lib/kube-binaries.ts';
import { runOrThrow } from '../../scripts/lib/run.ts';
import { progress, root } from '../stage.ts';

export interface Cluster extends AsyncDisposable {
  readonly kubeconfig: string;
  /** Server-side apply of an object at its path. */
  apply(path: string, object: object): Promise<void>;
  /** Tells of each target of a namespace that is Ready, once and again. */
  watchTargets(namespace: string, onTarget: (name: string, isReady: boolean) => void): Promise<AsyncDisposable>;
  /** What clients whose user agent begins so asked for since then, beside watches. */
  requestsSince(time: Date, userAgent: string): Promise<Requests>;
}

export interface Requests {
  readonly all: number;
  readonly statusWrites: number;
}

export const targetsPath = (namespace: string): string =>
  `/apis/migrationtarget.dev/v1alpha1/namespaces/${namespace}/migrationtargets`;

const auditPolicy = {
  apiVersion: 'audit.k8s.io/v1',
  kind: 'Policy',
  omitStages: ['RequestReceived', 'ResponseStarted'],
  rules: [{ level: 'None', verbs: ['watch'] }, { level: 'Metadata' }],
};

export async function startCluster(): Promise<Cluster> {
  const dir = await mkdtemp(join(tmpdir(), 'migration-target-bench-audit-'));
  const audit = join(dir, 'audit.log');
  const policy = join(dir, 'policy.json');
  await writeFile(policy, JSON.stringify(auditPolicy));
  const server = await startApiServer(await ensureKubeBinaries(progress), {
    // All of it in one file.
    flags: [`--audit-policy-file=${policy}`, `--audit-log-path=${audit}`, '--audit-log-maxsize=100000'],
  });
  const { users } = JSON.parse(await readFile(server.kubeconfig, 'utf8')) as {
    readonly users: readonly { readonly user: { readonly token: string } }[];
  };
  const agent = new Agent({ keepAlive: true, ca: await readFile(server.certificate) });
  const headers = { authorization: `Bearer ${users[0]?.user.token}`, 'user-agent': 'bench' };

  async function send(method: string, path: string, body?: object): Promise<IncomingMessage> {
    const type = body === undefined ? {} : { 'content-type': 'application/apply-patch+yaml' };
    const sent = request(server.url + path, { method, agent, headers: { ...headers, ...type } });
    sent.end(body === undefined ? undefined : JSON.stringify(body));
    const [answer] = (await once(sent, 'response')) as [IncomingMessage];
    const { statusCode = 500 } = answer;
    if (statusCode === 429) {
      // As it asks for, e.g. while it begins to serve a new kind.
      await delay(Number(answer.headers['retry-after'] ?? 1) * 1000);
      answer.resume();
      return send(method, path, body);
    }
    if (statusCode >= 300) throw new Error(`${method} ${path} was answered with ${statusCode}: ${await text(answer)}`);
    return answer;
  }

  const kubectl = (...args: readonly string[]): Promise<unknown> =>
    runOrThrow(server.kubectlPath, args, { env: { KUBECONFIG: server.kubeconfig, HOME: dir } });
  await kubectl('apply', '-f', join(root, 'crds'));
  await kubectl('wait', '--for=condition=Established', '--timeout=60s', 'crd', '--all');

  return {
    kubeconfig: server.kubeconfig,
    async apply(path, object) {
      // Read to its end, so that the connection is free.
      await text(await send('PATCH', `${path}?fieldManager=bench&force=true`, object));
    },
    async watchTargets(namespace, onTarget) {
      const begin = (): Promise<IncomingMessage> => send('GET', `${targetsPath(namespace)}?watch=true`);
      let answer = await begin();
      const over = new AbortController();
      const following = (async () => {
        while (!over.signal.aborted) {
          const lines = createInterface({ input: answer });
          lines.on('line', (line) => {
            const { object } = JSON.parse(line) as { readonly object: Target };
            const ready = object.status?.conditions?.find(({ type }) => type === 'Ready');
            onTarget(object.metadata.name, ready?.status === 'True');
          });
          // However it ends: of a connection that is cut, readline tells nothing.
          answer.on('error', () => undefined).once('close', () => lines.close());
          await once(lines, 'close');
          // The server ends each after a while; a new one begins with all that there is.
          if (!over.signal.aborted) answer = await begin();
        }
      })();
      return {
        async [Symbol.asyncDispose]() {
          over.abort();
          answer.destroy();
          await following;
        },
      };
    },
    async requestsSince(time, userAgent) {
      let [all, statusWrites] = [0, 0];
      for await (const line of createInterface({ input: createReadStream(audit) })) {
        const entry = JSON.parse(line) as AuditEntry;
        if (!entry.userAgent?.startsWith(userAgent) || new Date(entry.requestReceivedTimestamp) < time) continue;
        all += 1;
        if (entry.objectRef?.subresource === 'status' && entry.verb !== 'get') statusWrites += 1;
      }
      return { all, statusWrites };
    },
    async [Symbol.asyncDispose]() {
      agent.destroy();
      await server.stop();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

interface Target {
  readonly metadata: { readonly name: string };
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
}

interface AuditEntry {
  readonly requestReceivedTimestamp: string;
  readonly userAgent?: string;
  readonly verb: string;
  readonly objectRef?: { readonly subresource?: string };
}
