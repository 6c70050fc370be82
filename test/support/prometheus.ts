/** A real Prometheus server of a test's own: scrapes every second, judges its rules as often. */
import { access, constants, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { parse, stringify } from 'yaml';
import { freePort } from '../../scripts/lib/free-port.ts';
import { supervise } from '../../scripts/lib/supervise.ts';

export interface Alert {
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface Prometheus extends AsyncDisposable {
  /** What its API answers to `GET /api/v1/PATH`. Throws with its own words where it refuses. */
  api(path: string, parameters?: Readonly<Record<string, string>>): Promise<unknown>;
  /** The alerts that fire by what was scraped and judged after this call, in the order of their names. */
  firing(): Promise<readonly Alert[]>;
}

/** Path of the program; null, told on stderr, where it is not installed. With `CI` that is an error. */
export async function prometheusProgram(): Promise<string | null> {
  for (const directory of (process.env['PATH'] ?? '').split(delimiter)) {
    const path = join(directory, 'prometheus');
    const isThere = await access(path, constants.X_OK).then(
      () => directory !== '',
      () => false,
    );
    if (isThere) return path;
  }
  const problem = 'there is no Prometheus here: apt-get install prometheus';
  if (process.env['CI'] === 'true') throw new Error(problem);
  process.stderr.write(`NOT TESTED AGAINST PROMETHEUS: ${problem}\n`);
  return null;
}

/** Only the waiting is taken out of the rules, so that nobody has to wait in a test: what they look at stays. */
function withoutWaiting(rules: string): string {
  const { groups } = parse(rules) as { readonly groups: readonly { readonly rules: Record<string, unknown>[] }[] };
  for (const rule of groups.flatMap((group) => group.rules)) {
    delete rule['for'];
    delete rule['keep_firing_for'];
  }
  return stringify({ groups });
}

const readyWithinMs = 30_000;
/** Of one request, so that one that never ends is told by name. */
const answersWithinMs = 20_000;

/** `target`: the URL whose /metrics is scraped, as the PodMonitor has it scraped. `rules`: a file of alerts. */
export async function startPrometheus(
  program: string,
  { target, rules }: { readonly target: string; readonly rules: string },
): Promise<Prometheus> {
  const dir = await mkdtemp(join(tmpdir(), 'mt-prometheus-'));
  const logFile = join(dir, 'log');
  const url = `http://127.0.0.1:${await freePort()}`;
  const config = {
    global: { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '1s' },
    rule_files: ['rules.yaml'],
    scrape_configs: [
      { job_name: 'migration-target', honor_labels: true, static_configs: [{ targets: [new URL(target).host] }] },
    ],
  };
  await writeFile(join(dir, 'prometheus.yaml'), stringify(config));
  await writeFile(join(dir, 'rules.yaml'), withoutWaiting(await readFile(rules, 'utf8')));
  const command = [
    program,
    `--config.file=${join(dir, 'prometheus.yaml')}`,
    `--storage.tsdb.path=${join(dir, 'data')}`,
    `--web.listen-address=${new URL(url).host}`,
  ];
  const server = supervise(command, { logFile, signal: 'TERM', removeAfterwards: dir });
  const stop = async (): Promise<void> => {
    await server.stop();
    await rm(dir, { recursive: true, force: true });
  };
  let ended = false;
  const end = (): void => void (ended = true);
  server.exited.then(end, end);
  const until = Date.now() + readyWithinMs;
  const get = async (path: string): Promise<{ readonly ok: boolean; readonly text: string }> => {
    try {
      const answer = await fetch(url + path, { signal: AbortSignal.timeout(answersWithinMs) });
      return { ok: answer.ok, text: await answer.text() };
    } catch (cause) {
      throw new Error(`GET ${path} of Prometheus: ${String(cause)}`, { cause });
    }
  };
  const isReady = (): Promise<boolean> =>
    get('/-/ready').then(
      ({ ok }) => ok,
      () => false,
    );
  while (!(await isReady())) {
    if (ended || Date.now() > until) {
      const log = await readFile(logFile, 'utf8');
      await stop();
      throw new Error(`Prometheus did not start. Its log:\n${log}`);
    }
    await new Promise((resolve) => void setTimeout(resolve, 50));
  }
  const api: Prometheus['api'] = async (path, parameters = {}) => {
    const { text } = await get(`/api/v1/${path}?${new URLSearchParams(parameters).toString()}`);
    const body = JSON.parse(text) as { readonly data?: unknown; readonly error?: string };
    if (body.error !== undefined) throw new Error(`${path} ${JSON.stringify(parameters)}: ${body.error}`);
    return body.data;
  };
  /** Resolves once there was a scrape after this call, and after it the rules were judged. */
  async function judgedAnew(): Promise<void> {
    const asked = Date.now();
    let scraped: number;
    do {
      const { activeTargets } = (await api('targets')) as { readonly activeTargets: readonly { lastScrape: string }[] };
      scraped = earliest(activeTargets.map(({ lastScrape }) => lastScrape));
    } while (await isBefore(scraped, asked));
    let judged: number;
    do {
      const { groups } = (await api('rules')) as { readonly groups: readonly { lastEvaluation: string }[] };
      judged = earliest(groups.map(({ lastEvaluation }) => lastEvaluation));
    } while (await isBefore(judged, scraped));
  }
  return {
    api,
    async firing() {
      await judgedAnew();
      const { alerts } = (await api('alerts')) as { readonly alerts: readonly (Alert & { readonly state: string })[] };
      return alerts
        .filter(({ state }) => state === 'firing')
        .toSorted((one, other) => nameOf(one).localeCompare(nameOf(other)));
    },
    [Symbol.asyncDispose]: stop,
  };
}

/** 0 where there is nothing yet: what it scrapes it comes to know within some seconds of its start. */
const earliest = (times: readonly string[]): number =>
  times.length === 0 ? 0 : Math.min(...times.map((time) => Date.parse(time)));

/** Where it is, some time passes. */
async function isBefore(one: number, other: number): Promise<boolean> {
  if (one > other) return false;
  await new Promise((resolve) => void setTimeout(resolve, 50));
  return true;
}

const nameOf = ({ labels }: Alert): string => labels['alertname'] ?? '';
