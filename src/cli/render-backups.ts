/** The catalogue as a table. Pure. */
import { formatRevisions } from '../rollback/compare.ts';
import type { BackupManifest } from '../rollback/model.ts';
import type { BrokenBackup } from '../rollback/ports.ts';
import type { Screen } from './output.ts';
import { formatBytes, formatInstant, formatTable, relativeTime, wrap, type Cell } from './text.ts';

export function renderBackups(
  backups: readonly BackupManifest[],
  broken: readonly BrokenBackup[],
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
    ...(wide ? ['ROWS', 'DATABASE', 'SERVER', 'TOOL'] : []),
  ];
  const table = formatTable(
    headings,
    backups.map((backup) => [...row(backup, now), ...(wide ? wideCells(backup) : [])]),
    screen.paint,
  );
  const faults = broken.map(
    ({ id, problem }) =>
      `${screen.paint('red', '✗')} ${id}   ${screen.paint('red', 'broken')}\n${wrap(say(problem), '  ', screen.width)}`,
  );
  return [...(backups.length === 0 ? [] : [table]), ...faults].join('\n');
}

function row(backup: BackupManifest, now: Date): readonly Cell[] {
  return [
    backup.id,
    relativeTime(backup.finishedAt, now),
    formatRevisions(backup.revisions),
    formatBytes(backup.sizeBytes),
    backup.verifiedAt === null
      ? { text: 'never', style: 'yellow' }
      : { text: relativeTime(backup.verifiedAt, now), style: 'green' },
    `${formatInstant(backup.keptUntil).slice(0, 16)}Z`,
    backup.reason,
  ];
}

function wideCells({ rowCounts, database, server, tools }: BackupManifest): readonly Cell[] {
  const rows = Object.values(rowCounts).reduce((sum, count) => sum + count, 0);
  return [rows.toLocaleString('en-US'), database.name, server.version, tools.pgDump];
}
