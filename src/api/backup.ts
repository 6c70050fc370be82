/** The kind MigrationBackup: a backup of a target. */
import * as z from 'zod';
import { apiVersion } from './group.ts';
import { dnsName, objectMetadata } from './metadata.ts';
import { immutable, type DeepReadonly } from './schema.ts';
import { condition } from './status.ts';

export const migrationBackupSpec = immutable(
  z.strictObject({
    targetRef: z
      .strictObject({ name: dnsName.describe('The name of the MigrationTarget, in the same namespace.') })
      .describe('Whose database is backed up.'),
  }),
  'a backup cannot be changed: create another one',
).describe('Which database to back up.');

/** As in the status of a target nothing is bounded: a status that was refused for its length would be no status. */
export const migrationBackupStatus = z
  .object({
    backupId: z
      .string()
      .describe('The id of the backup in the catalogue; null: none was taken yet.')
      .nullable()
      .default(null),
    revisions: z
      .array(z.string())
      .describe('The revisions that it is at; null: it has no version table.')
      .nullable()
      .default(null),
    revision: z
      .string()
      .describe('The same in words: joined by commas, "base" for none, "no version table"; null: none was taken yet.')
      .nullable()
      .default(null),
    reason: z
      .string()
      .describe('Why it was taken: BeforeChange, Requested, MaxAge, BeforeRestore or Imported.')
      .nullable()
      .default(null),
    sizeBytes: z.int().describe('Its size in bytes.').nullable().default(null),
    startedAt: z.string().describe('When it was started.').nullable().default(null),
    finishedAt: z.string().describe('When it was finished.').nullable().default(null),
    verifiedAt: z.string().describe('When it was last restored and found equal.').nullable().default(null),
    keptUntil: z.string().describe('Until when it is kept at least.').nullable().default(null),
    conditions: z
      .array(condition)
      .describe('Ready, Reconciling and Stalled.')
      .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['type'] })
      .default([]),
  })
  .describe('What the manifest beside the dump says, which is the truth.');
export type MigrationBackupStatus = DeepReadonly<z.output<typeof migrationBackupStatus>>;

export const migrationBackup = z
  .strictObject({
    apiVersion: z.literal(apiVersion),
    kind: z.literal('MigrationBackup'),
    metadata: objectMetadata,
    spec: migrationBackupSpec,
    status: migrationBackupStatus.nullable().default(null),
  })
  .describe(
    'A backup of the database of a MigrationTarget. Creating one takes a backup; those that the controller took appear too. Deleting one keeps the data.',
  );
export type MigrationBackup = DeepReadonly<z.output<typeof migrationBackup>>;
