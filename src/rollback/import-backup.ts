/** A plain `.sql` file of an old script's, made a backup of the catalogue like any other. */
import { keyOf, type MigrationTarget } from '../api/target.ts';
import { stalled } from './errors.ts';
import { importedManifest } from './imported-manifest.ts';
import type { BackupManifest } from './model.ts';
import type { DumpPath, DumpPlace, DumpSink, Ports } from './ports.ts';
import { workInScratch } from './scratch-work.ts';

/** A dump in SQL that lies in no catalogue. */
export interface PlainDump {
  /** Absolute. */
  readonly path: string;
  readonly sizeBytes: number;
  /** Copies it: into a folder, which is made, or a stream. Returns where the copy is. */
  copyTo(into: DumpPath | DumpSink): Promise<DumpPlace>;
}

/**
 * Copies the file into the catalogue, and restores the copy once into a scratch database: that tells its revisions, row
 * counts and schema, and that it can be restored. What a database has beside its content is taken from the live one.
 * Throws BackupInvalid, RestoreFailed, and what opening the database throws; then nothing is left of it.
 */
export async function importBackup(
  target: MigrationTarget,
  ports: Ports,
  dump: PlainDump,
  signal: AbortSignal,
): Promise<BackupManifest> {
  const key = keyOf(target);
  return workInScratch(target, ports, signal, async (work) => {
    const { scope, operation, scratch } = work;
    const { store, database } = scope;
    const startedAt = ports.clock.now();
    const id = store.newId(startedAt);
    const draft = await store.begin(id, operation.id);
    try {
      const place = await dump.copyTo(draft.dump);
      await database.restoreInto(scratch, { place, format: 'plain' }, (done, total, what) =>
        ports.observe(key, operation.id, { kind: 'progress', step: 'import', done, total, what }),
      );
      const restored = await database.contents(scratch);
      const finishedAt = ports.clock.now();
      const manifest = importedManifest(work, {
        id,
        path: dump.path,
        format: 'plain',
        contents: restored,
        properties: await database.properties(),
        taken: { startedAt, finishedAt },
        verified: finishedAt,
      });
      return await draft.commit(manifest, restored.schema);
    } catch (thrown) {
      await draft.discard();
      throw thrown instanceof Error ? thrown : stalled('BackupInvalid', String(thrown));
    }
  });
}
