/** Values of Secrets, read anew or as they were a few minutes ago: so a look at each of many targets costs no request. */
import type { Owner } from '../../rollback/ports.ts';
import { actingAs } from './acting-as.ts';
import type { ApiClient } from './client.ts';
import { readSecret, valueIn, type SecretData, type SecretReference } from './secrets.ts';

/** The default interval of a target: what was rotated is found within two of them, also where the old value still works. */
const keptMs = 5 * 60_000;

type Read = (owner: Owner, reference: SecretReference) => Promise<string>;

export interface SecretValues {
  /** Throws SecretNotFound; never tells a value. */
  readonly read: Read;
  /** The same, unless it was read a short while ago, for the same account. */
  readonly recall: Read;
}

export function createSecretValues(client: ApiClient, now: () => number = () => performance.now()): SecretValues {
  /** The oldest first. */
  const kept = new Map<string, { readonly data: SecretData; readonly at: number }>();

  function forgetOld(): void {
    for (const [id, { at }] of kept) {
      if (now() - at < keptMs) return;
      kept.delete(id);
    }
  }

  async function dataOf(owner: Owner, reference: SecretReference): Promise<SecretData> {
    const id = idOf(owner, reference);
    kept.delete(id);
    const data = await readSecret(client, owner, reference);
    kept.delete(id);
    kept.set(id, { data, at: now() });
    return data;
  }

  return {
    read: async (owner, reference) => valueIn(await dataOf(owner, reference), owner, reference),
    async recall(owner, reference) {
      forgetOld();
      const data = kept.get(idOf(owner, reference))?.data ?? (await dataOf(owner, reference));
      return valueIn(data, owner, reference);
    },
  };
}

/** What one account may read is no other's. */
const idOf = (owner: Owner, { name }: SecretReference): string =>
  JSON.stringify([owner.namespace, actingAs(owner) ?? null, name]);
