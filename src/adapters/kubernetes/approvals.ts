/** MigrationApproval objects, which this version does not act on: each is told so in its status. */
import * as z from 'zod';
import { migrationApprovalStatus } from '../../api/approval.ts';
import { summarizeBriefly } from '../../api/conditions.ts';
import type { TargetKey } from '../../api/target.ts';
import type { UnsupportedObjects } from '../../rollback/backup-objects.ts';
import type { Clock } from '../../rollback/ports.ts';
import type { ApiClient } from './client.ts';
import { applyStatus, listAll, pathOfAll, pathOfOne, type Collection } from './collections.ts';
import { asHomeFailure, isNotFound } from './errors.ts';
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
  }),
  status: migrationApprovalStatus.nullish(),
});

/** `namespace`: null watches all of them. */
export function createApprovals(client: ApiClient, namespace: string | null, clock: Clock): UnsupportedObjects {
  const failing = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work;
    } catch (thrown) {
      throw asHomeFailure(thrown);
    }
  };

  async function refuse(key: TargetKey): Promise<void> {
    let answer: unknown;
    try {
      answer = await client.call({ method: 'GET', path: pathOfOne(collection, key) });
    } catch (thrown) {
      if (isNotFound(thrown)) return;
      throw thrown;
    }
    const { metadata, status } = stored.parse(answer);
    const before = migrationApprovalStatus.parse(status ?? {});
    const conditions = summarizeBriefly(
      {
        kind: 'stalled',
        reason: 'NotSupported',
        message: `This version acts on no approval, so it approves nothing: what may lose data is done or refused as the target says. To permit it, declare spec.policy.dataLoss: Allow there; then: kubectl -n ${key.namespace} delete migrationapproval ${key.name}`,
      },
      { generation: metadata.generation, previous: before.conditions, now: clock.now() },
    );
    const next = { ...before, conditions };
    if (statusDigest(next) !== statusDigest(status)) await applyStatus(client, collection, key, metadata, next);
  }

  return {
    list: () =>
      failing(
        listAll(client, collection, namespace).then((items) =>
          items.map((item) => {
            const { metadata } = stored.parse(item);
            return { namespace: metadata.namespace, name: metadata.name };
          }),
        ),
      ),
    watch: (onChange, onProblem, signal) =>
      watchHeads(client, {
        path: pathOfAll(collection, namespace),
        onChange,
        onProblem,
        onSynced: () => {},
        signal,
      }),
    refuse: (key) => failing(refuse(key)),
  };
}
