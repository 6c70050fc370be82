/** MigrationApproval objects: a person's consent to one plan, and in their status what became of it. */
import * as z from 'zod';
import {
  approvalSpecOf,
  approvalExpiresAt,
  migrationApprovalSpec,
  migrationApprovalStatus,
  type MigrationApprovalStatus,
} from '../../api/approval.ts';
import { summarizeBriefly, type Outcome } from '../../api/conditions.ts';
import { apiVersion, targetLabel } from '../../api/group.ts';
import { problemsOf, problemsText } from '../../api/problems.ts';
import { keyText, type TargetKey } from '../../api/target.ts';
import { approvalGone, approvalUsed, judgeApproval, newestFirst } from '../../rollback/approval.ts';
import type { Approval, ApprovalObjects, Clock, Home } from '../../rollback/ports.ts';
import { applyPatch, type ApiClient } from './client.ts';
import { generateNameFor, listAll, pathOfAll, pathOfOne, type Collection } from './collections.ts';
import { asHomeFailure, isNotFound } from './errors.ts';
import { cliFieldManager, despiteConflicts, fieldManager } from './objects.ts';
import { statusDigest } from './status-digest.ts';
import { watchHeads } from './watch.ts';

const collection: Collection = { kind: 'MigrationApproval', plural: 'migrationapprovals' };

const stored = z.object({
  metadata: z.object({
    name: z.string(),
    namespace: z.string(),
    uid: z.string(),
    resourceVersion: z.string(),
    generation: z.int().default(0),
    creationTimestamp: z.string(),
    deletionTimestamp: z.string().nullish(),
  }),
  // Of an object that was stored under other rules even this may be missing; then it approves nothing.
  spec: z.object({ targetRef: z.object({ name: z.string() }) }).loose(),
  status: migrationApprovalStatus.nullish(),
});
type Stored = z.output<typeof stored>;

const statusIn = ({ status }: Stored): MigrationApprovalStatus => migrationApprovalStatus.parse(status ?? {});

const targetOf = ({ metadata, spec }: Stored): TargetKey => ({
  namespace: metadata.namespace,
  name: spec.targetRef.name,
});

/** The approval that an object is, or what is wrong with it. */
function asApproval(object: Stored): Approval | { readonly problem: string } {
  const { metadata, spec } = object;
  const parsed = migrationApprovalSpec.safeParse(spec, { reportInput: true });
  if (!parsed.success) return { problem: problemsText(problemsOf(migrationApprovalSpec, parsed.error.issues)) };
  const { targetRef, planDigest, maxRowLoss, reason, approvedBy } = parsed.data;
  return {
    name: metadata.name,
    target: targetRef.name,
    planDigest,
    maxRowLoss: maxRowLoss ?? null,
    reason: reason ?? null,
    approvedBy,
    createdAt: metadata.creationTimestamp,
    expiresAt: approvalExpiresAt(metadata.creationTimestamp),
    usedBy: statusIn(object).usedBy,
  };
}

const userInfo = z.object({ status: z.object({ userInfo: z.object({ username: z.string().min(1) }) }) });

/** `namespace`: null watches all of them. */
export function createApprovals(
  client: ApiClient,
  namespace: string | null,
  clock: Clock,
): Pick<Home, 'approvals' | 'useApproval' | 'approve' | 'userName'> & { readonly approvalObjects: ApprovalObjects } {
  const heard = new Map<string, Stored>();
  const byTarget = new Map<string, Map<string, Stored>>();

  function forget(key: TargetKey): void {
    const before = heard.get(keyText(key));
    if (before === undefined) return;
    heard.delete(keyText(key));
    const target = keyText(targetOf(before));
    const siblings = byTarget.get(target);
    siblings?.delete(keyText(key));
    if (siblings?.size === 0) byTarget.delete(target);
  }

  function keep(object: Stored): void {
    forget(object.metadata);
    heard.set(keyText(object.metadata), object);
    const target = keyText(targetOf(object));
    const siblings = byTarget.get(target) ?? new Map<string, Stored>();
    byTarget.set(target, siblings.set(keyText(object.metadata), object));
  }

  /** `conclude` says what its status is to be; null: as it is. Returns the object then; null where it is gone. */
  async function changeStatus(
    key: TargetKey,
    conclude: (object: Stored) => MigrationApprovalStatus | null,
  ): Promise<Stored | null> {
    const path = pathOfOne(collection, key);
    try {
      // Each try reads the object anew: what another process said of it meanwhile must not be written over.
      return await despiteConflicts(async () => {
        const object = stored.parse(await client.insist({ method: 'GET', path }));
        const status = conclude(object);
        if (status === null || statusDigest(status) === statusDigest(object.status)) return object;
        const { name, resourceVersion } = object.metadata;
        return stored.parse(
          await client.insist({
            method: 'PATCH',
            path: `${path}/status`,
            query: { fieldManager, force: 'true' },
            contentType: applyPatch,
            body: {
              apiVersion,
              kind: collection.kind,
              metadata: { namespace: key.namespace, name, resourceVersion },
              // Left out rather than null, which kubectl shows as `<no value>`.
              status: { ...status, usedBy: status.usedBy ?? undefined },
            },
          }),
        );
      });
    } catch (thrown) {
      if (isNotFound(thrown)) return null;
      throw thrown;
    }
  }

  function concluded(
    object: Stored,
    plan: { readonly digest: string | null } | null,
    usedBy: string | null,
  ): MigrationApprovalStatus {
    const approval = asApproval(object);
    const now = clock.now();
    const { generation, creationTimestamp } = object.metadata;
    const outcome: Outcome =
      'problem' in approval
        ? { kind: 'stalled', reason: 'InvalidSpec', message: `${approval.problem}. It approves nothing: delete it.` }
        : judgeApproval(object.metadata.namespace, { ...approval, usedBy }, plan, now);
    const conditions = summarizeBriefly(outcome, { generation, previous: statusIn(object).conditions, now });
    return { usedBy, expiresAt: approvalExpiresAt(creationTimestamp), conditions };
  }

  async function tell(target: TargetKey, plan: { readonly digest: string | null } | null): Promise<Date | null> {
    let next: number | null = null;
    // A copy: what is kept anew comes to stand at the end.
    const objects = Array.from(byTarget.get(keyText(target))?.values() ?? []);
    for (const known of objects) {
      const isSaid = statusDigest(concluded(known, plan, statusIn(known).usedBy)) === statusDigest(known.status);
      const object = isSaid
        ? known
        : await changeStatus(known.metadata, (now) => concluded(now, plan, statusIn(now).usedBy));
      if (object === null) {
        forget(known.metadata);
        continue;
      }
      if (object !== known) keep(object);
      const { expiresAt, usedBy } = statusIn(object);
      const expiry = expiresAt === null || usedBy !== null ? Number.NaN : Date.parse(expiresAt);
      if (expiry > clock.now().getTime()) next = Math.min(next ?? expiry, expiry);
    }
    return next === null ? null : new Date(next);
  }

  async function list(key: TargetKey): Promise<readonly Approval[]> {
    const objects = (await listAll(client, collection, key.namespace)).map((item) => stored.parse(item));
    return newestFirst(
      objects
        .filter((object) => targetOf(object).name === key.name && object.metadata.deletionTimestamp == null)
        .map(asApproval)
        .flatMap((one) => ('problem' in one ? [] : [one])),
    );
  }

  async function use(key: TargetKey, name: string, operationId: string): Promise<void> {
    const object = await changeStatus({ namespace: key.namespace, name }, (found) => {
      if (found.metadata.deletionTimestamp != null || targetOf(found).name !== key.name) throw approvalGone(key, name);
      const { usedBy } = statusIn(found);
      if (usedBy !== null && usedBy !== operationId) throw approvalUsed(key, name, usedBy);
      return usedBy === operationId ? null : concluded(found, { digest: null }, operationId);
    });
    if (object === null) throw approvalGone(key, name);
    keep(object);
  }

  return {
    approvals: (key) => failing(list(key)),
    useApproval: (key, name, operationId) => failing(use(key, name, operationId)),

    async approve(key, consent) {
      const answer = await failing(
        client.call({
          method: 'POST',
          path: pathOfAll(collection, key.namespace),
          query: { fieldManager: cliFieldManager, fieldValidation: 'Strict' },
          body: {
            apiVersion,
            kind: collection.kind,
            metadata: {
              namespace: key.namespace,
              generateName: generateNameFor(key.name),
              labels: { [targetLabel]: key.name },
            },
            spec: approvalSpecOf(key.name, consent),
          },
        }),
      );
      return stored.parse(answer).metadata.name;
    },

    async userName() {
      const answer = await failing(
        client.call({
          method: 'POST',
          path: '/apis/authentication.k8s.io/v1/selfsubjectreviews',
          body: { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' },
        }),
      );
      return userInfo.parse(answer).status.userInfo.username;
    },

    approvalObjects: {
      watch: (onChange, onProblem, signal) =>
        watchHeads(client, {
          path: pathOfAll(collection, namespace),
          onObject: (key, object) => (object === null ? forget(key) : keep(stored.parse(object))),
          onChange: (key) => {
            const object = heard.get(keyText(key));
            if (object !== undefined) onChange(targetOf(object));
          },
          onProblem,
          onSynced: () => {},
          signal,
        }),
      has: (target) => byTarget.has(keyText(target)),
      tell: (target, plan) => failing(tell(target, plan)),
    },
  };
}

async function failing<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (thrown) {
    throw asHomeFailure(thrown);
  }
}
