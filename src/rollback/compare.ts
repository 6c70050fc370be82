/** Pure comparisons of what was read with what was expected; each difference is one readable line. */
import { formatHeads, sameSet } from './graph.ts';
import type { BackupManifest, RowChange, RowCounts, SchemaFacts, VersionTable } from './model.ts';
import type { Contents } from './ports.ts';

export interface SchemaDifference {
  readonly missing: readonly string[];
  readonly unexpected: readonly string[];
}

/** Lines of `expected` that `actual` lacks, and the other way round. */
export function compareSchemas(expected: readonly string[], actual: readonly string[]): SchemaDifference {
  const has = new Set(actual);
  const wanted = new Set(expected);
  return { missing: expected.filter((line) => !has.has(line)), unexpected: actual.filter((line) => !wanted.has(line)) };
}

export const isSame = ({ missing, unexpected }: SchemaDifference): boolean => missing.length + unexpected.length === 0;

/** A few lines of a difference, as a sentence. */
export function describeDifference({ missing, unexpected }: SchemaDifference): string {
  const some = (lines: readonly string[]): string =>
    `${lines.slice(0, 3).join('; ')}${lines.length > 3 ? `; and ${lines.length - 3} more` : ''}`;
  return [
    ...(missing.length > 0 ? [`missing: ${some(missing)}`] : []),
    ...(unexpected.length > 0 ? [`left over: ${some(unexpected)}`] : []),
  ].join('. ');
}

/**
 * What differs from the expected schema through the change itself. Differences between the origin as it was found
 * and as it was once recorded are drift: somebody else's, and no fault of the change. Where the origin was never
 * recorded, whatever the change did not touch may be drift, and is taken for it.
 */
export function beyondDrift(
  difference: SchemaDifference,
  origin: { readonly found: readonly string[]; readonly recorded: readonly string[] | null },
): SchemaDifference {
  const found = new Set(origin.found);
  const recorded = origin.recorded === null ? null : new Set(origin.recorded);
  const wasAdded = (line: string): boolean => found.has(line) && recorded?.has(line) !== true;
  const wasRemoved = (line: string): boolean => !found.has(line) && recorded?.has(line) !== false;
  return {
    missing: difference.missing.filter((line) => !wasRemoved(line)),
    unexpected: difference.unexpected.filter((line) => !wasAdded(line)),
  };
}

/** Tables whose number of rows differs; a table that one side lacks counts as null there. */
export function compareCounts(before: RowCounts, after: RowCounts): readonly RowChange[] {
  return [...new Set([...Object.keys(before), ...Object.keys(after)])]
    .sort()
    .map((table) => ({ table, before: before[table] ?? null, after: after[table] ?? null }))
    .filter(({ before: was, after: is }) => was !== is);
}

/** `public.users 1001 → 1000`; a table that is not there is `none`. */
export const formatRowChange = ({ table, before, after }: RowChange): string =>
  `${table} ${before ?? 'none'} → ${after ?? 'none'}`;

/** How many of them an operation keeps: a report, not a catalogue. */
export const maxRowChanges = 100;

export const revisionsOf = (table: VersionTable): readonly string[] | null =>
  table.kind === 'present' ? table.revisions : null;

/** Where a backup is: what its version table says, else what its schema is that of and no other's; null: unknown. */
export const revisionsOfBackup = ({
  revisions,
  identified,
}: Pick<BackupManifest, 'revisions' | 'identified'>): readonly string[] | null => revisions ?? identified ?? null;

/** By the schema is not by the version table: who restores it is told which. */
export const backupRevisionText = (backup: Pick<BackupManifest, 'revisions' | 'identified'>): string =>
  backup.revisions === null && backup.identified !== undefined
    ? `${formatRevisions(revisionsOfBackup(backup))} (by schema)`
    : formatRevisions(backup.revisions);

export const sameRevisions = (a: readonly string[] | null, b: readonly string[] | null): boolean =>
  a === null || b === null ? a === b : sameSet(a, b);

export const formatRevisions = (revisions: readonly string[] | null): string =>
  revisions === null ? 'no version table' : formatHeads(revisions);

/** What a restored database lacks of what the manifest says was in the dump; null: nothing. */
export function findRestoreFault(
  manifest: Pick<BackupManifest, 'rowCounts' | 'revisions' | 'schema'>,
  recorded: SchemaFacts | null,
  restored: Contents,
): string | null {
  const revisions = revisionsOf(restored.versionTable);
  if (!sameRevisions(manifest.revisions, revisions)) {
    return `the version table says ${formatRevisions(revisions)}, and was ${formatRevisions(manifest.revisions)}`;
  }
  const counts = compareCounts(manifest.rowCounts, restored.rowCounts);
  const first = counts[0];
  if (first !== undefined) {
    const { table, before, after } = first;
    const told =
      after === null
        ? `${table} is missing, and had ${before} rows`
        : `${table} has ${after} rows, and had ${before ?? 'none'}`;
    return `${told}${counts.length > 1 ? `; ${counts.length - 1} more tables differ` : ''}`;
  }
  if (recorded !== null && recorded.major === restored.schema.major) {
    const difference = compareSchemas(recorded.lines, restored.schema.lines);
    if (!isSame(difference)) return `the schema differs: ${describeDifference(difference)}`;
  }
  const { schema } = manifest;
  if (schema !== null && schema.major === restored.schema.major && schema.digest !== restored.schema.digest) {
    return `the schema differs: its digest is ${restored.schema.digest}, and was ${schema.digest}`;
  }
  return null;
}
