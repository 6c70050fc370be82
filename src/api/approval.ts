/** The kind MigrationApproval: a person's consent to one plan. */
import * as z from 'zod';
import { apiVersion } from './group.ts';
import { dnsName, objectMetadata } from './metadata.ts';
import { immutable, text, type DeepReadonly } from './schema.ts';
import { condition } from './status.ts';

export const migrationApprovalSpec = immutable(
  z.strictObject({
    targetRef: z
      .strictObject({ name: dnsName.describe('The name of the MigrationTarget, in the same namespace.') })
      .describe('Whose plan is approved.'),
    planDigest: z
      .string()
      .min(16)
      .max(64)
      .regex(/^[0-9a-f]+$/, 'write the digest as status.plan.digest has it')
      .describe(
        'The digest of the plan, from status.plan.digest of the target. An approval of another plan counts for nothing.',
      ),
    maxRowLoss: z
      .int()
      .min(0)
      .describe('How many rows may be lost at most. Left out: as many as the plan says.')
      .optional(),
    reason: text(1024, 'Why it is approved, for those who read the history.').optional(),
    approvedBy: text(253, 'Who approves: the name of the user that creates the object.'),
  }),
  'an approval cannot be changed: delete it and create another one',
).describe('Which plan is approved, by whom.');

export const migrationApprovalStatus = z
  .object({
    usedBy: text(64, 'The id of the operation that it was used for; it counts once.').nullable().default(null),
    expiresAt: z.string().max(64).describe('When it stops to count.').nullable().default(null),
    conditions: z
      .array(condition)
      .describe('Ready, Reconciling and Stalled: this version acts on no approval, and says so here.')
      .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['type'] })
      .default([]),
  })
  .describe('What became of the approval.');

export const migrationApproval = z
  .strictObject({
    apiVersion: z.literal(apiVersion),
    kind: z.literal('MigrationApproval'),
    metadata: objectMetadata,
    spec: migrationApprovalSpec,
    status: migrationApprovalStatus.nullable().default(null),
  })
  .describe(
    'Consent to one plan of a MigrationTarget that would lose something. It is bound to the digest of the plan, counts once, and expires. Approvals are not acted on yet: their status says so.',
  );
export type MigrationApproval = DeepReadonly<z.output<typeof migrationApproval>>;
