import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type * as Kubernetes from '@kubernetes/client-node';
import { createClient, type ApiClient } from '../../../src/adapters/kubernetes/client.ts';
import { connect } from '../../../src/adapters/kubernetes/connection.ts';
import { watchHeads } from '../../../src/adapters/kubernetes/watch.ts';

/**
 * What a real API server does only after minutes or hours: versions that expire, watches that end at once or say
 * nothing. The rest is tried on a real one (test/e2e).
 */
let kubernetes: typeof Kubernetes;
beforeAll(async () => {
  kubernetes = await import('@kubernetes/client-node');
});

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

type Answer = (response: ServerResponse, request: IncomingMessage) => void;

const head = (name: string, generation: number, resourceVersion: string) => ({
  metadata: { name, namespace: 'n', uid: name, generation, resourceVersion },
});
const listOf =
  (resourceVersion: string, items: readonly object[], next = ''): Answer =>
  (response) => {
    response.end(JSON.stringify({ metadata: { resourceVersion, continue: next }, items }));
  };
const stream =
  (...lines: readonly object[]): Answer =>
  (response) => {
    for (const line of lines) response.write(`${JSON.stringify(line)}\n`);
  };
const ending =
  (...lines: readonly object[]): Answer =>
  (response, request) => {
    stream(...lines)(response, request);
    response.end();
  };

/** Answers lists and watches one after the other; the last of each again and again. */
async function setUp(lists: readonly Answer[], watches: readonly Answer[], options: { quietSeconds?: number } = {}) {
  const asked: string[] = [];
  const turns = { lists: 0, watches: 0 };
  const server: Server = createServer((request, response) => {
    const query = new URL(request.url ?? '', 'http://x').searchParams;
    const isWatch = query.get('watch') === 'true';
    asked.push(isWatch ? `watch ${query.get('resourceVersion') ?? ''}` : `list ${query.get('continue') ?? ''}`.trim());
    const answers = isWatch ? watches : lists;
    const turn = isWatch ? turns.watches++ : turns.lists++;
    answers[Math.min(turn, answers.length - 1)]?.(response, request);
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const config = new kubernetes.KubeConfig();
  config.loadFromClusterAndUser(
    { name: 'c', server: `http://127.0.0.1:${address.port}`, skipTLSVerify: true },
    { name: 'u' },
  );
  const client: ApiClient = createClient(kubernetes, {
    config,
    server: `http://127.0.0.1:${address.port}`,
    namespace: 'n',
    ownNamespace: 'n',
    inPod: false,
  });
  const stop = new AbortController();
  const changes: string[] = [];
  const problems: Error[] = [];
  const synced: boolean[] = [];
  cleanups.push(async () => {
    stop.abort();
    await client[Symbol.asyncDispose]();
    server.closeAllConnections();
    await new Promise((resolve) => void server.close(resolve));
  });
  const first = watchHeads(client, {
    path: '/apis/x',
    onChange: ({ name }) => changes.push(name),
    onProblem: (problem) => problems.push(problem),
    onSynced: (now) => synced.push(now),
    signal: stop.signal,
    ...options,
  });
  return { asked, changes, problems, synced, stop, first };
}

async function eventually(holds: () => boolean): Promise<void> {
  const until = Date.now() + 20_000;
  while (!holds()) {
    if (Date.now() > until) throw new Error('it never came true');
    await new Promise((resolve) => void setTimeout(resolve, 10));
  }
}

const silent: Answer = (response) => response.writeHead(200).flushHeaders();
const expired = {
  type: 'ERROR',
  object: { kind: 'Status', code: 410, reason: 'Expired', message: 'too old resource version' },
};

describe('the watch', () => {
  test('reads lists page by page, then watches from where the list ended', async () => {
    const it = await setUp([listOf('5', [head('a', 1, '3')], 'more'), listOf('5', [head('b', 1, '4')])], [silent]);
    await it.first;
    await eventually(() => it.asked.length === 3);
    expect(it.asked).toEqual(['list', 'list more', 'watch 5']);
    expect(it.changes).toEqual(['a', 'b']);
    expect(it.synced).toEqual([true]);
  });

  test('lists anew when its version is too old, tells what changed meanwhile, and makes no fuss', async () => {
    const it = await setUp(
      [listOf('5', [head('a', 1, '3'), head('b', 1, '4')]), listOf('9', [head('a', 2, '8'), head('c', 1, '7')])],
      [stream(expired), silent],
    );
    await eventually(() => it.asked.length === 4);
    expect(it.asked).toEqual(['list', 'watch 5', 'list', 'watch 9']);
    expect(it.changes).toEqual(['a', 'b', 'a', 'c', 'b']);
    expect(it.problems).toEqual([]);
  });

  test('lists anew when the server answers 410 instead of watching', async () => {
    const gone: Answer = (response) =>
      response.writeHead(410).end(JSON.stringify({ code: 410, reason: 'Expired', message: 'x' }));
    const it = await setUp([listOf('5', []), listOf('9', [])], [gone, silent]);
    await eventually(() => it.asked.length === 4);
    expect(it.asked).toEqual(['list', 'watch 5', 'list', 'watch 9']);
    expect(it.problems).toEqual([]);
  });

  test('goes on from the last version it heard of, bookmarks too, when the server ends the watch', async () => {
    const bookmark = { type: 'BOOKMARK', object: { kind: 'MigrationTarget', metadata: { resourceVersion: '8' } } };
    const it = await setUp([listOf('5', [])], [ending({ type: 'ADDED', object: head('a', 1, '6') }, bookmark), silent]);
    await eventually(() => it.asked.length === 3);
    expect(it.asked).toEqual(['list', 'watch 5', 'watch 8']);
    expect(it.changes).toEqual(['a']);
  });

  test('connects again, without a list, where nothing comes for long', async () => {
    const it = await setUp([listOf('5', [])], [silent], { quietSeconds: 0.2 });
    await eventually(() => it.asked.length >= 3);
    expect(it.asked.slice(0, 3)).toEqual(['list', 'watch 5', 'watch 5']);
    expect(it.problems).toEqual([]);
    expect(it.synced).toEqual([true]);
  });

  test('does not ask in a tight loop where every watch ends at once', async () => {
    const it = await setUp([listOf('5', [])], [ending()]);
    await eventually(() => it.asked.length === 4);
    // 250 ms, 500 ms and 1 s, at least half of each: a tight loop would have asked hundreds of times.
    const until = performance.now() + 300;
    await eventually(() => performance.now() > until);
    expect(it.asked.length).toBeLessThan(7);
  });

  test('says what is wrong, is not synced, and lists again', async () => {
    const broken: Answer = (response) => response.writeHead(503).end('no');
    const it = await setUp([broken, listOf('5', [])], [silent]);
    await it.first;
    expect(it.problems.map(({ message }) => message)).toEqual(["The Kubernetes API can't serve now: GET /apis/x: no"]);
    expect(it.synced).toEqual([false, true]);
  });

  test('takes a line that is no JSON for a broken connection', async () => {
    const garbage: Answer = (response) => response.write('{"type":\n');
    const it = await setUp([listOf('5', []), listOf('9', [])], [garbage, silent]);
    await eventually(() => it.asked.length === 4);
    expect(it.asked).toEqual(['list', 'watch 5', 'list', 'watch 9']);
    expect(it.problems).toHaveLength(1);
  });

  test('resolves when it is aborted before the first list came', async () => {
    const it = await setUp([() => {}], [silent]);
    await eventually(() => it.asked.length === 1);
    it.stop.abort();
    await it.first;
    expect(it.problems).toEqual([]);
  });
});

describe('in a pod', () => {
  test('the service account of the pod is used where there is no kubeconfig', async () => {
    const root = await mkdtemp(join(tmpdir(), 'migration-target-pod-'));
    cleanups.push(() => rm(root, { recursive: true }));
    const account = join(root, 'var/run/secrets/kubernetes.io/serviceaccount');
    await mkdir(account, { recursive: true });
    await writeFile(join(account, 'token'), 't0ken');
    await writeFile(join(account, 'namespace'), 'ops-center');
    await writeFile(join(account, 'ca.crt'), '');
    const env = { KUBERNETES_SERVICE_HOST: '10.0.0.1', KUBERNETES_SERVICE_PORT: '443', HOME: root };
    const newConfig = (): Kubernetes.KubeConfig => new kubernetes.KubeConfig();
    const before = process.env;
    process.env = { ...before, ...env };
    try {
      expect(await connect(newConfig, {}, env, root)).toMatchObject({
        inPod: true,
        server: 'https://10.0.0.1:443',
        namespace: 'ops-center',
      });
    } finally {
      process.env = before;
    }
    await expect(connect(newConfig, {}, { HOME: root }, root)).rejects.toThrow(/There is no cluster to talk to/);
  });
});
