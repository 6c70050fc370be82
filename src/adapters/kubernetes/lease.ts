/** A Lease of coordination.k8s.io/v1, read and written so that of two who write at once only one does. */
import * as z from 'zod';
import type { LeaseRecord, LeaseStore, StoredLease } from '../../rollback/ports.ts';
import { mergePatch, pathTo, type ApiClient } from './client.ts';
import { asHomeFailure, isNotFound, isStatus } from './errors.ts';
import type { Recorder } from './events.ts';

const apiVersion = 'coordination.k8s.io/v1';

/** Whatever a Lease lacks that somebody else made says that nobody holds it. */
const leaseObject = z.object({
  metadata: z.object({ uid: z.string(), resourceVersion: z.string() }),
  spec: z
    .object({
      holderIdentity: z.string().nullish(),
      leaseDurationSeconds: z.int().nullish(),
      acquireTime: z.coerce.date().nullish(),
      renewTime: z.coerce.date().nullish(),
      leaseTransitions: z.int().nullish(),
    })
    .nullish(),
});

export interface LeaseOptions {
  readonly namespace: string;
  readonly name: string;
  readonly recorder: Recorder;
  /** Of an event that could not be written. */
  readonly onProblem: (problem: Error) => void;
}

/** `client`: its calls should end within a fraction of the Lease's duration. */
export function createLeaseStore(
  client: ApiClient,
  { namespace, name, recorder, onProblem }: LeaseOptions,
): LeaseStore {
  const collection = pathTo`/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`;
  const path = `${collection}/${encodeURIComponent(name)}`;
  let uid = '';

  function stored(answer: unknown): StoredLease {
    const { metadata, spec } = leaseObject.parse(answer);
    uid = metadata.uid;
    return {
      holder: spec?.holderIdentity ?? '',
      durationSeconds: spec?.leaseDurationSeconds ?? 0,
      acquiredAt: spec?.acquireTime ?? new Date(0),
      renewedAt: spec?.renewTime ?? new Date(0),
      transitions: spec?.leaseTransitions ?? 0,
      version: metadata.resourceVersion,
    };
  }

  return {
    name: `${namespace}/${name}`,
    async read() {
      try {
        return stored(await client.call({ method: 'GET', path }));
      } catch (thrown) {
        if (isNotFound(thrown)) return null;
        throw asHomeFailure(thrown);
      }
    },
    async write(record, version) {
      const body = { apiVersion, kind: 'Lease', metadata: { namespace, name }, spec: specOf(record) };
      try {
        return stored(
          version === null
            ? await client.call({ method: 'POST', path: collection, body })
            : await client.call({
                method: 'PATCH',
                path,
                contentType: mergePatch,
                // A condition: what anybody else wrote since is not written over.
                body: { ...body, metadata: { ...body.metadata, resourceVersion: version } },
              }),
        );
      } catch (thrown) {
        if (isStatus(thrown, 409) || isNotFound(thrown)) return null;
        throw asHomeFailure(thrown);
      }
    },
    async record(event) {
      try {
        await recorder.record({ apiVersion, kind: 'Lease', namespace, name, uid }, event);
      } catch (thrown) {
        const message = thrown instanceof Error ? thrown.message : String(thrown);
        onProblem(new Error(`The event that ${event.message} could not be written: ${message}`, { cause: thrown }));
      }
    },
  };
}

const specOf = ({ holder, durationSeconds, acquiredAt, renewedAt, transitions }: LeaseRecord): unknown => ({
  holderIdentity: holder,
  leaseDurationSeconds: durationSeconds,
  acquireTime: microTime(acquiredAt),
  renewTime: microTime(renewedAt),
  leaseTransitions: transitions,
});

/** The API takes six digits after the point, neither more nor fewer. */
export const microTime = (at: Date): string => at.toISOString().replace('Z', '000Z');
