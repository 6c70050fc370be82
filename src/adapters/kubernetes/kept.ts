/** Targets as they were last read or written, and the versions of them that the watch has told of since. */
import { keyText, type MigrationTarget, type TargetKey } from '../../api/target.ts';
import { asStored, declarationOf, type StoredTarget, type Version } from './objects.ts';
import { statusDigest } from './status-digest.ts';

export interface KeptTargets {
  /** With the digest of its status, so that one that is there already is not written. */
  version(key: TargetKey): (Version & { readonly status: string }) | undefined;
  keep(key: TargetKey, stored: StoredTarget): void;
  /** Something beside its status was written, and all of it was not answered. */
  rewritten(key: TargetKey, now: Version): void;
  forget(key: TargetKey): void;
  /** null: it is gone. */
  told(key: TargetKey, now: Version | null): void;
  /** null where it is not kept, is no valid one, or is another by now. */
  recall(key: TargetKey): MigrationTarget | null;
}

interface Kept extends Version {
  readonly status: string;
  /** In JSON, which takes less than what it is parsed into, and keeps the garbage collector from looking at it. */
  readonly text: Buffer | null;
}

export function createKeptTargets(): KeptTargets {
  const kept = new Map<string, Kept>();
  const newest = new Map<string, string>();
  return {
    version: (key) => kept.get(keyText(key)),
    keep(key, stored) {
      // Nobody asks who wrote which field.
      const { managedFields: _, ...metadata } = stored.metadata;
      const { uid, resourceVersion } = metadata;
      const text = compact(JSON.stringify({ ...stored, metadata }));
      kept.set(keyText(key), { uid, resourceVersion, status: statusDigest(stored.status), text });
    },
    rewritten(key, { uid, resourceVersion }) {
      const before = kept.get(keyText(key));
      // So that the next write of the status is not taken for a conflict with ourselves.
      if (before?.uid === uid) kept.set(keyText(key), { ...before, resourceVersion, text: null });
    },
    forget: (key) => void kept.delete(keyText(key)),
    told(key, now) {
      if (now === null) newest.delete(keyText(key));
      else newest.set(keyText(key), now.resourceVersion);
    },
    recall(key) {
      const last = kept.get(keyText(key));
      if (last === undefined || last.text === null || newest.get(keyText(key)) !== last.resourceVersion) return null;
      const declaration = declarationOf(asStored(JSON.parse(last.text.toString())));
      return declaration.kind === 'target' ? declaration.target : null;
    },
  };
}

/** No part of Node's pool, of which each piece that is kept would keep far more than itself. */
function compact(text: string): Buffer {
  const bytes = Buffer.allocUnsafeSlow(Buffer.byteLength(text));
  bytes.write(text);
  return bytes;
}
