import { request } from 'node:http';
import { connect } from 'node:net';
import { gunzipSync } from 'node:zlib';
import { afterEach, describe, expect, test } from '@jest/globals';
import type { TargetKey } from '../../../src/api/target.ts';
import { createController, type Controller } from '../../../src/controller/controller.ts';
import { createMetrics, type Metrics } from '../../../src/telemetry/metrics.ts';
import { startServer, type TelemetryServer } from '../../../src/telemetry/server.ts';
import { inSync, key, target } from '../../unit/telemetry/targets.ts';

/** A controller with its metrics and its HTTP server, as `run` wires them, over declarations in memory. */
interface Running {
  readonly server: TelemetryServer;
  readonly metrics: Metrics;
  readonly controller: Controller;
  readonly stop: AbortController;
  readonly over: Promise<{ readonly unfinished: readonly TargetKey[] }>;
  readonly problems: unknown[];
  readonly change: (key: TargetKey) => void;
}

const started: Running[] = [];

afterEach(async () => {
  for (const { stop, over, server } of started.splice(0)) {
    stop.abort();
    await over;
    await server.close();
  }
});

async function start(
  reconcile: (key: TargetKey, metrics: Metrics) => Promise<void>,
  list = () => Promise.resolve([key]),
): Promise<Running> {
  const metrics = createMetrics({ version: '1.2.3', clock: { now: () => new Date() } });
  const stop = new AbortController();
  const problems: unknown[] = [];
  let change: (key: TargetKey) => void = () => {};
  const controller = createController({
    list: async () => (await list()).map((one) => ({ key: one, version: '1' })),
    watch: (onChange) => {
      change = onChange;
      return Promise.resolve();
    },
    reconcile: async (one) => {
      await reconcile(one, metrics);
      return {};
    },
    intervalSeconds: () => null,
    concurrency: 4,
    onError: (problem) => problems.push(problem),
    metrics: metrics.controller,
    stopSeconds: 5,
    backoff: { baseMs: 20, maxMs: 50 },
  });
  const server = await startServer({
    listen: '127.0.0.1:0',
    metrics,
    readiness: () => controller.readiness(),
    onProblem: (problem) => problems.push(problem),
  });
  const running = {
    server,
    metrics,
    controller,
    stop,
    over: controller.run(stop.signal),
    problems,
    change: (one: TargetKey) => change(one),
  };
  started.push(running);
  return running;
}

const get = async (server: TelemetryServer, path: string): Promise<string> => {
  const response = await fetch(server.url + path);
  return `${response.status} ${await response.text()}`;
};

async function eventually(holds: () => boolean | Promise<boolean>): Promise<void> {
  const until = Date.now() + 20_000;
  while (!(await holds())) {
    if (Date.now() > until) throw new Error('it never came true');
    await new Promise((resolve) => void setTimeout(resolve, 10));
  }
}

describe('a controller with its server', () => {
  test('is alive at once, ready once the declarations are read, and not ready once it stops', async () => {
    const gate: { open: () => void } = { open: () => {} };
    const listed = new Promise<TargetKey[]>((resolve) => (gate.open = () => resolve([key])));
    const running = await start(
      () => Promise.resolve(),
      () => listed,
    );
    expect(await get(running.server, '/healthz')).toBe('200 ok\n');
    expect(await get(running.server, '/readyz')).toBe('503 not ready: the declarations were not read yet\n');
    gate.open();
    await eventually(async () => (await get(running.server, '/readyz')) === '200 ok\n');
    running.stop.abort();
    expect(await get(running.server, '/readyz')).toBe('503 not ready: stopping\n');
    expect(await get(running.server, '/healthz')).toBe('200 ok\n');
  });

  test('shows what it reconciled, and drops the series of what is gone', async () => {
    let gone = false;
    const running = await start((one, metrics) => {
      if (gone) metrics.forget(one);
      else metrics.observeStatus(one, target(), inSync);
      return Promise.resolve();
    });
    const series = 'migrationtarget_suspended{namespace="ops-center",name="unicorn-db"} 0\n';
    await eventually(async () => (await get(running.server, '/metrics')).includes(series));
    expect(await get(running.server, '/metrics')).toContain(
      'controller_runtime_reconcile_total{controller="migrationtarget",result="success"} 1\n',
    );
    gone = true;
    running.change(key);
    await eventually(async () => !(await get(running.server, '/metrics')).includes('unicorn-db'));
  });

  test('counts failures, tries again, and comes back', async () => {
    let failures = 3;
    const running = await start((one, metrics) => {
      if (failures-- > 0) return Promise.reject(new Error('no'));
      metrics.observeStatus(one, target(), inSync);
      return Promise.resolve();
    });
    await eventually(async () => (await get(running.server, '/metrics')).includes('name="unicorn-db"'));
    expect(await get(running.server, '/metrics')).toContain(
      'controller_runtime_reconcile_errors_total{controller="migrationtarget"} 3\n',
    );
    expect(running.problems.map(String)).toEqual(['Error: no', 'Error: no', 'Error: no']);
  });

  test('answers a scraper that takes gzip, one that does not, and HEAD', async () => {
    const { server } = await start(() => Promise.resolve());
    const headers = (encoding: string) => ({ headers: { 'accept-encoding': encoding } });
    const zipped = await rawBody(server, 'gzip');
    expect(gunzipSync(zipped).toString()).toContain('# TYPE migrationtarget_condition gauge\n');
    const plain = await fetch(`${server.url}/metrics`, headers('identity'));
    expect(plain.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(await plain.text()).toContain('# TYPE migrationtarget_condition gauge\n');
    expect(await (await fetch(`${server.url}/metrics`, { method: 'HEAD' })).text()).toBe('');
    expect((await fetch(`${server.url}/metrics`, { method: 'POST' })).status).toBe(405);
    expect((await fetch(`${server.url}/else`)).status).toBe(404);
  });

  test('lets others run while it is scraped, however many targets there are', async () => {
    const { server, metrics } = await start(() => Promise.resolve());
    for (let index = 0; index < 3_000; index += 1)
      metrics.observeStatus({ ...key, name: `target-${index}` }, target(), inSync);
    let turns = 0;
    let scraping = true;
    const turn = (): void => {
      turns += 1;
      if (scraping) setImmediate(turn);
    };
    let pieces = 0;
    turn();
    for await (const piece of metrics.render()) pieces += piece === '' ? 0 : 1;
    scraping = false;
    expect(pieces).toBeGreaterThan(20);
    expect(turns).toBeGreaterThan(5);
    expect((await get(server, '/metrics')).split('name="target-2999"').length).toBeGreaterThan(40);
  });

  test('says so when a scraper goes away, and goes on', async () => {
    const { server, metrics, problems } = await start(() => Promise.resolve());
    for (let index = 0; index < 2_000; index += 1)
      metrics.observeStatus({ ...key, name: `target-${index}` }, target(), inSync);
    const socket = connect(Number(new URL(server.url).port), '127.0.0.1');
    socket.write('GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n');
    await new Promise((resolve) => void socket.once('data', resolve));
    socket.destroy();
    await eventually(() => problems.length > 0);
    expect(await get(server, '/healthz')).toBe('200 ok\n');
  });

  test('refuses an address that is taken, or none, with what to write instead', async () => {
    const { server, metrics } = await start(() => Promise.resolve());
    const listen = (address: string) =>
      startServer({ listen: address, metrics, readiness: () => ({ ready: true }), onProblem: () => {} });
    await expect(listen(server.url.slice('http://'.length))).rejects.toThrow(/EADDRINUSE.*--listen HOST:PORT/);
    await expect(listen('nowhere')).rejects.toThrow(/"nowhere", which is no address: write HOST:PORT/);
  });
});

/** fetch would unpack it. */
async function rawBody(server: TelemetryServer, encoding: string): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    request(`${server.url}/metrics`, { headers: { 'accept-encoding': encoding } }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk)).on('end', () => resolve(Buffer.concat(chunks)));
    })
      .on('error', reject)
      .end();
  });
}
