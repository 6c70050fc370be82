/** What the controller says of a target: `status` of a MigrationTarget. Whatever is unknown is null. */
import * as z from 'zod';
import { text, type DeepReadonly } from './schema.ts';

const instant = (description: string): z.ZodString => z.string().max(64).describe(description);
const revisionIds = (description: string) => z.array(z.string().max(255)).max(64).describe(description);

/** The longest message that a condition or a history entry may carry. */
export const maxMessageLength = 8192;
const message = (description: string): z.ZodString => z.string().max(32_768).describe(description);

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
    .max(316)
    .describe('Ready, Reconciling, Stalled, ApprovalRequired, BackupReady, Rehearsed or ApplicationHealthy.'),
  status: z.enum(['True', 'False', 'Unknown']).describe('True, False or Unknown.'),
  reason: z.string().min(1).max(1024).describe('Why, in one word of the API; the reference lists them.'),
  message: message('Which object, why, and the next command.'),
  observedGeneration: z.int().describe('The generation of the target that this was said of.'),
  lastTransitionTime: z.string().max(64).describe('When the status last changed.').meta({ format: 'date-time' }),
});
export type Condition = DeepReadonly<z.output<typeof condition>>;

const step = z.object({
  direction: z.enum(['up', 'down']).describe('up or down.'),
  revision: text(255, 'The revision whose migration runs.'),
});

const risk = z.object({
  revision: text(255, 'The revision whose migration holds the statement.'),
  file: z.string().max(1024).describe('Its file, relative to alembic.workingDir.'),
  line: z.int().describe('The line in the file.'),
  what: z.string().max(4096).describe('The statement.'),
});

const planStatus = z
  .object({
    digest: text(64, 'What an approval is bound to.').nullable().default(null),
    kind: z
      .enum(['nothing', 'upgrade', 'downgrade', 'switch', 'restore', 'backup', 'refuse'])
      .describe('nothing, upgrade, downgrade, switch, restore, backup or refuse.'),
    steps: z.array(step).max(4096).describe('The migrations in their order.').default([]),
    loss: z.array(risk).max(256).describe('Statements that may lose data, the first 256 of them.').default([]),
    fallback: z
      .object({
        kind: z
          .enum(['restore', 'origin'])
          .describe('restore: a backup at the desired revision; origin: back to where it was.'),
        backup: text(128, 'The backup that would be restored.').optional(),
        takenAt: instant('When that backup was taken.').optional(),
        because: message('Why there is no way but back.').optional(),
      })
      .describe('What happens where the change falls short.')
      .nullable()
      .default(null),
  })
  .describe('What is being done, or would be.');

const operation = z
  .looseObject({
    version: z.int().describe('The version of the journal’s format. An unknown one is never touched.'),
    id: text(64, 'The id of the operation, which its connections carry in application_name.'),
    step: text(64, 'The step that it is at.'),
    startedAt: instant('When it was started.'),
  })
  .describe(
    'The journal of the operation under way, from which the next start of the controller finishes or undoes it.',
  )
  .meta({ 'x-kubernetes-preserve-unknown-fields': true });

const historyEntry = z.object({
  operationId: text(64, 'The id of the operation.'),
  kind: z
    .enum(['upgrade', 'downgrade', 'switch', 'restore', 'backup', 'rehearsal'])
    .describe('upgrade, downgrade, switch, restore, backup or rehearsal.'),
  from: revisionIds('Where the database was; null: unknown.').nullable().default(null),
  to: revisionIds('Where it should have gone.').default([]),
  result: z.enum(['success', 'failure', 'refused']).describe('success, failure or refused.'),
  reason: text(1024, 'The reason that the condition Ready had.'),
  startedAt: instant('When it was started.'),
  finishedAt: instant('When it ended.'),
  message: message('What happened.'),
  report: z.string().max(4096).describe('Where the report is.').nullable().default(null),
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
    currentRevision: z
      .string()
      .max(4096)
      .describe('The revisions that the database is at, joined by commas; "base" for none; null: unknown.')
      .nullable()
      .default(null),
    currentRevisions: revisionIds('The revisions that the database is at.').nullable().default(null),
    desiredRevisions: revisionIds('The revisions that it should be at.').nullable().default(null),
    database: z
      .object({
        systemIdentifier: z.string().max(64).describe('The server, as its cluster identifies itself.'),
        name: z.string().min(1).max(63).describe('The name of the database.'),
        versionTable: z.string().max(128).describe('Its version table, as schema.table.'),
        since: instant('Since when this target is the one that answers for it.'),
      })
      .describe('What this target answers for: of two that declare the same, the later is refused.')
      .nullable()
      .default(null),
    plan: planStatus.nullable().default(null),
    operation: operation.nullable().default(null),
    handled: z
      .object({
        generation: z.int().describe('The generation.'),
        requestedAt: z
          .string()
          .max(253)
          .describe('The value of the annotation that asked for it.')
          .nullable()
          .default(null),
      })
      .describe('The last trigger that ended in Ready or Stalled.')
      .nullable()
      .default(null),
    reached: z
      .object({
        generation: z.int().describe('The generation that was reached.'),
        revisions: revisionIds('The revisions that were reached.'),
        at: instant('When.'),
      })
      .describe('What was last reached and verified.')
      .nullable()
      .default(null),
    keptAside: z
      .array(
        z.object({
          name: z.string().min(1).max(63).describe('The name of the database.'),
          oid: z.int().describe('Its oid: only a database with both is ever dropped.'),
          systemIdentifier: z.string().max(64).describe('The server that it is on.'),
          keptUntil: instant('When it may be dropped.'),
        }),
      )
      .max(64)
      .describe('Databases that a restore put aside, kept for inspection until their time is over.')
      .default([]),
    lastBackup: z
      .object({
        id: text(128, 'The id of the backup.'),
        revisions: revisionIds('The revisions that it is at; null: it has no version table.').nullable().default(null),
        finishedAt: instant('When it was finished.'),
        verified: z.boolean().describe('Was it restored once and found equal?'),
        sizeBytes: z.int().describe('Its size in bytes.'),
      })
      .describe('The newest backup.')
      .nullable()
      .default(null),
    history: z.array(historyEntry).max(16).describe('The last operations, newest first.').default([]),
    conditions: z
      .array(condition)
      .max(16)
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
