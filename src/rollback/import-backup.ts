/** A plain `.sql` file of an old script's, made a backup of the catalogue like any other. */
import { keyOf, type MigrationTarget } from '../api/target.ts';
import { revisionsOf } from './compare.ts';
import { stalled } from './errors.ts';
import type { BackupManifest } from './model.ts';
import type { Ports } from './ports.ts';
import { keptUntil } from './scope.ts';
import { workInScratch } from './scratch-work.ts';

/** A dump in SQL that lies in no catalogue. */
export interface PlainDump {
  /** Absolute. */
  readonly path: string;
  readonly sizeBytes: number;
  /** Copies it into a folder, which is made; returns the path of the copy. */
  copyInto(directory: string): Promise<string>;
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
  return workInScratch(target, ports, signal, async ({ scope, operation, scratch, state }) => {
    const { store, database } = scope;
    const startedAt = ports.clock.now();
    const id = store.newId(startedAt);
    const draft = await store.begin(id, operation.id);
    try {
      const path = await dump.copyInto(draft.dumpDirectory);
      await database.restoreInto(scratch, { path, format: 'plain' }, (done, total, what) =>
        ports.observe(key, operation.id, { kind: 'progress', step: 'import', done, total, what }),
      );
      const restored = await database.contents(scratch);
      const finishedAt = ports.clock.now();
      return await draft.commit(
        {
          version: 1,
          id,
          target: key,
          operation: operation.id,
          database: state.identity,
          server: state.server,
          tools: { pgDump: `imported from ${dump.path}` },
          format: 'plain',
          revisions: revisionsOf(restored.versionTable),
          versionTable: { schema: target.spec.database.versionTableSchema, name: target.spec.database.versionTable },
          schema: { digest: restored.schema.digest, major: restored.schema.major },
          rowCounts: restored.rowCounts,
          properties: await database.properties(),
          scripts: null,
          startedAt: startedAt.toISOString(),
          finishedAt: finishedAt.toISOString(),
          reason: 'Imported',
          verifiedAt: finishedAt.toISOString(),
          keptUntil: keptUntil(target, finishedAt),
        },
        restored.schema,
      );
    } catch (thrown) {
      await draft.discard();
      throw thrown instanceof Error ? thrown : stalled('BackupInvalid', String(thrown));
    }
  });
}
