/** What the controller says of a target: `status` of a MigrationTarget. Whatever is unknown is null. */
import * as z from 'zod';
import type { DeepReadonly } from './schema.ts';

/**
 * Nothing of a status is bounded here: what a database or a migration says may be long, and a status that was refused
 * for it would take the journal with it. No rule is evaluated on it, so nothing becomes costly either.
 */
const text = (description: string): z.ZodString => z.string().describe(description);

const revisionIds = (description: string) => z.array(z.string()).describe(description);

/** The longest message that a condition or a history entry may carry. */
export const maxMessageLength = 8192;

export const conditionTypes = [
  'Ready',
  'Reconciling',
  'Stalled',
  'ApprovalRequired',
  'BackupReady',
  'Rehearsed',
  'ApplicationHealthy',
] as const;
export type ConditionType = (typeof conditionTypes)[number];

export const condition = z.object({
  type: z
    .string()
    .min(1)
    .describe('Ready, Reconciling, Stalled, ApprovalRequired, BackupReady, Rehearsed or ApplicationHealthy.'),
  status: z.enum(['True', 'False', 'Unknown']).describe('True, False or Unknown.'),
  reason: z.string().min(1).describe('Why, in one word of the API; the reference lists them.'),
  message: text('Which object, why, and the next command.'),
  observedGeneration: z.int().describe('The generation of the target that this was said of.'),
  lastTransitionTime: text('When the status last changed.').meta({ format: 'date-time' }),
});
export type Condition = DeepReadonly<z.output<typeof condition>>;

const step = z.object({
  direction: z.enum(['up', 'down']).describe('up or down.'),
  revision: text('The revision whose migration runs.'),
});

const risk = z.object({
  revision: text('The revision whose migration holds the statement.'),
  file: text('Its file, relative to alembic.workingDir.'),
  line: z.int().describe('The line in the file.'),
  what: text('The statement.'),
});

const tableLoss = z.object({
  table: text('The table, as schema.table.'),
  rowsBefore: z.int().describe('The rows that it has.'),
  gone: z.boolean().describe('Does the table itself go?'),
  rowsGone: z.int().describe('Rows that go; null: not known.').nullable().default(null),
  rowsChanged: z.int().describe('Rows that stay with other values; null: not known.').nullable().default(null),
  columnsChanged: z.array(z.string()).describe('Columns that stay and hold other values.').default([]),
  columnsGone: z
    .array(
      z.object({
        column: text('The column.'),
        values: z.int().describe('The values in it that are not NULL.'),
      }),
    )
    .describe('Columns that go.')
    .default([]),
  notCompared: text('Why it was not compared row by row; null: it was.').nullable().default(null),
});

const planLoss = z
  .object({
    measured: z
      .boolean()
      .describe('true: measured on a copy; false: told from reading the migrations, so that the numbers are unknown.'),
    rows: z.int().describe('Rows that go, or lose or change a value; null: unknown.').nullable().default(null),
    tables: z.array(tableLoss).describe('Table by table, the first 256.').default([]),
    moreTables: z.int().describe('How many more tables lose something.').default(0),
    objects: z
      .array(z.string())
      .describe('What goes besides data: constraints, indexes, grants, views and so on, the first 100.')
      .default([]),
    moreObjects: z.int().describe('How many more objects go.').default(0),
    statements: z.array(risk).describe('Statements that may lose data, the first 256 of them.').default([]),
  })
  .describe('What is lost by it.');

const planStatus = z
  .object({
    digest: text('What an approval is bound to.').nullable().default(null),
    kind: z
      .enum(['nothing', 'upgrade', 'downgrade', 'switch', 'restore', 'backup', 'refuse'])
      .describe('nothing, upgrade, downgrade, switch, restore, backup or refuse.'),
    steps: z.array(step).describe('The migrations in their order.').default([]),
    loss: planLoss.nullable().default(null),
    fallback: z
      .object({
        kind: z
          .enum(['restore', 'origin'])
          .describe('restore: a backup at the desired revision; origin: back to where it was.'),
        backup: text('The backup that would be restored.').optional(),
        takenAt: text('When that backup was taken.').optional(),
        because: text('Why there is no way but back.').optional(),
      })
      .describe('What happens where the change falls short.')
      .nullable()
      .default(null),
  })
  .describe('What is being done, or would be.');

const operation = z
  .looseObject({
    version: z.int().describe('The version of the journal’s format. An unknown one is never touched.'),
    id: text('The id of the operation, which its connections carry in application_name.'),
    step: text('The step that it is at.'),
    startedAt: text('When it was started.'),
  })
  .describe(
    'The journal of the operation under way, from which the next start of the controller finishes or undoes it.',
  )
  .meta({ 'x-kubernetes-preserve-unknown-fields': true });

const historyEntry = z.object({
  operationId: text('The id of the operation.'),
  kind: z
    .enum(['upgrade', 'downgrade', 'switch', 'restore', 'backup', 'rehearsal'])
    .describe('upgrade, downgrade, switch, restore, backup or rehearsal.'),
  from: revisionIds('Where the database was; null: unknown.').nullable().default(null),
  to: revisionIds('Where it should have gone.').default([]),
  result: z.enum(['success', 'failure', 'refused']).describe('success, failure or refused.'),
  reason: text('The reason that the condition Ready had.'),
  startedAt: text('When it was started.'),
  finishedAt: text('When it ended.'),
  message: text('What happened.'),
  report: text('Where the report is.').nullable().default(null),
});
export type HistoryEntry = DeepReadonly<z.output<typeof historyEntry>>;

/** How many past operations a status keeps. */
export const historyLength = 5;

export const targetStatus = z
  .object({
    observedGeneration: z
      .int()
      .describe('The generation of the target that this status was made of; -1: none yet.')
      .default(-1),
    currentRevision: text('The revisions that the database is at, joined by commas; "base" for none; null: unknown.')
      .nullable()
      .default(null),
    currentRevisions: revisionIds('The revisions that the database is at.').nullable().default(null),
    desiredRevisions: revisionIds('The revisions that it should be at.').nullable().default(null),
    database: z
      .object({
        systemIdentifier: text('The server, as its cluster identifies itself.'),
        name: z.string().min(1).describe('The name of the database.'),
        versionTable: text('Its version table, as schema.table.'),
        since: text('Since when this target is the one that answers for it.'),
      })
      .describe('What this target answers for: of two that declare the same, the later is refused.')
      .nullable()
      .default(null),
    plan: planStatus.nullable().default(null),
    operation: operation.nullable().default(null),
    rehearsal: z
      .object({
        operationId: text('The operation that it was part of.'),
        finishedAt: text('When it ended.'),
        backup: text('The backup that the copy was made of.'),
        passed: z.boolean().describe('Did the change go through on the copy?'),
        message: text('What came of it.'),
        estimateSeconds: z
          .number()
          .describe(
            'How long the migrations took on the copy, or the restore of the backup where that is what is left, in seconds; null: unknown.',
          )
          .nullable()
          .default(null),
      })
      .describe('The last rehearsal.')
      .nullable()
      .default(null),
    application: z
      .object({
        state: z.enum(['healthy', 'unhealthy', 'stopped']).describe('healthy, unhealthy or stopped.'),
        generation: z.int().describe('The generation that it was asked for.'),
        at: text('When it was asked, or stopped.'),
        message: text('What it said.'),
        log: text('What it wrote last when it was started and did not come up, errors first; null: nothing.')
          .nullable()
          .default(null),
      })
      .describe('The application, when it was last looked at; null: not for this generation.')
      .nullable()
      .default(null),
    handled: z
      .object({
        generation: z.int().describe('The generation.'),
        requestedAt: text('The value of the annotation that asked for it.').nullable().default(null),
      })
      .describe('The last trigger that ended in Ready or Stalled.')
      .nullable()
      .default(null),
    lastHandledReconcileAt: text(
      'The value of the annotation reconcile.fluxcd.io/requestedAt when a trigger ended last in Ready or Stalled, as Flux tells it of its own kinds.',
    )
      .nullable()
      .default(null),
    reached: z
      .object({
        generation: z.int().describe('The generation that was reached.'),
        revisions: revisionIds('The revisions that were reached.'),
        at: text('When.'),
      })
      .describe('What was last reached and verified.')
      .nullable()
      .default(null),
    keptAside: z
      .array(
        z.object({
          name: z.string().min(1).describe('The name of the database.'),
          oid: z.int().describe('Its oid: only a database with both is ever dropped.'),
          systemIdentifier: text('The server that it is on.'),
          keptUntil: text('When it may be dropped.'),
        }),
      )
      .describe('Databases that a restore put aside, kept for inspection until their time is over.')
      .default([]),
    lastBackup: z
      .object({
        id: text('The id of the backup.'),
        revisions: revisionIds('The revisions that it is at; null: it has no version table.').nullable().default(null),
        finishedAt: text('When it was finished.'),
        verified: z.boolean().describe('Was it restored once and found equal?'),
        sizeBytes: z.int().describe('Its size in bytes.'),
      })
      .describe('The newest backup.')
      .nullable()
      .default(null),
    history: z.array(historyEntry).describe('The last operations, newest first.').default([]),
    conditions: z
      .array(condition)
      .describe(
        'Always all of them: Ready, Reconciling, Stalled, ApprovalRequired, BackupReady, Rehearsed, ApplicationHealthy.',
      )
      .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['type'] })
      .default([]),
  })
  .describe('What the controller says of the database.');

/**
 * The journal is whole at run time, but only what every version of it has is known here:
 * `rollback/model.ts` has the rest.
 */
export type JournalHead = Readonly<Pick<z.output<typeof operation>, 'version' | 'id' | 'step' | 'startedAt'>>;

export type TargetStatus = Omit<DeepReadonly<z.output<typeof targetStatus>>, 'operation'> & {
  readonly operation: JournalHead | null;
};

/** The status of a target that nobody has looked at yet. */
export const emptyStatus: TargetStatus = targetStatus.parse({});
