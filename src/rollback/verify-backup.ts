/** Tries a backup: every file read again, restored into a scratch database, compared with what was dumped. */
import { keyOf, type MigrationTarget } from '../api/target.ts';
import { findRestoreFault } from './compare.ts';
import { asFailure, stalled } from './errors.ts';
import type { BackupManifest } from './model.ts';
import { openStore } from './open-store.ts';
import type { Ports } from './ports.ts';
import { findBackup } from './scope.ts';
import { workInScratch } from './scratch-work.ts';

export type VerifiedBackup =
  { readonly ok: true; readonly manifest: BackupManifest } | { readonly ok: false; readonly fault: string };

/** Marks it verified where it is. Throws BackupNotFound, and what opening the database throws. */
export async function verifyBackup(
  target: MigrationTarget,
  ports: Ports,
  id: string,
  signal: AbortSignal,
): Promise<VerifiedBackup> {
  const key = keyOf(target);
  const store = await openStore(target, ports);
  const checked = await store.check(id);
  if (!checked.ok) return { ok: false, fault: checked.problem };
  const manifest = await findBackup(store, id);
  if (manifest === undefined)
    throw stalled('BackupNotFound', `The catalogue has no backup ${id}. See: migration-target backups ${key.name}`);

  return workInScratch(target, ports, signal, async ({ scope, operation, scratch, state }) => {
    if (manifest.server.major > state.server.major) {
      return {
        ok: false,
        fault: `it is of PostgreSQL ${manifest.server.major}, and the server is ${state.server.major}, which can't restore it`,
      };
    }
    ports.observe(key, operation.id, { kind: 'step', step: 'restore', state: 'started' });
    const startedAt = performance.now();
    try {
      await scope.database.restoreInto(
        scratch,
        { place: store.dumpOf(manifest), format: manifest.format },
        (done, total, what) =>
          ports.observe(key, operation.id, { kind: 'progress', step: 'restore', done, total, what }),
      );
    } catch (thrown) {
      const failure = asFailure(thrown);
      if (failure.kind === 'retry') throw failure;
      return { ok: false, fault: failure.message };
    }
    const contents = await scope.database.contents(scratch);
    ports.observe(key, operation.id, {
      kind: 'step',
      step: 'restore',
      state: 'finished',
      message: 'restored into a scratch database, to be compared',
      ms: Math.round(performance.now() - startedAt),
    });
    const fault = findRestoreFault(manifest, await store.schema(id), contents);
    if (fault !== null) return { ok: false, fault };
    const at = ports.clock.now().toISOString();
    await store.markVerified(id, at, contents.schema);
    return { ok: true, manifest: { ...manifest, verifiedAt: at } };
  });
}
