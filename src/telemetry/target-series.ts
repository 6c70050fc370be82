/**
 * The metrics that each target has. They are not kept as series but made when scraped, from the few facts of each
 * target: at 10,000 targets there are some 600,000 of them, which prom-client would hold as objects and render in one go.
 */
import { conditionTypes } from '../api/status.ts';
import type { MetricDescription } from './process-metrics.ts';
import { operations, results, type OperationName, type OperationResult, type TargetFacts } from './target-facts.ts';

/** What is kept of a target. */
export interface TargetRecord {
  /** `namespace="…",name="…"`, escaped. */
  readonly labels: string;
  /** null: its status was not read yet. */
  facts: TargetFacts | null;
  /** Unix seconds; 0: not yet. */
  lastCheck: number;
  /** null: nobody has looked. */
  backups: number | null;
  readonly operations: Map<`${OperationName}/${OperationResult}`, number>;
  restoreFallbacks: number;
}

/** Labels beside the target's own, as `,name="value"` each, and the value. */
export type Sample = readonly [labels: string, value: number];

export interface Family extends MetricDescription {
  readonly samples: (facts: TargetFacts, record: TargetRecord) => readonly Sample[];
}

const plain = (value: number): readonly Sample[] => [['', value]];
const flag = (value: boolean): number => (value ? 1 : 0);
/** Label texts that every target shares are made once. */
const conditionLabels = conditionTypes.flatMap((type) =>
  (['True', 'False', 'Unknown'] as const).map((status) => ({
    type,
    status,
    labels: `,type="${type}",status="${status}"`,
  })),
);
const resultLabels = operations.flatMap((operation) =>
  results.map((result) => ({
    key: `${operation}/${result}` as const,
    labels: `,operation="${operation}",result="${result}"`,
  })),
);
const operationLabels = operations.map((operation) => ({ operation, labels: `,operation="${operation}"` }));

const target = ['namespace', 'name'];

export const families: readonly Family[] = [
  {
    name: 'migrationtarget_info',
    type: 'gauge',
    help: 'Always 1; the labels say where the database is and where it should be.',
    labelNames: [...target, 'runtime', 'current_revision', 'desired_revision'],
    samples: ({ runtime, currentRevision, desiredRevision }) => [
      [
        `,runtime="${escapeLabel(runtime)}",current_revision="${escapeLabel(currentRevision)}",desired_revision="${escapeLabel(desiredRevision)}"`,
        1,
      ],
    ],
  },
  {
    name: 'migrationtarget_condition',
    type: 'gauge',
    help: '1 for the status that the condition has, 0 for the others.',
    labelNames: [...target, 'type', 'status'],
    samples: ({ conditions }) =>
      conditionLabels.map(({ type, status, labels }) => [
        labels,
        flag((conditions[type]?.status ?? 'Unknown') === status),
      ]),
  },
  {
    name: 'migrationtarget_condition_reason',
    type: 'gauge',
    help: 'Always 1; the labels say which status the condition has, and why.',
    labelNames: [...target, 'type', 'status', 'reason'],
    samples: ({ conditions }) =>
      Object.entries(conditions).map(([type, { status, reason }]) => [
        `,type="${escapeLabel(type)}",status="${escapeLabel(status)}",reason="${escapeLabel(reason)}"`,
        1,
      ]),
  },
  {
    name: 'migrationtarget_suspended',
    type: 'gauge',
    help: '1 where spec.suspend is true.',
    labelNames: target,
    samples: ({ suspended }) => plain(flag(suspended)),
  },
  {
    name: 'migrationtarget_pending_revisions',
    type: 'gauge',
    help: 'Migrations of the plan that have to run, by direction: up or down.',
    labelNames: [...target, 'direction'],
    samples: ({ pending }) => [
      [',direction="up"', pending.up],
      [',direction="down"', pending.down],
    ],
  },
  {
    name: 'migrationtarget_planned_row_loss',
    type: 'gauge',
    help: 'Rows that the plan would lose or change, as measured on a copy. 0: none, or it is not known.',
    labelNames: target,
    samples: ({ plannedRowLoss }) => plain(plannedRowLoss),
  },
  {
    name: 'migrationtarget_out_of_sync_since_timestamp_seconds',
    type: 'gauge',
    help: 'Since when the database is not known to be at the desired revision. 0: it is.',
    labelNames: target,
    samples: ({ outOfSyncSince }) => plain(outOfSyncSince),
  },
  {
    name: 'migrationtarget_last_check_timestamp_seconds',
    type: 'gauge',
    help: 'When the database was last read. 0: not since the controller started.',
    labelNames: target,
    samples: (_, { lastCheck }) => plain(lastCheck),
  },
  {
    name: 'migrationtarget_check_interval_seconds',
    type: 'gauge',
    help: 'spec.interval: how often the database is read though nothing changed. 0: the declaration can not be read.',
    labelNames: target,
    samples: ({ checkInterval }) => plain(checkInterval),
  },
  {
    name: 'migrationtarget_approval_requested_timestamp_seconds',
    type: 'gauge',
    help: 'Since when an approval is waited for. 0: none is.',
    labelNames: target,
    samples: ({ approvalRequested }) => plain(approvalRequested),
  },
  {
    name: 'migrationtarget_backup_last_success_timestamp_seconds',
    type: 'gauge',
    help: 'When the newest backup was finished. 0: there is none.',
    labelNames: target,
    samples: ({ backupLastSuccess }) => plain(backupLastSuccess),
  },
  {
    name: 'migrationtarget_backup_max_age_seconds',
    type: 'gauge',
    help: 'spec.backup.maxAge: a backup is taken where the newest is older. 0: none is declared.',
    labelNames: target,
    samples: ({ backupMaxAge }) => plain(backupMaxAge),
  },
  {
    name: 'migrationtarget_backup_size_bytes',
    type: 'gauge',
    help: 'The size of the newest backup. 0: there is none.',
    labelNames: target,
    samples: ({ backupSizeBytes }) => plain(backupSizeBytes),
  },
  {
    name: 'migrationtarget_backups',
    type: 'gauge',
    help: 'Backups in the catalogue. Absent until the catalogue was read.',
    labelNames: target,
    samples: (_, { backups }) => (backups === null ? [] : plain(backups)),
  },
  {
    name: 'migrationtarget_operation_deadline_timestamp_seconds',
    type: 'gauge',
    help: 'When the operation under way should be over (spec.timeout). 0: none is under way.',
    labelNames: [...target, 'operation'],
    samples: ({ deadline }) =>
      operationLabels.map(({ operation, labels }) => [labels, deadline?.operation === operation ? deadline.at : 0]),
  },
  {
    name: 'migrationtarget_operations_total',
    type: 'counter',
    help: 'Operations that ended: success, failure, or refused.',
    labelNames: [...target, 'operation', 'result'],
    samples: (_, { operations: counts }) => resultLabels.map(({ key, labels }) => [labels, counts.get(key) ?? 0]),
  },
  {
    name: 'migrationtarget_restore_fallbacks_total',
    type: 'counter',
    help: 'Upgrades, downgrades and switches that fell short, so that a backup was restored.',
    labelNames: target,
    samples: (_, { restoreFallbacks }) => plain(restoreFallbacks),
  },
];

export const escapeLabel = (value: string): string =>
  value.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"');
