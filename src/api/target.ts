/** The kind MigrationTarget: what is declared, and what became of it. */
import * as z from 'zod';
import { apiVersion } from './group.ts';
import { problemsOf, type Problem } from './problems.ts';
import type { DeepReadonly } from './schema.ts';
import { targetSpec, type TargetSpec } from './spec.ts';
import { targetStatus, type TargetStatus } from './status.ts';
import { dnsName, objectMetadata } from './metadata.ts';

export { seconds } from './duration.ts';
export type { TargetSpec } from './spec.ts';
export { emptyStatus } from './status.ts';
export type { Condition, ConditionType, HistoryEntry, JournalHead, TargetStatus } from './status.ts';
export type { EnvVar, ValueSource } from './values.ts';
export type { Problem } from './problems.ts';

/** What a target is known by in a home. */
export interface TargetKey {
  readonly namespace: string;
  readonly name: string;
}

export const migrationTarget = z
  .strictObject({
    apiVersion: z.literal(apiVersion),
    kind: z.literal('MigrationTarget'),
    metadata: objectMetadata,
    spec: targetSpec,
    status: targetStatus.nullable().default(null),
  })
  .describe(
    'Declares the alembic revision that a PostgreSQL database should be at. The controller takes it there, up or down, with a verified backup before every change, and says in the status what it did or why it did not.',
  );

export interface MigrationTarget {
  readonly apiVersion: typeof apiVersion;
  readonly kind: 'MigrationTarget';
  readonly metadata: DeepReadonly<z.output<typeof objectMetadata>>;
  readonly spec: TargetSpec;
  readonly status: TargetStatus | null;
}

export type ParsedTarget =
  | { readonly ok: true; readonly target: MigrationTarget }
  | { readonly ok: false; readonly problems: readonly Problem[] };

/**
 * Reads a declaration, from YAML or from the API server: defaults are applied, unknown fields and broken rules are
 * told with what to write instead.
 */
export function parseTarget(document: unknown): ParsedTarget {
  const parsed = migrationTarget.safeParse(document, { reportInput: true });
  if (parsed.success) return { ok: true, target: parsed.data };
  return { ok: false, problems: problemsOf(migrationTarget, parsed.error.issues) };
}

/** The revisions that are declared, as a set of heads: none for `base`. */
export function declaredRevisions(spec: TargetSpec): readonly string[] {
  if (spec.revisions !== undefined) return spec.revisions;
  return spec.revision === undefined || spec.revision === 'base' ? [] : [spec.revision];
}

/** `namespace/name`, as messages and logs say it. */
export const keyText = (key: TargetKey): string => `${key.namespace}/${key.name}`;

export const keyOf = (target: MigrationTarget): TargetKey => ({
  namespace: target.metadata.namespace,
  name: target.metadata.name,
});

export const isTargetName = (name: string): boolean => dnsName.safeParse(name).success;
