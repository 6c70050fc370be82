/**
 * The process is killed (kill -9, with its children and without) before and in the middle of every call with an effect
 * that an operation makes, and started again. Which calls there are is counted on a whole run, so a new one is killed
 * without anybody thinking of it; that every step of the procedure is among them is asserted.
 */
import { spawn } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

import { operationSteps, type OperationStep } from '../../src/rollback/model.ts';
import { contentChecksum, majors, query, testServer } from './postgres.ts';
import type { CrashRequest } from './crash-runner.ts';
import type { Call, Moment } from './killpoints.ts';
import { crashRunner } from './program.ts';
import { createScene, type Major, type Scene, type SceneOptions } from './scene.ts';

const node = join(import.meta.dirname, '../../node_modules/.bin/node');

export interface Scenario {
  readonly name: string;
  readonly options: SceneOptions;
  /** Brings the database to where the operation starts, and declares where it should go. */
  readonly prepare: (scene: Scene) => Promise<void>;
  readonly desired: string;
  /** Steps of the procedure that this operation has no use for; another scenario has. */
  readonly without: readonly OperationStep[];
  /** Steps that it goes through as the scenario of another file does, where it is killed in them: not once more here. */
  readonly killedElsewhere?: readonly OperationStep[];
  /** The address of the Docker Engine that its application is on; left out: it has none. */
  readonly engine?: string;
  /** What it left, besides databases, folders and operations, that should not be so. */
  readonly leftBehind?: (scene: Scene) => Promise<readonly string[]>;
  /** On which servers: the points at which it is killed are dealt out to them. Left out: on all. */
  readonly on?: readonly Major[];
}

/** A scenario on one server. */
interface Crashes extends AsyncDisposable {
  /** Those with an effect, of the steps in which it is to be killed. */
  readonly calls: readonly Call[];
  /** The steps of all calls. */
  readonly steps: ReadonlySet<string>;
  /** Starts all over, kills it at that call, and starts it again: how it ends, and how it should have. */
  kill(call: Call, moment: Moment, whom: Whom, andThen?: (scene: Scene) => Promise<void>): Promise<Ending>;
}

interface Ending {
  readonly is: object;
  readonly shouldBe: object;
}

type Whom = 'alone' | 'with its children';
type IsMeant = (call: Call, calls: readonly Call[]) => boolean;

/** In the middle of the next ones of that step it would leave the same behind; before each of them it is killed all the same. */
const isFirstOfItsKind = ({ id, step, method }: Call, calls: readonly Call[]): boolean =>
  calls.find((call) => call.step === step && call.method === method)?.id === id;

export function describeCrashes(scenario: Scenario): void {
  const { name, without, on = majors } = scenario;
  describe(`killed during ${name}`, () => {
    const servers: Crashes[] = [];
    let turn = 0;

    beforeAll(async () => {
      for (const major of on) servers.push(await prepareCrashes(major, scenario));
    }, 300_000);
    afterAll(async () => {
      for (const each of servers) await each[Symbol.asyncDispose]();
    });

    /** Each of these calls, and the server whose turn it is. */
    function deal(isMeant: IsMeant): [Crashes, Call][] {
      const ids = new Set(
        servers.flatMap(({ calls }) => calls.filter((call) => isMeant(call, calls)).map(({ id }) => id)),
      );
      return [...ids].map((id) => {
        const server = servers[turn++ % servers.length];
        const call = server?.calls.find((one) => one.id === id);
        if (!server || !call) throw new Error(`the calls are not the same on each of ${on.join(', ')}: ${id}`);
        return [server, call];
      });
    }

    test('the calls with an effect are of every step of the procedure that this operation goes through', () => {
      for (const { steps } of servers)
        expect(steps).toEqual(new Set(operationSteps.filter((step) => !without.includes(step))));
    });

    test.each<[string, Moment, Whom, IsMeant]>([
      ['before each call', 'before', 'with its children', () => true],
      [
        'in the middle of each kind of call that takes long, in each step',
        'during',
        'with its children',
        (call, calls) => call.lasts !== 'briefly' && isFirstOfItsKind(call, calls),
      ],
      [
        'in the middle of each kind of call with children, in each step; they live on',
        'during',
        'alone',
        (call, calls) => call.lasts === 'with children' && isFirstOfItsKind(call, calls),
      ],
    ])(
      '%s: ends at the desired state, or at the origin with the reason, with every row',
      async (_, moment, whom, isMeant) => {
        for (const [server, call] of deal(isMeant)) {
          const { is, shouldBe } = await server.kill(call, moment, whom);
          expect(is).toEqual(shouldBe);
        }
      },
      900_000,
    );

    test('between the closing of the live database and the renames: the same', async () => {
      for (const [server, call] of deal(({ method }) => method === 'swap')) {
        const { is, shouldBe } = await server.kill(call, 'before', 'with its children', async ({ database }) => {
          await query(database.server.adminUrl, `ALTER DATABASE "${database.name}" ALLOW_CONNECTIONS false`);
        });
        expect(is).toEqual(shouldBe);
      }
    });
  });
}

async function prepareCrashes(major: Major, scenario: Scenario): Promise<Crashes> {
  const { options, prepare, desired, killedElsewhere = [], engine = null, leftBehind } = scenario;
  const scene = await createScene(major, options);
  const { binDir } = await testServer(major);
  const request = { dir: scene.dir, name: 'unicorn', toolDirectory: binDir, engine };

  await prepare(scene);
  const origin = await contentChecksum(scene.database.adminUrl);
  const back = await scene.save();
  const { calls } = await runToEnd(request);
  expect(await scene.version()).toBe(desired);
  const checksums = { origin, desired: await contentChecksum(scene.database.adminUrl) };

  /** At the desired state, or at the origin with the reason; every row is there, and nothing is left lying about. */
  async function end(place: string): Promise<Ending> {
    const { outcome } = await untilItEnds();
    const version = await scene.version();
    const rows = await contentChecksum(scene.database.adminUrl);
    const ended =
      outcome.kind === 'ready'
        ? { kind: 'ready', version: desired, rows: checksums.desired }
        : { kind: 'stalled', version: 'a3', rows: checksums.origin };
    const is = { place, kind: outcome.kind, message: outcome.message, version, rows, left: await leftovers() };
    // The place and the message are told where it fails.
    return { is, shouldBe: { ...ended, place, message: outcome.message, left: [] } };
  }

  /** What a next start would be told to do again is done again, a bounded number of times. */
  async function untilItEnds(): ReturnType<Scene['reconcile']> {
    for (let tries = 1; ; tries += 1) {
      const reconciled = await scene.reconcile();
      if (reconciled.outcome.kind !== 'retrying' || tries === 5) return reconciled;
    }
  }

  /** Databases and folders that nobody answers for. */
  async function leftovers(): Promise<string[]> {
    const { keptAside, operation } = await scene.status();
    const known = new Set([scene.database.name, ...keptAside.map(({ name }) => name)]);
    const databases = (await scene.databases()).filter((name) => !known.has(name));
    const folders = (await readdir(scene.backups)).filter((name) => name.includes('partial'));
    const others = (await leftBehind?.(scene)) ?? [];
    return [...databases, ...folders, ...others, ...(operation === null ? [] : [`operation ${operation.id}`])];
  }

  return {
    calls: calls.filter(({ step }) => !killedElsewhere.some((one) => one === step)),
    steps: new Set(calls.map(({ step }) => step)),
    kill: async ({ id, step }, moment, whom, andThen) => {
      await back();
      await killAt({ ...request, stopAt: id, moment }, whom);
      await andThen?.(scene);
      return end(`PostgreSQL ${major}, ${moment} ${id} (step ${step}), ${whom}`);
    },
    [Symbol.asyncDispose]: () => scene[Symbol.asyncDispose](),
  };
}

interface Ended {
  readonly calls: readonly Call[];
}

async function runToEnd(request: Omit<CrashRequest, 'stopAt' | 'moment'>): Promise<Ended> {
  return JSON.parse(await firstLine({ ...request, stopAt: null, moment: 'before' }, () => undefined)) as Ended;
}

/** Starts the runner, and kills it where it stands still. */
async function killAt(request: CrashRequest, whom: 'alone' | 'with its children'): Promise<void> {
  const line = await firstLine(request, async (pid) => {
    const children = whom === 'alone' ? [] : await descendants(pid);
    for (const one of [pid, ...children]) kill(one);
  });
  // Else it ended by itself, and nothing was tried.
  expect(JSON.parse(line)).toMatchObject({ reached: { id: request.stopAt } });
}

/** The runner's first line of output; when this resolves the runner has ended. */
async function firstLine(request: CrashRequest, onLine: (pid: number) => Promise<void> | void): Promise<string> {
  const child = spawn(node, [crashRunner, JSON.stringify(request)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const errors: string[] = [];
  createInterface(child.stderr).on('line', (line) => errors.push(line));
  let first = '';
  const lines = createInterface(child.stdout);
  lines.on('line', (line) => {
    if (first !== '') return;
    first = line;
    void onLine(child.pid ?? 0);
  });
  await new Promise((resolve) => child.once('exit', resolve));
  if (first === '') throw new Error(`the runner ended without a word: ${errors.join('\n')}`);
  return first;
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** All processes below `pid`, from /proc. */
async function descendants(pid: number): Promise<number[]> {
  const children = new Map<number, number[]>();
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const stat = await readFile(`/proc/${entry}/stat`, 'utf8').catch(() => '');
    const parent = Number(/^\d+ \(.*\) \S (\d+)/s.exec(stat)?.[1] ?? 0);
    children.set(parent, [...(children.get(parent) ?? []), Number(entry)]);
  }
  const below = (of: number): number[] => (children.get(of) ?? []).flatMap((child) => [child, ...below(child)]);
  return below(pid);
}
