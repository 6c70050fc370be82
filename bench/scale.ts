/**
 * Many targets whose databases are at their revisions already: how long until all are Ready, and what they cost
 * afterwards; beside controllers that check the same on controller-runtime and on kopf, in turn, on the same API server.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { comparison, type Figure, type Unit } from './measure.ts';
import { startCluster, targetsPath, type Cluster } from './scale/cluster.ts';
import { contendersOn, type Contender, type Running } from './scale/contenders.ts';
import { newest, progress, type Stage } from './stage.ts';

const databases = 50;
/** Requests at a time, as many as the API server of a small cluster is fit for. */
const parallel = 16;
const scrapeMs = 5_000;

const restartSeconds = 30;
/** The default interval: each target is looked at once. */
const defaultIdleSeconds = 300;

/** `MIGRATION_TARGET_BENCH_TARGETS`: few, and many; `MIGRATION_TARGET_BENCH_SECONDS`: of doing nothing. For a try. */
const [few = 1_000, many = 10_000] = (process.env['MIGRATION_TARGET_BENCH_TARGETS'] ?? '')
  .split(',')
  .flatMap((text) => Number(text) || []);
const idleSeconds = Number(process.env['MIGRATION_TARGET_BENCH_SECONDS'] ?? defaultIdleSeconds);

/** What is measured of each controller. */
interface Measured {
  readonly readySeconds: number;
  readonly idle: Idle;
  readonly many: Observed;
}

interface Idle {
  readonly statusWrites: number;
  readonly requestsASecond: number;
  readonly megabytes: number;
}

interface Observed {
  readonly seconds: number;
  readonly megabytes: number;
  /** null: it has no event loop. */
  readonly longestBlockMs: number | null;
  /** What of it was its own: the rest other programs had the processor. null: it is not told. */
  readonly longestTurnMs: number | null;
}

export async function measureScale(stage: Stage): Promise<readonly Figure[]> {
  const urls = await prepareDatabases(stage);
  await using cluster = await startCluster();
  const contenders = await contendersOn(stage, cluster.kubeconfig);
  const bareSeconds = await applyToNobody(stage, cluster, urls);
  const ready = new Map<Contender, number>();
  const idle = new Map<Contender, Idle>();
  {
    await using stack = new AsyncDisposableStack();
    const running = new Map<Contender, Running>();
    for (const contender of contenders) {
      await prepareNamespace(cluster, contender.name, urls);
      await using scene = await watchScene(stage, cluster, contender.name);
      running.set(contender, stack.use(await contender.start(contender.name)));
      ready.set(contender, await scene.applyUntilReady(0, few));
      progress(`${contender.name}: ${few} Ready after ${ready.get(contender)?.toFixed(1)} s`);
    }
    for (const [contender, found] of await watchIdle(running, cluster)) idle.set(contender, found);
  }
  const measured = new Map<string, Measured>();
  for (const contender of contenders) {
    const found = await measureMany(contender, stage, cluster);
    const [readySeconds, atRest] = [ready.get(contender), idle.get(contender)];
    if (readySeconds === undefined || atRest === undefined) throw new Error(`${contender.name} was not measured`);
    measured.set(contender.name, { readySeconds, idle: atRest, many: found });
  }
  return figures(measured, bareSeconds);
}

/** What each costs while nothing changes, side by side. */
async function watchIdle(
  running: ReadonlyMap<Contender, Running>,
  cluster: Cluster,
): Promise<ReadonlyMap<Contender, Idle>> {
  // What each has to hear of its own writes has come.
  await delay(5_000);
  const from = new Date();
  await delay(idleSeconds * 1000);
  const found = new Map<Contender, Idle>();
  for (const [contender, { pid }] of running) {
    const { all, statusWrites } = await cluster.requestsSince(from, contender.userAgent);
    const one = { statusWrites, requestsASecond: all / idleSeconds, megabytes: await residentMegabytes(pid) };
    progress(`${contender.name}, idle: ${JSON.stringify(one)}`);
    found.set(contender, one);
  }
  return found;
}

/** Ten times as many are made, and then the controller is started again, as after an upgrade. */
async function measureMany(contender: Contender, stage: Stage, cluster: Cluster): Promise<Observed> {
  await using scene = await watchScene(stage, cluster, contender.name);
  const grown = await started(contender, (running) => observed(running, () => scene.applyUntilReady(few, many)));
  progress(`${contender.name}, ${many}: ${JSON.stringify(grown)}`);
  const again = await started(contender, (running) => observed(running, () => delay(restartSeconds * 1000)));
  progress(`${contender.name}, started again: ${JSON.stringify(again)}`);
  return {
    seconds: grown.seconds,
    megabytes: Math.max(grown.megabytes, again.megabytes),
    longestBlockMs: longer(grown.longestBlockMs, again.longestBlockMs),
    longestTurnMs: longer(grown.longestTurnMs, again.longestTurnMs),
  };
}

const longer = (one: number | null, other: number | null): number | null =>
  one === null || other === null ? null : Math.max(one, other);

async function started<T>(contender: Contender, work: (running: Running) => Promise<T>): Promise<T> {
  await using running = await contender.start(contender.name);
  return await work(running);
}

/** Scraped meanwhile, as Prometheus does it. */
async function observed(running: Running, work: () => Promise<unknown>): Promise<Observed> {
  const startedAt = performance.now();
  let megabytes = 0;
  let longestBlockMs: number | null = null;
  const look = async (): Promise<void> => {
    const lag = /^\w+_eventloop_lag_max_seconds (\S+)/m.exec(await running.scrape())?.[1];
    if (lag !== undefined) longestBlockMs = Math.max(longestBlockMs ?? 0, Number(lag) * 1000);
    megabytes = Math.max(megabytes, await residentMegabytes(running.pid));
  };
  const over = new AbortController();
  const looking = (async () => {
    while (!over.signal.aborted) {
      await look();
      await delay(scrapeMs, null, { signal: over.signal }).catch(() => undefined);
    }
  })();
  try {
    await work();
    const seconds = (performance.now() - startedAt) / 1000;
    await look();
    return { seconds, megabytes, longestBlockMs, longestTurnMs: await running.longestTurnMs() };
  } finally {
    over.abort();
    await looking;
  }
}

/** A namespace in which targets are made, and a watch that tells when they are Ready. */
async function watchScene(
  stage: Stage,
  cluster: Cluster,
  namespace: string,
): Promise<AsyncDisposable & { applyUntilReady(from: number, to: number, isSeen?: 'made'): Promise<number> }> {
  const [made, ready] = [new Set<string>(), new Set<string>()];
  let awaited: (() => void) | null = null;
  const watch = await cluster.watchTargets(namespace, (name, isReady) => {
    made.add(name);
    if (isReady) ready.add(name);
    awaited?.();
  });
  return {
    [Symbol.asyncDispose]: () => watch[Symbol.asyncDispose](),
    async applyUntilReady(from, to, isSeen) {
      const seen = isSeen === 'made' ? made : ready;
      const startedAt = performance.now();
      const all = new Promise<void>((resolve) => {
        awaited = () => (seen.size === to ? resolve() : undefined);
      });
      await inParallel(to - from, async (index) => {
        const target = targetOf(stage, from + index);
        await cluster.apply(`${targetsPath(namespace)}/${target.metadata.name}`, target);
      });
      await all;
      return (performance.now() - startedAt) / 1000;
    },
  };
}

/** What the API server itself takes. */
async function applyToNobody(stage: Stage, cluster: Cluster, urls: readonly string[]): Promise<number> {
  await prepareNamespace(cluster, 'bench-nobody', urls);
  await using scene = await watchScene(stage, cluster, 'bench-nobody');
  return await scene.applyUntilReady(0, few, 'made');
}

/** Each with a version table for every target, all at their revision. */
async function prepareDatabases(stage: Stage): Promise<readonly string[]> {
  const tables = Array.from({ length: Math.ceil(many / databases) }, (_, index) => versionTable(index * databases));
  const name = 'unicorn_scale';
  await stage.sql(tables.map((table) => `CREATE TABLE ${table} AS SELECT * FROM alembic_version;`).join('\n'), name);
  return stage.copies(databases, name);
}

const versionTable = (index: number): string => `alembic_version_${Math.floor(index / databases)}`;

async function prepareNamespace(cluster: Cluster, namespace: string, urls: readonly string[]): Promise<void> {
  const named = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } };
  await cluster.apply(`/api/v1/namespaces/${namespace}`, named);
  for (const [index, url] of urls.entries()) {
    const name = `database-${index}`;
    const secret = { apiVersion: 'v1', kind: 'Secret', metadata: { name }, stringData: { url } };
    await cluster.apply(`/api/v1/namespaces/${namespace}/secrets/${name}`, secret);
  }
}

function targetOf(
  stage: Stage,
  index: number,
): { readonly metadata: { readonly name: string }; readonly spec: object } {
  const name = `target-${index}`;
  const { spec, ...rest } = stage.document(name, newest, join(stage.dir, 'backups', name));
  const secretKeyRef = { name: `database-${index % databases}`, key: 'url' };
  const database = { urlFrom: { secretKeyRef }, versionTable: versionTable(index) };
  return { ...rest, metadata: { name }, spec: { ...(spec as object), database } };
}

async function inParallel(count: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const one = async (): Promise<void> => {
    for (let index = next++; index < count; index = next++) await work(index);
  };
  await Promise.all(Array.from({ length: parallel }, one));
}

/** Linux: /proc. */
async function residentMegabytes(pid: number): Promise<number> {
  const kilobytes = /^VmRSS:\s+(\d+) kB/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kilobytes) / 1024;
}

function figures(measured: ReadonlyMap<string, Measured>, bareSeconds: number): readonly Figure[] {
  const ours = 'migration-target';
  const others = [...measured.keys()].filter((name) => name !== ours);
  const of = (name = ''): Measured => measured.get(name) ?? raise(`${name} was not measured`);
  const compare = (
    what: string,
    unit: Unit,
    value: (of: Measured) => number | null,
    atMost: number | null,
  ): readonly Figure[] =>
    others.flatMap((other) => {
      const [mine, theirs] = [value(of(ours)), value(of(other))];
      if (mine === null || theirs === null) return [];
      const goal = atMost === null ? null : ({ of: 'value', atMost } as const);
      return [comparison(what, { value: mine, unit }, other, theirs, { goal, runs: 1 })];
    });
  const [n, m] = [few.toLocaleString('en'), many.toLocaleString('en')];
  return [
    comparison(
      `${n} targets, apply → all Ready`,
      { value: of(ours).readySeconds, unit: 's' },
      'the same apply, no controller',
      bareSeconds,
      { goal: { of: 'value', atMost: 60 }, runs: 1 },
    ),
    ...compare(`${n} targets, apply → all Ready`, 's', ({ readySeconds }) => readySeconds, 60),
    ...compare(`${n} idle: status writes`, '', ({ idle }) => idle.statusWrites, 0),
    ...compare(`${n} idle: API requests beside watches`, '/s', ({ idle }) => idle.requestsASecond, 1),
    ...compare(`${n} idle: resident memory`, 'MiB', ({ idle }) => idle.megabytes, 200),
    ...compare(`from ${n} to ${m} targets, apply → all Ready`, 's', (one) => one.many.seconds, null),
    ...compare(`${m}: resident memory, at most`, 'MiB', (one) => one.many.megabytes, 600),
    // Whoever else has the processor meanwhile is no matter of the loop's: the goal is for what it computes itself.
    ...compare(`${m}: longest block of the event loop`, 'ms', (one) => one.many.longestBlockMs, null),
    comparison(
      `${m}: longest block, processor time alone`,
      { value: of(ours).many.longestTurnMs ?? 0, unit: 'ms' },
      'the longest block',
      of(ours).many.longestBlockMs ?? 0,
      { goal: { of: 'value', atMost: 100 }, runs: 1 },
    ),
  ];
}

function raise(message: string): never {
  throw new Error(message);
}
