/** The kind MigrationApproval: a person's consent to one plan. */
import * as z from 'zod';
import { apiVersion } from './group.ts';
import { dnsName, objectMetadata } from './metadata.ts';
import { problemsOf, type Problem } from './problems.ts';
import { immutable, text, type DeepReadonly } from './schema.ts';
import { condition } from './status.ts';

/**
 * How long an approval counts, from its creation: a day. Whoever gave it looked at what would be lost then; that says
 * nothing about the database of next week.
 */
export const approvalLifetimeSeconds = 24 * 60 * 60;

/** RFC 3339. */
export const approvalExpiresAt = (createdAt: string): string =>
  new Date(Date.parse(createdAt) + approvalLifetimeSeconds * 1000).toISOString();

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
    approvedBy: text(
      253,
      'Who approves: the name of the user that creates the object, as the API server knows it (kubectl auth whoami). In a cluster manifests/ have a policy that refuses any other name.',
    ),
  }),
  'an approval cannot be changed: delete it and create another one',
).describe('Which plan is approved, by whom.');

/** `spec` of an approval, without what is left to its default. */
export const approvalSpecOf = (
  target: string,
  {
    planDigest,
    maxRowLoss,
    reason,
    approvedBy,
  }: {
    readonly planDigest: string;
    readonly maxRowLoss: number | null;
    readonly reason: string | null;
    readonly approvedBy: string;
  },
): object => ({
  targetRef: { name: target },
  planDigest,
  ...(maxRowLoss !== null && { maxRowLoss }),
  ...(reason !== null && { reason }),
  approvedBy,
});

export const migrationApprovalStatus = z
  .object({
    usedBy: text(64, 'The id of the operation that it was used for; it counts once.').nullable().default(null),
    expiresAt: z
      .string()
      .max(64)
      .describe('When it stops to count: 24 hours after its creation.')
      .nullable()
      .default(null),
    conditions: z
      .array(condition)
      .describe('Ready, Reconciling and Stalled. Ready is True while it counts, else its reason tells why it does not.')
      .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['type'] })
      .default([]),
  })
  .describe('What became of the approval.');
export type MigrationApprovalStatus = DeepReadonly<z.output<typeof migrationApprovalStatus>>;

export const migrationApproval = z
  .strictObject({
    apiVersion: z.literal(apiVersion),
    kind: z.literal('MigrationApproval'),
    metadata: objectMetadata,
    spec: migrationApprovalSpec,
    status: migrationApprovalStatus.nullable().default(null),
  })
  .describe(
    'Consent to one plan of a MigrationTarget that would lose something. It is bound to the digest of the plan, counts once, and stops to count 24 hours after its creation.',
  );
export type MigrationApproval = DeepReadonly<z.output<typeof migrationApproval>>;

export type ParsedApproval =
  | { readonly ok: true; readonly approval: MigrationApproval }
  | { readonly ok: false; readonly problems: readonly Problem[] };

/** Reads an approval as `parseTarget` reads a target: what is unknown or breaks a rule is told with what to write instead. */
export function parseApproval(document: unknown): ParsedApproval {
  const parsed = migrationApproval.safeParse(document, { reportInput: true });
  if (parsed.success) return { ok: true, approval: parsed.data };
  return { ok: false, problems: problemsOf(migrationApproval, parsed.error.issues) };
}
