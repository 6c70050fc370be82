/**
 * The process is killed (kill -9, with its children and without) before and in the middle of every call with an effect
 * that an operation makes, and started again. Which calls there are is counted on a whole run, so a new one is killed
 * without anybody thinking of it; that every step of the procedure is among them is asserted.
 */
import { spawn } from 'node:child_process';
import { cp, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

import { operationSteps, type OperationStep } from '../../src/rollback/model.ts';
import { contentChecksum, query, testServer } from './postgres.ts';
import type { CrashRequest } from './crash-runner.ts';
import type { Call, Moment } from './killpoints.ts';
import { createScene, type Scene, type SceneOptions } from './scene.ts';

const major = 16;
const node = join(import.meta.dirname, '../../node_modules/.bin/node');

export interface Scenario {
  readonly name: string;
  readonly options: SceneOptions;
  /** Brings the database to where the operation starts, and declares where it should go. */
  readonly prepare: (scene: Scene) => Promise<void>;
  readonly desired: string;
  /** Steps of the procedure that this operation has no use for; another scenario has. */
  readonly without: readonly OperationStep[];
}

export function describeCrashes({ name: operationName, options, prepare, desired, without }: Scenario): void {
  describe(`killed during ${operationName}`, () => {
    let scene: Scene;
    let calls: readonly Call[];
    let request: Omit<CrashRequest, 'stopAt' | 'moment'>;
    const checksums = { origin: '', desired: '' };
    const template = (): string => `${scene.database.name}_saved`;

    beforeAll(async () => {
      scene = await createScene(major, options);
      request = { dir: scene.dir, name: 'unicorn', toolDirectory: (await testServer(major)).binDir };
      await prepare(scene);
      checksums.origin = await contentChecksum(scene.database.adminUrl);
      await save();
      calls = (await runToEnd(request)).calls;
      expect(await scene.version()).toBe(desired);
      checksums.desired = await contentChecksum(scene.database.adminUrl);
    });
    afterAll(async () => scene[Symbol.asyncDispose]());

    async function save(): Promise<void> {
      await admin(`CREATE DATABASE "${template()}" TEMPLATE "${scene.database.name}" OWNER "${scene.database.owner}"`);
      await cp(scene.dir, `${scene.dir}.saved`, { recursive: true });
    }

    /** The same database and folder as before the operation, whatever the last kill left. */
    async function reset(): Promise<void> {
      for (const one of (await scene.databases()).filter((name) => name !== template()))
        await admin(`DROP DATABASE "${one}" WITH (FORCE)`);
      await admin(`CREATE DATABASE "${scene.database.name}" TEMPLATE "${template()}" OWNER "${scene.database.owner}"`);
      await rm(scene.dir, { recursive: true });
      await cp(`${scene.dir}.saved`, scene.dir, { recursive: true });
    }
    const admin = async (sql: string): Promise<void> => {
      const { adminUrl } = await testServer(major);
      await query(adminUrl, sql);
    };

    test('the calls with an effect are of every step of the procedure that this operation goes through', () => {
      expect(new Set(calls.map(({ step }) => step))).toEqual(
        new Set(operationSteps.filter((step) => !without.includes(step))),
      );
    });

    test.each<[string, Moment, 'alone' | 'with its children', (call: Call) => boolean]>([
      ['before each call', 'before', 'with its children', () => true],
      ['in the middle of each call that takes long', 'during', 'with its children', ({ lasts }) => lasts !== 'briefly'],
      [
        'in the middle of each call with children, which live on',
        'during',
        'alone',
        ({ lasts }) => lasts === 'with children',
      ],
    ])(
      '%s: ends at the desired state, or at the origin with the reason, with every row',
      async (_, moment, whom, isMeant) => {
        for (const call of calls.filter(isMeant)) {
          await reset();
          await killAt({ ...request, stopAt: call.id, moment }, whom);
          await endsRight(`${call.id} (step ${call.step})`);
        }
      },
      900_000,
    );

    test('between the closing of the live database and the renames: the same', async () => {
      const swaps = calls.filter(({ method }) => method === 'swap');
      for (const { id } of swaps) {
        await reset();
        await killAt({ ...request, stopAt: id, moment: 'before' }, 'with its children');
        await admin(`ALTER DATABASE "${scene.database.name}" ALLOW_CONNECTIONS false`);
        await endsRight('database.swap, half done');
      }
    });

    /** At the desired state, or at the origin with the reason; every row is there, and nothing is left lying about. */
    async function endsRight(place: string): Promise<void> {
      const { outcome } = await untilItEnds();
      const version = await scene.version();
      const rows = await contentChecksum(scene.database.adminUrl);
      const ended =
        outcome.kind === 'ready'
          ? { version: desired, rows: checksums.desired }
          : { kind: 'stalled', version: 'a3', rows: checksums.origin };
      expect({
        place,
        kind: outcome.kind,
        message: outcome.message,
        version,
        rows,
        left: await leftovers(),
      }).toMatchObject({ ...ended, left: [] });
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
      const known = new Set([scene.database.name, template(), ...keptAside.map(({ name }) => name)]);
      const databases = (await scene.databases()).filter((name) => !known.has(name));
      const folders = (await readdir(scene.backups)).filter((name) => name.includes('partial'));
      return [...databases, ...folders, ...(operation === null ? [] : [`operation ${operation.id}`])];
    }
  });
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
  const child = spawn(
    node,
    ['--disable-warning=ExperimentalWarning', join(import.meta.dirname, './crash-runner.ts'), JSON.stringify(request)],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
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
