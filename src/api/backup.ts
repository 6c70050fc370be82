/** The kind MigrationBackup: a backup of a target. */
import * as z from 'zod';
import { apiVersion } from './group.ts';
import { dnsName, objectMetadata } from './metadata.ts';
import { immutable, text, type DeepReadonly } from './schema.ts';
import { condition } from './status.ts';

export const migrationBackupSpec = immutable(
  z.strictObject({
    targetRef: z
      .strictObject({ name: dnsName.describe('The name of the MigrationTarget, in the same namespace.') })
      .describe('Whose database is backed up.'),
  }),
  'a backup cannot be changed: create another one',
).describe('Which database to back up.');

export const migrationBackupStatus = z
  .object({
    backupId: text(128, 'The id of the backup in the catalogue.').nullable().default(null),
    revisions: z
      .array(z.string().max(255))
      .max(64)
      .describe('The revisions that it is at; null: it has no version table.')
      .nullable()
      .default(null),
    reason: text(64, 'Why it was taken.').nullable().default(null),
    sizeBytes: z.int().describe('Its size in bytes.').nullable().default(null),
    startedAt: z.string().max(64).describe('When it was started.').nullable().default(null),
    finishedAt: z.string().max(64).describe('When it was finished.').nullable().default(null),
    verifiedAt: z.string().max(64).describe('When it was last restored and found equal.').nullable().default(null),
    keptUntil: z.string().max(64).describe('Until when it is kept at least.').nullable().default(null),
    conditions: z
      .array(condition)
      .max(16)
      .describe('Ready, Reconciling and Stalled.')
      .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['type'] })
      .default([]),
  })
  .describe('What the manifest beside the dump says, which is the truth.');

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
