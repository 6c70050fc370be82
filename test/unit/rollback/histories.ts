/** Histories and observations for the pure parts, as small as they can be written. */
import type {
  BackupManifest,
  DatabaseState,
  MigrationBody,
  Revision,
  RevisionGraph,
} from '../../../src/rollback/model.ts';

export const harmless: MigrationBody = { shape: 'code', risks: [] };

export const risky = (revision: string): MigrationBody => ({
  shape: 'code',
  risks: [{ revision, file: `versions/${revision}.py`, line: 7, what: "drop_column('users', 'email')" }],
});

/** `a1`, `b1 < a1`, `m < a1 b1`, `b2 < b1 & a1`: id, what it descends from, what it depends on; oldest first. */
export function history(...lines: readonly string[]): RevisionGraph {
  const revisions = lines.map((line): Revision => {
    const [id = '', rest = ''] = line.split(' < ');
    const [down = '', dependsOn = ''] = rest.split('&');
    const words = (text: string): string[] => text.split(' ').filter((word) => word !== '');
    return {
      id: id.trim(),
      down: words(down),
      dependsOn: words(dependsOn),
      labels: [],
      message: '',
      file: `versions/${id}.py`,
      upgrade: harmless,
      downgrade: harmless,
    };
  });
  return { revisions, digest: 'scripts', tools: { python: '3.11', alembic: '1.20', sqlalchemy: '2.1' } };
}

export const identity = { systemIdentifier: '7', name: 'unicorn_db', oid: 16_500 };

export function state(changes: Partial<DatabaseState> = {}): DatabaseState {
  return {
    identity,
    server: { version: '16.4', major: 16 },
    versionTable: { kind: 'present', revisions: [] },
    versionTables: ['public.alembic_version'],
    empty: false,
    role: { name: 'unicorn', createDatabase: true, superuser: false },
    blockers: [],
    sizeBytes: 8_000_000,
    ...changes,
  };
}

export const at = (...revisions: readonly string[]): DatabaseState =>
  state({ versionTable: { kind: 'present', revisions } });

export function backupAt(revisions: readonly string[], changes: Partial<BackupManifest> = {}): BackupManifest {
  return {
    version: 1,
    id: `default.unicorn-20260101T000000Z-${revisions.join('').padStart(6, '0').slice(-6)}`,
    target: { namespace: 'default', name: 'unicorn' },
    operation: 'op',
    database: identity,
    server: { version: '16.4', major: 16 },
    tools: { pgDump: 'pg_dump (PostgreSQL) 16.4' },
    format: 'directory',
    revisions,
    versionTable: { schema: 'public', name: 'alembic_version' },
    schema: null,
    rowCounts: {},
    properties: {
      owner: 'unicorn',
      encoding: 'UTF8',
      collate: 'C',
      ctype: 'C',
      localeProvider: 'c',
      icuLocale: null,
      icuRules: null,
      tablespace: 'pg_default',
      connectionLimit: -1,
      comment: null,
      statements: [],
    },
    scripts: null,
    files: [],
    sizeBytes: 1,
    startedAt: '2026-01-01T00:00:00.000Z',
    finishedAt: '2026-01-01T00:00:01.000Z',
    reason: 'BeforeChange',
    verifiedAt: '2026-01-01T00:00:01.000Z',
    keptUntil: '2026-01-02T00:00:01.000Z',
    ...changes,
  };
}
