/** The kinds, and how Kubernetes and people are shown them. */
import type * as z from 'zod';
import { migrationApproval } from '../../src/api/approval.ts';
import { migrationBackup } from '../../src/api/backup.ts';
import { migrationTarget } from '../../src/api/target.ts';

/** A column of `kubectl get`; `wide` ones are shown with `-o wide` only. */
export interface Column {
  readonly name: string;
  readonly type: 'string' | 'integer' | 'date';
  readonly jsonPath: string;
  readonly wide?: true;
}

export interface Kind {
  readonly schema: z.ZodType;
  readonly kind: string;
  readonly plural: string;
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly columns: readonly Column[];
  /** What the API server fills in for an object that nobody has looked at yet. */
  readonly statusDefault?: Readonly<Record<string, unknown>>;
}

const ready = (field: string): string => `.status.conditions[?(@.type=="Ready")].${field}`;
const age: Column = { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' };

export const kinds: readonly Kind[] = [
  {
    schema: migrationTarget,
    kind: 'MigrationTarget',
    plural: 'migrationtargets',
    singular: 'migrationtarget',
    shortNames: ['mtgt'],
    columns: [
      { name: 'Current', type: 'string', jsonPath: '.status.currentRevision' },
      // One of the two is set, and is there from the first moment, unlike status.desiredRevisions.
      { name: 'Desired', type: 'string', jsonPath: ".spec['revision','revisions']" },
      { name: 'Ready', type: 'string', jsonPath: ready('status') },
      { name: 'Reason', type: 'string', jsonPath: ready('reason') },
      age,
      { name: 'Message', type: 'string', jsonPath: ready('message'), wide: true },
      { name: 'Last backup', type: 'date', jsonPath: '.status.lastBackup.finishedAt', wide: true },
    ],
    statusDefault: { observedGeneration: -1 },
  },
  {
    schema: migrationBackup,
    kind: 'MigrationBackup',
    plural: 'migrationbackups',
    singular: 'migrationbackup',
    shortNames: [],
    columns: [
      { name: 'Target', type: 'string', jsonPath: '.spec.targetRef.name' },
      { name: 'Backup', type: 'string', jsonPath: '.status.backupId' },
      { name: 'Revisions', type: 'string', jsonPath: '.status.revision' },
      { name: 'Bytes', type: 'integer', jsonPath: '.status.sizeBytes' },
      { name: 'Ready', type: 'string', jsonPath: ready('status') },
      { name: 'Reason', type: 'string', jsonPath: ready('reason') },
      age,
      { name: 'Verified', type: 'date', jsonPath: '.status.verifiedAt', wide: true },
      { name: 'Kept until', type: 'string', jsonPath: '.status.keptUntil', wide: true },
      { name: 'Message', type: 'string', jsonPath: ready('message'), wide: true },
    ],
  },
  {
    schema: migrationApproval,
    kind: 'MigrationApproval',
    plural: 'migrationapprovals',
    singular: 'migrationapproval',
    shortNames: [],
    columns: [
      { name: 'Target', type: 'string', jsonPath: '.spec.targetRef.name' },
      { name: 'Plan', type: 'string', jsonPath: '.spec.planDigest' },
      { name: 'Approved by', type: 'string', jsonPath: '.spec.approvedBy' },
      { name: 'Used by', type: 'string', jsonPath: '.status.usedBy' },
      { name: 'Ready', type: 'string', jsonPath: ready('status') },
      { name: 'Reason', type: 'string', jsonPath: ready('reason') },
      age,
      { name: 'Why', type: 'string', jsonPath: '.spec.reason', wide: true },
    ],
  },
];
