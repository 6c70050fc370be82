/** What lies beside a dump of somebody else's, once it was restored to see what is in it. Pure. */
import { keyOf } from '../api/target.ts';
import { revisionsOf } from './compare.ts';
import type { BackupManifest, DatabaseProperties } from './model.ts';
import type { Contents } from './ports.ts';
import { keptUntil } from './scope.ts';
import type { ScratchWork } from './scratch-work.ts';

/** `path`: where it was found; `taken`, `verified`: when it was made, and restored; `properties`: the live database's. */
export function importedManifest(
  { scope: { target }, operation, state }: Pick<ScratchWork, 'scope' | 'operation' | 'state'>,
  dump: {
    readonly id: string;
    readonly path: string;
    readonly format: BackupManifest['format'];
    readonly contents: Contents;
    readonly properties: DatabaseProperties;
    readonly taken: { readonly startedAt: Date; readonly finishedAt: Date };
    readonly verified: Date;
  },
): Omit<BackupManifest, 'files' | 'sizeBytes'> {
  const { versionTable, versionTableSchema } = target.spec.database;
  const { schema, rowCounts } = dump.contents;
  return {
    version: 1,
    id: dump.id,
    target: keyOf(target),
    operation: operation.id,
    database: state.identity,
    server: state.server,
    tools: { pgDump: `imported from ${dump.path}` },
    format: dump.format,
    revisions: revisionsOf(dump.contents.versionTable),
    versionTable: { schema: versionTableSchema, name: versionTable },
    schema: { digest: schema.digest, major: schema.major },
    rowCounts,
    properties: dump.properties,
    scripts: null,
    startedAt: dump.taken.startedAt.toISOString(),
    finishedAt: dump.taken.finishedAt.toISOString(),
    reason: 'Imported',
    verifiedAt: dump.verified.toISOString(),
    keptUntil: keptUntil(target, dump.verified),
  };
}
