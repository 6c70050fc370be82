/** Values of Secrets, read anew or as they were a few minutes ago: so a look at each of many targets costs no request. */
import type { ValueSource } from '../../api/target.ts';
import type { Owner } from '../../rollback/ports.ts';
import { actingAs } from './acting-as.ts';
import type { ApiClient } from './client.ts';
import { readSecret } from './secrets.ts';

type Reference = NonNullable<ValueSource['secretKeyRef']>;

/** The default interval of a target: what was rotated is found within two of them, also where the old value still works. */
const keptMs = 5 * 60_000;

type Read = (owner: Owner, reference: Reference) => Promise<string>;

export interface SecretValues {
  /** Throws what `readSecret` throws. */
  readonly read: Read;
  /** The same, unless it was read a short while ago, for the same account. */
  readonly recall: Read;
}

export function createSecretValues(client: ApiClient, now: () => number = () => performance.now()): SecretValues {
  /** The oldest first. */
  const kept = new Map<string, { readonly value: string; readonly at: number }>();

  function forgetOld(): void {
    for (const [id, { at }] of kept) {
      if (now() - at < keptMs) return;
      kept.delete(id);
    }
  }

  async function read(owner: Owner, reference: Reference): Promise<string> {
    const id = idOf(owner, reference);
    kept.delete(id);
    const value = await readSecret(client, owner, reference);
    kept.delete(id);
    kept.set(id, { value, at: now() });
    return value;
  }

  return {
    read,
    async recall(owner, reference) {
      forgetOld();
      return kept.get(idOf(owner, reference))?.value ?? read(owner, reference);
    },
  };
}

/** What one account may read is no other's. */
const idOf = (owner: Owner, { name, key }: Reference): string =>
  JSON.stringify([owner.namespace, actingAs(owner) ?? null, name, key]);
