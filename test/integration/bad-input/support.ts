/** What every bad input has to show: the reason, where to look and what to type; and that nothing else happened. */
import { access, chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from '@jest/globals';

import type { Outcome } from '../../../src/api/conditions.ts';
import type { Reason } from '../../../src/api/reasons.ts';
import type { TargetStatus } from '../../../src/api/target.ts';
import type { Ports } from '../../../src/rollback/ports.ts';
import type { Reconciled } from '../../../src/rollback/reconcile.ts';
import { contentChecksum } from '../../support/postgres.ts';
import { createScene, said, threeSteps, type Scene, type SceneOptions } from '../../support/scene.ts';

/** Bad input does not depend on the server's major, so it is tried on one. */
export const major = 16;

/** What was started, counted where the procedure asks for it. */
export interface Started {
  readonly pythons: number;
  readonly operations: number;
}

/** A scene that counts what is started in it. */
export interface WatchedScene extends Scene {
  readonly started: () => Started;
}

export async function watchedScene(options: Partial<SceneOptions> = {}): Promise<WatchedScene> {
  const counts = { pythons: 0, operations: 0 };
  const count = (ports: Ports): Ports => ({
    ...ports,
    alembic: {
      start: (settings) => {
        counts.pythons += 1;
        return ports.alembic.start(settings);
      },
    },
    home: {
      ...ports.home,
      hold: (key) => {
        counts.operations += 1;
        return ports.home.hold(key);
      },
    },
  });
  const { ports: change = (ports: Ports) => ports, ...rest } = options;
  const scene = await createScene(major, { history: threeSteps, ...rest, ports: (ports) => count(change(ports)) });
  return Object.assign(scene, { started: () => ({ ...counts }) });
}

export interface Refusal {
  readonly reason: Reason;
  /** `retrying`: it passes by itself, and back-off is the controller's. Default: `stalled`. */
  readonly kind?: 'stalled' | 'retrying';
  /** The object, the cause and the next command: all that the message must hold. */
  readonly says: readonly (string | RegExp)[];
  /** Left out: nothing was begun. An operation that found out itself that it can't go on leaves the database as it was. */
  readonly begins?: 'operation';
}

/**
 * Runs `visit`, which meets the bad input, and asserts all that the issue wants of one: the saved conditions, the
 * message, the content unchanged, no database left over, and that looking again starts neither Python nor an operation.
 */
export async function expectRefused(
  scene: WatchedScene,
  visit: () => Promise<Reconciled>,
  refusal: Refusal,
): Promise<TargetStatus> {
  const kind = refusal.kind ?? 'stalled';
  const [content, databases, first] = [await contentOf(scene), await scene.databases(), scene.started()];
  const { outcome, again } = await visit();
  await expectSaid(scene, outcome, refusal);
  expect(again).toBe(kind === 'retrying');
  const begun = scene.started();
  if (refusal.begins === undefined) expect(begun.operations).toBe(first.operations);

  const second = await scene.reconcile();
  expect(said(second.outcome)).toBe(said(outcome));
  // What passes by itself may be tried again, as the controller decides; what a human must mend may not.
  if (kind === 'stalled') expect(scene.started()).toEqual(begun);
  expect(second.again).toBe(again);

  expect(await contentOf(scene)).toBe(content);
  expect(await scene.databases()).toEqual(databases);
  const status = await scene.status();
  if (kind === 'stalled') expect(status.operation).toBeNull();
  return status;
}

const contentOf = (scene: Scene): Promise<string> => contentChecksum(scene.database.adminUrl);

async function expectSaid(scene: Scene, outcome: Outcome, refusal: Refusal): Promise<void> {
  const kind = refusal.kind ?? 'stalled';
  expect(said(outcome)).toMatch(new RegExp(`^${kind} ${refusal.reason}: `));
  expectMessage(outcome.message, refusal.says);
  expect(outcome.message).not.toContain(scene.database.password);
  const status = await scene.status();
  const { generation } = (await scene.target()).metadata;
  expect(conditionsOf(status)).toMatchObject({
    Ready: { status: 'False', reason: refusal.reason, message: outcome.message, observedGeneration: generation },
    Stalled: { status: kind === 'stalled' ? 'True' : 'False' },
    Reconciling: { status: kind === 'stalled' ? 'False' : 'True' },
  });
}

/** All of `says` in one message, in any order. */
export function expectMessage(message: string, says: readonly (string | RegExp)[]): void {
  for (const part of says) {
    if (typeof part === 'string') expect(message).toContain(part);
    else expect(message).toMatch(part);
  }
  // A sentence of JavaScript's own tells nobody what to do.
  expect(message).not.toMatch(/undefined|\[object |TypeError|\bat .*\.ts:\d+/);
}

export const conditionsOf = (
  status: Pick<TargetStatus, 'conditions'>,
): Readonly<Record<string, TargetStatus['conditions'][number]>> =>
  Object.fromEntries(status.conditions.map((condition) => [condition.type, condition]));

/** Writes a key of the scene's secret, as a person would. */
export async function setSecret(scene: Scene, key: 'url' | 'adminUrl', text: string): Promise<void> {
  await writeFile(join(scene.dir, 'secrets', 'unicorn', key), text, { mode: 0o600 });
}

/** A file that must never appear: whatever makes it ran a shell. */
export interface Marker extends AsyncDisposable {
  /** Short enough for a revision, e.g. `/tmp/mt-0a1b2c`. */
  readonly path: string;
  expectAbsent(): Promise<void>;
}

export function shellMarker(): Marker {
  const path = join('/tmp', `mt-${randomBytes(3).toString('hex')}`);
  return {
    path,
    expectAbsent: () => expect(access(path)).rejects.toMatchObject({ code: 'ENOENT' }),
    [Symbol.asyncDispose]: () => rm(path, { force: true }),
  };
}

/** Programs of the same `text`, in a folder of their own. */
export async function writePrograms(
  names: readonly string[],
  text: string,
): Promise<{ readonly dir: string } & AsyncDisposable> {
  const dir = await mkdtemp(join(tmpdir(), 'mt-program-'));
  for (const name of names) {
    await writeFile(join(dir, name), text);
    await chmod(join(dir, name), 0o755);
  }
  return { dir, [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }) };
}
