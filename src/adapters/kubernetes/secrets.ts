/** Values from Secrets: one `get` of the named Secret each, so that the controller needs no right to list or watch them. */
import * as z from 'zod';
import type { ValueSource } from '../../api/target.ts';
import { stalled } from '../../rollback/errors.ts';
import { pathTo, type ApiClient } from './client.ts';
import { isStatus } from './errors.ts';

const secret = z.object({ data: z.record(z.string(), z.string()).nullish() });

/** Throws SecretNotFound; never tells a value. */
export async function readSecret(
  client: ApiClient,
  namespace: string,
  { name, key }: NonNullable<ValueSource['secretKeyRef']>,
): Promise<string> {
  let answer: unknown;
  try {
    answer = await client.call({ method: 'GET', path: pathTo`/api/v1/namespaces/${namespace}/secrets/${name}` });
  } catch (thrown) {
    if (!isStatus(thrown, 404)) throw thrown;
    throw stalled(
      'SecretNotFound',
      `There is no Secret ${namespace}/${name}. Create it: kubectl -n ${namespace} create secret generic ${name} --from-literal=${key}=…`,
      thrown,
    );
  }
  const data = secret.parse(answer).data ?? {};
  const encoded = data[key];
  const edit = `Write it: kubectl -n ${namespace} edit secret ${name}`;
  if (encoded === undefined) {
    const keys = Object.keys(data).join(', ') || 'none';
    throw stalled('SecretNotFound', `The Secret ${namespace}/${name} has no key ${key}; it has: ${keys}. ${edit}`);
  }
  const value = decode(encoded)?.replace(/\r?\n$/, '');
  const where = `The key ${key} of the Secret ${namespace}/${name}`;
  if (value === undefined) throw stalled('SecretNotFound', `${where} is not UTF-8 text. ${edit}`);
  if (value === '') throw stalled('SecretNotFound', `${where} is empty. ${edit}`);
  if (value.includes('\0')) throw stalled('SecretNotFound', `${where} holds a NUL character. ${edit}`);
  return value;
}

function decode(encoded: string): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.from(encoded, 'base64'));
  } catch (thrown) {
    if (thrown instanceof TypeError) return undefined;
    throw thrown;
  }
}
