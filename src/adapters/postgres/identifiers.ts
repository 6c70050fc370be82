import { createHash } from 'node:crypto';
import { escapeIdentifier, escapeLiteral } from 'pg';

/** Longest name in bytes that PostgreSQL keeps (NAMEDATALEN - 1); it cuts what is longer without an error. */
export const maxNameBytes = 63;

/** A name as SQL: always quoted, so that no content of it means anything. */
export const quoteName = (name: string): string => escapeIdentifier(name);

/** A string as an SQL literal. */
export const quoteText = (text: string): string => escapeLiteral(text);

export const qualified = (schema: string, name: string): string => `${quoteName(schema)}.${quoteName(name)}`;

/** The longest start of `text` that is at most `bytes` long in UTF-8, never ending inside a character. */
export function cutToBytes(text: string, bytes: number): string {
  let cut = '';
  let length = 0;
  for (const character of text) {
    length += Buffer.byteLength(character);
    if (length > bytes) break;
    cut += character;
  }
  return cut;
}

export type Purpose = 'scratch' | 'restored' | 'old';

/** `<live name>__<s|r|o><id>`: the live name is cut where it must be, the id never. */
export function derivedName(live: string, purpose: Purpose, id: string): string {
  if (!/^[a-z0-9]{1,40}$/.test(id))
    throw new Error(`A derived database name takes an id of 1 to 40 of a-z and 0-9, not ${JSON.stringify(id)}`);
  const suffix = `__${purpose[0]}${id}`;
  const name = cutToBytes(live, maxNameBytes - suffix.length) + suffix;
  if (name === live || Buffer.byteLength(name) > maxNameBytes)
    throw new Error(`No name can be derived from the database name ${JSON.stringify(live)}`);
  return name;
}

/** Whether `derivedName` made this name for a scratch database: an id has no underscores. */
export const isScratchName = (name: string): boolean => /__s[a-z0-9]{1,40}$/.test(name);

/**
 * Sessions on the live database carry `migration-target/<operationId>`. Those elsewhere (the maintenance database,
 * scratch databases) carry which live database they work for as well: one server may hold many targets, and the end
 * of one operation's sessions must not end another's.
 */
export const applicationName = (operationId: string): string => `migration-target/${operationId}`;

export const applicationNameElsewhere = (operationId: string, live: string): string =>
  `${applicationName(operationId)}${elsewhereMark(live)}`;

/**
 * Of whatever a rehearsal's Python connects: told apart from the operation's own sessions wherever it goes, and ended
 * with them, on the live database as well as elsewhere.
 */
export const applicationNameOfRehearsal = (operationId: string, live: string): string =>
  `${applicationName(operationId)}/rehearsal${elsewhereMark(live)}`;

export const elsewhereMark = (live: string): string =>
  `@${createHash('sha256').update(live).digest('hex').slice(0, 10)}`;
