/** The catalogue as a table. Pure. */
import { backupRevisionText } from '../rollback/compare.ts';
import type { BackupManifest } from '../rollback/model.ts';
import type { BrokenBackup } from '../rollback/ports.ts';
import type { Screen } from './output.ts';
import { formatBytes, formatInstant, formatTable, grouped, relativeTime, wrap, type Cell } from './text.ts';

/** What is known of a backup wherever it is read: from its manifest, or from the object that shows it. */
export type ListedBackup = Pick<
  BackupManifest,
  'id' | 'finishedAt' | 'revisions' | 'identified' | 'sizeBytes' | 'verifiedAt' | 'keptUntil' | 'reason'
>;

/** What has no place in the table, and why; `is`: in a word, else broken. */
export interface UnlistedBackup extends BrokenBackup {
  readonly is?: string;
}

/** Columns for `-o wide`. */
export interface WideColumns<B> {
  readonly headings: readonly string[];
  readonly cells: (backup: B) => readonly Cell[];
}

export const catalogueColumns: WideColumns<BackupManifest> = {
  headings: ['ROWS', 'DATABASE', 'SERVER', 'TOOL'],
  cells: ({ rowCounts, database, server, tools }) => {
    const rows = Object.values(rowCounts).reduce((sum, count) => sum + count, 0);
    return [grouped(rows), database.name, server.version, tools.pgDump];
  },
};

export function renderBackups<B extends ListedBackup>(
  backups: readonly B[],
  broken: readonly UnlistedBackup[],
  columns: WideColumns<B>,
  options: {
    readonly screen: Screen;
    readonly wide: boolean;
    readonly now: Date;
    readonly say: (message: string) => string;
  },
): string {
  const { screen, wide, now, say } = options;
  const headings = [
    'ID',
    'TAKEN',
    'REVISION',
    'SIZE',
    'VERIFIED',
    'KEPT UNTIL',
    'REASON',
    ...(wide ? columns.headings : []),
  ];
  const table = formatTable(
    headings,
    backups.map((backup) => [...row(backup, now), ...(wide ? columns.cells(backup) : [])]),
    screen.paint,
  );
  const faults = broken.map(
    ({ id, problem, is = 'broken' }) =>
      `${screen.paint('red', '✗')} ${id}   ${screen.paint('red', is)}\n${wrap(say(problem), '  ', screen.width)}`,
  );
  return [...(backups.length === 0 ? [] : [table]), ...faults].join('\n');
}

function row(backup: ListedBackup, now: Date): readonly Cell[] {
  return [
    backup.id,
    relativeTime(backup.finishedAt, now),
    backupRevisionText(backup),
    formatBytes(backup.sizeBytes),
    backup.verifiedAt === null
      ? { text: 'never', style: 'yellow' }
      : { text: relativeTime(backup.verifiedAt, now), style: 'green' },
    `${formatInstant(backup.keptUntil).slice(0, 16)}Z`,
    backup.reason,
  ];
}
