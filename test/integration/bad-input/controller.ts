/** The controller as `run` starts it, over the folder of a scene, until it has looked at everything that is declared. */
import type { Adapters, Clock, Declaration, Home, LeaseStore } from '../../../src/rollback/ports.ts';
import { keyText, type TargetKey } from '../../../src/api/target.ts';
import { serve } from '../../../src/main/serve.ts';
import type { Scene } from '../../support/scene.ts';

export interface ControllerRun {
  /** What it saved, by `NAMESPACE/NAME`, in order. */
  readonly saved: readonly string[];
  /** By name, as they are afterwards. */
  readonly declared: ReadonlyMap<string, Declaration>;
}

/**
 * Starts it, waits until it has read each target, and stops it, which waits for whatever it is at. `lease`: it works only
 * once it has that. `meanwhile`: between the two, once it watches.
 */
export async function runController(
  scene: Pick<Scene, 'ports'>,
  {
    lease,
    clock,
    meanwhile,
  }: { readonly lease?: LeaseStore; readonly clock?: Clock; readonly meanwhile?: () => Promise<void> } = {},
): Promise<ControllerRun> {
  const { home, ...ports } = scene.ports;
  const keys = (await home.list()).map(keyOfDeclaration);
  const unseen = new Set(keys.map(keyText));
  const saved: string[] = [];
  const stop = new AbortController();
  const going: Promise<void>[] = [];
  const synced = Promise.withResolvers<void>();
  const watched: Home = {
    ...home,
    ...(lease === undefined ? {} : { lease: () => lease }),
    get: async (key) => {
      const declaration = await home.get(key);
      unseen.delete(keyText(key));
      if (unseen.size === 0 && meanwhile === undefined) stop.abort();
      else if (unseen.size === 0 && going.length === 0)
        going.push(synced.promise.then(meanwhile).finally(() => stop.abort()));
      return declaration;
    },
    watch: async (...args) => {
      await home.watch(...args);
      synced.resolve();
    },
    saveStatus: async (key, status, before) => {
      saved.push(keyText(key));
      await home.saveStatus(key, status, before);
    },
  };
  const adapters: Adapters = clock === undefined ? ports : { ...ports, clock };
  const level = process.env['LOG_LEVEL'];
  process.env['LOG_LEVEL'] = 'silent';
  try {
    const { unfinished } = await serve({
      home: watched,
      election: lease === undefined ? null : { lease: lease.name, identity: 'this' },
      watches: 'a test',
      listen: '127.0.0.1:0',
      workers: 4,
      surroundings: { inPod: false, allow: [] },
      signal: stop.signal,
      adapters,
      version: '0',
    });
    await Promise.all(going);
    if (unfinished.length > 0) throw new Error(`did not end: ${unfinished.join(', ')}`);
  } finally {
    if (level === undefined) delete process.env['LOG_LEVEL'];
    else process.env['LOG_LEVEL'] = level;
  }
  const declared = new Map((await home.list()).map((one) => [keyOfDeclaration(one).name, one]));
  return { saved, declared };
}

const keyOfDeclaration = (declaration: Declaration): TargetKey =>
  declaration.kind === 'invalid'
    ? declaration.key
    : { namespace: declaration.target.metadata.namespace, name: declaration.target.metadata.name };
