/** Values from Secrets: one `get` of the named Secret each, so that the controller needs no right to list or watch them. */
import { isUtf8 } from 'node:buffer';
import * as z from 'zod';
import type { ValueSource } from '../../api/target.ts';
import { stalled } from '../../rollback/errors.ts';
import type { Owner } from '../../rollback/ports.ts';
import { actingAs } from './acting-as.ts';
import { pathTo, type ApiClient } from './client.ts';
import { isNotFound } from './errors.ts';

const secret = z.object({ data: z.record(z.string(), z.string()).nullish() });

export type SecretReference = NonNullable<ValueSource['secretKeyRef']>;
export type SecretData = Readonly<Record<string, string>>;

/** All of it, as it is encoded. Throws SecretNotFound. */
export async function readSecret(client: ApiClient, owner: Owner, { name, key }: SecretReference): Promise<SecretData> {
  const { namespace } = owner;
  try {
    const answer = await client.call({
      method: 'GET',
      path: pathTo`/api/v1/namespaces/${namespace}/secrets/${name}`,
      as: actingAs(owner),
    });
    return secret.parse(answer).data ?? {};
  } catch (thrown) {
    if (!isNotFound(thrown)) throw thrown;
    throw stalled(
      'SecretNotFound',
      `There is no Secret ${namespace}/${name}. Create it: kubectl -n ${namespace} create secret generic ${name} --from-literal=${key}=…`,
      thrown,
    );
  }
}

/** Throws SecretNotFound; never tells a value. */
export function valueIn(data: SecretData, { namespace }: Owner, { name, key }: SecretReference): string {
  const encoded = data[key];
  const edit = `Write it: kubectl -n ${namespace} edit secret ${name}`;
  if (encoded === undefined) {
    const keys = Object.keys(data).join(', ') || 'none';
    throw stalled('SecretNotFound', `The Secret ${namespace}/${name} has no key ${key}; it has: ${keys}. ${edit}`);
  }
  const where = `The key ${key} of the Secret ${namespace}/${name}`;
  const bytes = Buffer.from(encoded, 'base64');
  if (!isUtf8(bytes)) throw stalled('SecretNotFound', `${where} is not UTF-8 text. ${edit}`);
  const value = bytes.toString('utf8').replace(/\r?\n$/, '');
  if (value === '') throw stalled('SecretNotFound', `${where} is empty. ${edit}`);
  if (value.includes('\0')) throw stalled('SecretNotFound', `${where} holds a NUL character. ${edit}`);
  return value;
}
