/** A Deployment, StatefulSet or CronJob as the API server has it, as far as stopping and starting it needs. Pure. */
import * as z from 'zod';
import type { ManagedFields } from './field-owners.ts';
import { claimOf, type Claim } from './claim.ts';
import { kinds, type ClusterKind, type Level } from './kinds.ts';
import { labelSelector } from './selector.ts';

const condition = z.looseObject({
  type: z.string(),
  status: z.string(),
  reason: z.string().default(''),
  message: z.string().default(''),
});

const stored = z.looseObject({
  metadata: z.looseObject({
    name: z.string(),
    uid: z.string(),
    resourceVersion: z.string(),
    generation: z.int().default(0),
    deletionTimestamp: z.string().nullish(),
    annotations: z.record(z.string(), z.string()).nullish(),
    managedFields: z.array(z.looseObject({})).nullish(),
  }),
  spec: z.looseObject({
    replicas: z.int().optional(),
    suspend: z.boolean().optional(),
    paused: z.boolean().default(false),
    selector: labelSelector.optional(),
    template: z
      .looseObject({ spec: z.looseObject({ terminationGracePeriodSeconds: z.number().default(30) }) })
      .optional(),
    progressDeadlineSeconds: z.number().optional(),
    podManagementPolicy: z.string().default(''),
    updateStrategy: z
      .looseObject({
        type: z.string().default('RollingUpdate'),
        rollingUpdate: z.looseObject({ partition: z.int().default(0) }).nullish(),
      })
      .optional(),
    persistentVolumeClaimRetentionPolicy: z.looseObject({ whenScaled: z.string().default('Retain') }).nullish(),
  }),
  status: z
    .looseObject({
      observedGeneration: z.int().default(0),
      replicas: z.int().default(0),
      updatedReplicas: z.int().default(0),
      readyReplicas: z.int().default(0),
      availableReplicas: z.int().default(0),
      currentRevision: z.string().default(''),
      updateRevision: z.string().default(''),
      conditions: z.array(condition).nullish(),
    })
    .prefault({}),
});

type Stored = z.output<typeof stored>;

export interface Workload {
  readonly kind: ClusterKind;
  readonly name: string;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly generation: number;
  /** Being deleted. */
  readonly isGoing: boolean;
  /** As it is declared now. */
  readonly level: Level;
  readonly claim: Claim | null;
  readonly managedFields: readonly ManagedFields[];
  readonly spec: Stored['spec'];
  readonly status: Stored['status'];
}

export function asWorkload(kind: ClusterKind, answer: unknown): Workload {
  const { metadata, spec, status } = stored.parse(answer);
  const { name, uid, resourceVersion, generation, deletionTimestamp } = metadata;
  return {
    kind,
    name,
    uid,
    resourceVersion,
    generation,
    isGoing: deletionTimestamp != null,
    level: kinds[kind].levelOf(spec),
    claim: claimOf(kind, metadata.annotations ?? {}),
    managedFields: metadata.managedFields ?? [],
    spec,
    status,
  };
}

/** For messages within one namespace: `the Deployment web`. */
export const nameText = ({ kind, name }: { readonly kind: string; readonly name: string }): string =>
  `the ${kind} ${name}`;
