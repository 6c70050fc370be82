/** Backups on a PersistentVolumeClaim, which a small agent serves from a pod that mounts it. */
import type { TargetKey, TargetSpec } from '../../api/target.ts';
import type { BackupStore, Owner } from '../../rollback/ports.ts';
import type { Launcher, Program } from '../process/launcher.ts';
import { createKnown, type Known } from '../storage/known.ts';
import { ObjectStore } from '../storage/object-store.ts';
import { perTarget } from '../storage/per-target.ts';
import { volumeConnection, type VolumeConnection } from './connection.ts';
import { claimText } from './failures.ts';
import { volumePlace } from './place.ts';

export type ClaimStorage = NonNullable<TargetSpec['backup']['storage']['persistentVolumeClaim']>;

/** How the agent of a claim is started, which serves all of its volume (`serveVolume`). */
export interface VolumeAgent {
  readonly launcher: Launcher;
  readonly program: Program;
}

/** Of one process. Disposed, it ends the agents. */
export interface Volumes extends AsyncDisposable {
  /** Starts nothing yet. Throws what `agentOf` throws. */
  open(storage: ClaimStorage, owner: Owner): BackupStore;
  /** Ends its agent. */
  letGo(target: TargetKey): void;
}

/** From one step of an operation to the next; the agent of a longer one is started again. */
const defaultIdleMs = 60_000;

/** Reading a catalogue anew may cost a Job. */
const oldestMs = 24 * 60 * 60_000;

export function createVolumes(
  agentOf: (owner: Owner, claimName: string) => VolumeAgent,
  idleMs = defaultIdleMs,
): Volumes {
  // One agent for a target, whatever is done to it at the same time.
  const opened = perTarget<{ readonly connection: VolumeConnection; readonly known: Known }>(
    ({ connection }) => void connection[Symbol.asyncDispose](),
  );
  return {
    open({ claimName, path }, owner) {
      const claim = { namespace: owner.namespace, name: claimName };
      const named = JSON.stringify([claimName, path, owner.uid, owner.serviceAccountName]);
      const { connection, known } = opened.keep(owner, named, () => {
        const { launcher, program } = agentOf(owner, claimName);
        return {
          connection: volumeConnection(launcher, program, { name: claimText(claim), idleMs }),
          known: createKnown(oldestMs),
        };
      });
      return new ObjectStore(volumePlace(connection, claim, path.replaceAll(/^\/+|\/+$/g, '')), owner, known);
    },
    letGo: opened.letGo,
    async [Symbol.asyncDispose]() {
      await Promise.all(opened.all().map(({ connection }) => connection[Symbol.asyncDispose]()));
    },
  };
}
