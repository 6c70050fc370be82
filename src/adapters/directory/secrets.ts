/** Values that must not stand in the YAML: from DIR/secrets, from a file, from the environment. */
import { readFile, realpath, stat } from 'node:fs/promises';
import { join, relative, resolve as absolute, isAbsolute } from 'node:path';
import type { ValueSource } from '../../api/target.ts';
import { secretKey, secretName } from '../../api/values.ts';
import { stalled, type Failure } from '../../rollback/errors.ts';
import { hasCode } from './files.ts';

const maxBytes = 1024 * 1024;

/**
 * Throws a Failure `SecretNotFound` that names where the value should be; never tells the value. A relative `file`
 * starts at the current folder. `secretKeyRef`, whatever the namespace, is the file DIR/secrets/NAME/KEY.
 */
export async function resolveValue(
  source: ValueSource,
  secretsFolder: string,
  env: Readonly<Record<string, string | undefined>>,
): Promise<string> {
  if (source.env !== undefined) {
    const value = env[source.env];
    if (value === undefined)
      throw missing(
        `The variable ${source.env} is not set. Set it where the controller is started: export ${source.env}=…`,
      );
    return checked(value, `The variable ${source.env}`);
  }
  if (source.file !== undefined) {
    const file = absolute(source.file);
    return checked(await readText(file, `The file ${file}`), `The file ${file}`);
  }
  if (source.secretKeyRef !== undefined) {
    const { name, key } = source.secretKeyRef;
    if (!secretName.safeParse(name).success || !secretKey.safeParse(key).success) {
      throw missing(`secretKeyRef does not name a file below ${secretsFolder}: write a name and a key without "/"`);
    }
    const file = join(secretsFolder, name, key);
    const what = `The key ${key} of the secret ${name}, which is the file ${file},`;
    const real = await realpath(file).catch((error: unknown) => {
      throw unreadable(error, what, file);
    });
    const below = relative(await realpath(secretsFolder), real);
    if (below.startsWith('..') || isAbsolute(below)) {
      throw missing(
        `${what} is a link to outside of ${secretsFolder}. Write the value into the file itself, or declare it as file: ${real}`,
      );
    }
    return checked(await readText(real, what), what);
  }
  throw missing('No source of a value is declared: write exactly one of secretKeyRef, file and env');
}

async function readText(file: string, what: string): Promise<string> {
  try {
    const stats = await stat(file);
    if (!stats.isFile()) throw missing(`${what} is not a file. Write the value into a file of that name`);
    if (stats.size > maxBytes) throw missing(`${what} is larger than 1 MiB: that is no value`);
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(await readFile(file));
  } catch (error) {
    throw unreadable(error, what, file);
  }
}

/** Drops one trailing newline, as `echo` and editors leave one. */
function checked(value: string, what: string): string {
  const text = value.replace(/\r?\n$/, '');
  if (text === '') throw missing(`${what} is empty. Write the value into it`);
  if (text.includes('\0')) throw missing(`${what} holds a NUL character. Write the value again, without it`);
  return text;
}

const missing = (message: string, cause?: unknown): Failure => stalled('SecretNotFound', message, cause);

function unreadable(error: unknown, what: string, file: string): unknown {
  if (hasCode(error, 'ENOENT', 'ENOTDIR'))
    return missing(`${what} does not exist. Write the value into it: install -D -m 600 /dev/stdin ${file}`, error);
  if (hasCode(error, 'EACCES', 'EPERM', 'ELOOP', 'EISDIR'))
    return missing(`${what} cannot be read: ${(error as Error).message}`, error);
  if (hasCode(error, 'ERR_ENCODING_INVALID_ENCODED_DATA'))
    return missing(`${what} is not UTF-8 text. Write the value again`, error);
  return error;
}
