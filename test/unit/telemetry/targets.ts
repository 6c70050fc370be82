import {
  emptyStatus,
  parseTarget,
  type HistoryEntry,
  type MigrationTarget,
  type TargetKey,
  type TargetStatus,
} from '../../../src/api/target.ts';
import type { Metrics } from '../../../src/telemetry/metrics.ts';

export const key: TargetKey = { namespace: 'ops-center', name: 'unicorn-db' };

export function target(spec: object = {}): MigrationTarget {
  const parsed = parseTarget({
    apiVersion: 'migrationtarget.dev/v1alpha1',
    kind: 'MigrationTarget',
    metadata: { name: key.name, namespace: key.namespace, generation: 3 },
    spec: {
      revision: 'b2',
      database: { urlFrom: { secretKeyRef: { name: 'unicorn-db', key: 'url' } } },
      alembic: { workingDir: '/app' },
      runtime: { process: {} },
      backup: { storage: { directory: { path: '/var/backups' } } },
      ...spec,
    },
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  return parsed.target;
}

export const inSync: TargetStatus = {
  ...emptyStatus,
  observedGeneration: 3,
  currentRevision: 'b2',
  currentRevisions: ['b2'],
  desiredRevisions: ['b2'],
  conditions: [condition('Ready', 'True', 'InSync'), condition('Stalled', 'False', 'InSync')],
};

export function condition(type: string, status: 'True' | 'False', reason: string): TargetStatus['conditions'][number] {
  return { type, status, reason, message: '', observedGeneration: 3, lastTransitionTime: '2026-01-31T12:00:00Z' };
}

export function ended(id: string, entry: Partial<HistoryEntry> = {}): HistoryEntry {
  return {
    operationId: id,
    kind: 'downgrade',
    from: ['b2'],
    to: ['a1'],
    result: 'success',
    reason: 'Downgraded',
    startedAt: '2026-01-31T12:00:00Z',
    finishedAt: '2026-01-31T12:00:20Z',
    message: '',
    report: null,
    ...entry,
  };
}

/** What a scrape answers: each series and its value. */
export async function scrape(metrics: Metrics): Promise<ReadonlyMap<string, number>> {
  const series = new Map<string, number>();
  for (const line of (await text(metrics)).split('\n')) {
    const match = /^([^#\s].*) (\S+)$/.exec(line);
    if (match?.[1] !== undefined) series.set(match[1], Number(match[2]));
  }
  return series;
}

export async function text(metrics: Metrics): Promise<string> {
  let result = '';
  for await (const piece of metrics.render()) result += piece;
  return result;
}
