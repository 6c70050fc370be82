/** Events as `kubectl describe` shows them. The same one again within a while is counted, not written anew. */
import { createHash, randomBytes } from 'node:crypto';
import type { Clock, HomeEvent } from '../../rollback/ports.ts';
import { apiVersion } from '../../api/group.ts';
import { mergePatch, pathTo, type ApiClient } from './client.ts';
import { isNotFound } from './errors.ts';

/** Whom an event is about: a MigrationTarget, where nothing else is said. */
export interface EventSubject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

export interface Recorder {
  record(subject: EventSubject, event: HomeEvent): Promise<void>;
}

/** As long as client-go counts instead of writing anew. */
const windowMs = 10 * 60_000;
/** What the API allows in a note; and what anybody reads. */
const maxMessageLength = 1024;
const component = 'migration-target';

export function createRecorder(client: ApiClient, clock: Clock): Recorder {
  /** Those that were written longest ago first. */
  const recent = new Map<string, { readonly name: string; count: number; lastMs: number }>();

  async function create(subject: EventSubject, event: HomeEvent, name: string, now: Date): Promise<void> {
    const { apiVersion: of = apiVersion, kind = 'MigrationTarget', namespace, uid } = subject;
    const at = now.toISOString();
    await client.call({
      method: 'POST',
      path: pathTo`/api/v1/namespaces/${namespace}/events`,
      body: {
        apiVersion: 'v1',
        kind: 'Event',
        metadata: { namespace, name },
        involvedObject: { apiVersion: of, kind, namespace, name: subject.name, uid },
        type: event.type,
        reason: event.reason,
        message: bound(event.message),
        source: { component },
        reportingComponent: component,
        reportingInstance: component,
        firstTimestamp: at,
        lastTimestamp: at,
        count: 1,
      },
    });
  }

  return {
    async record(subject, event) {
      const now = clock.now();
      for (const [id, { lastMs }] of recent) {
        if (now.getTime() - lastMs < windowMs) break;
        recent.delete(id);
      }
      const id = createHash('sha256')
        .update(JSON.stringify([subject.uid, event.type, event.reason, event.message]))
        .digest('base64');
      const known = recent.get(id);
      if (known !== undefined) {
        known.count += 1;
        known.lastMs = now.getTime();
        recent.delete(id);
        recent.set(id, known);
        try {
          await client.call({
            method: 'PATCH',
            path: pathTo`/api/v1/namespaces/${subject.namespace}/events/${known.name}`,
            contentType: mergePatch,
            body: { count: known.count, lastTimestamp: now.toISOString() },
          });
          return;
        } catch (thrown) {
          // Events expire, in an hour by default; anybody may delete them before.
          if (!isNotFound(thrown)) throw thrown;
          recent.delete(id);
        }
      }
      const name = `${subject.name.slice(0, 200)}.${randomBytes(8).toString('hex')}`;
      await create(subject, event, name, now);
      recent.set(id, { name, count: 1, lastMs: now.getTime() });
    },
  };
}

const bound = (message: string): string =>
  message.length <= maxMessageLength ? message : `${message.slice(0, maxMessageLength - 1).toWellFormed()}…`;
