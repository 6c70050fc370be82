/** A schema's facts as a file: JSON, compressed by gzip. */
import { promisify } from 'node:util';
import { gunzip, gzip } from 'node:zlib';
import type { SchemaFacts } from '../../rollback/model.ts';
import { parseSchemaFacts } from './manifest.ts';

/** Bytes, packed or not: far more than any schema has, so that a forged file can't fill the memory. */
export const longestSchema = 256 * 1024 * 1024;

export const packText = (text: string): Promise<Buffer> => compress(text);

/** Throws for what is not packed, or is too long. */
export const unpackText = async (content: Uint8Array): Promise<string> =>
  (await decompress(content, { maxOutputLength: longestSchema })).toString('utf8');

const compress = promisify(gzip);
const decompress = promisify(gunzip);

export function packSchema({ major, digest, lines }: SchemaFacts): Promise<Buffer> {
  return compress(JSON.stringify({ major, digest, lines }));
}

/** Throws for what is not a packed schema. */
export async function unpackSchema(content: Uint8Array): Promise<SchemaFacts> {
  return parseSchemaFacts(await unpackText(content));
}
