/**
 * Schemas that were built from base, for later: `.schemas/built-<hash>.json.gz`, the newest few of the folder. A cache:
 * whatever goes is built again.
 */
import { createHash } from 'node:crypto';
import type { TargetKey } from '../../api/target.ts';
import { Failure, stalled } from '../../rollback/errors.ts';
import type { BuiltSchemas } from '../../rollback/model.ts';
import type { KeptFiles } from './kept-files.ts';
import { formatBuiltSchemas, parseBuiltSchemas } from './manifest.ts';
import { longestSchema, packText, unpackText } from './schema-file.ts';

const mostFiles = 16;
/** Beyond it nothing is kept: building again costs less than a full disk. */
const longestText = 64 * 1024 * 1024;

const builtName = /^built-[0-9a-f]{32}\.json\.gz$/;

/** null: none. Throws BackupInvalid where the file is damaged. */
export async function readBuiltSchemas(
  files: KeptFiles,
  target: TargetKey,
  of: string,
  major: number,
): Promise<BuiltSchemas | null> {
  const path = pathOf(target, of, major);
  try {
    const content = await files.read(path, longestSchema);
    if (content === null) return null;
    const found = parseBuiltSchemas(await unpackText(content));
    if (found.of !== of) throw new Error('it is of other scripts');
    return found.built;
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw stalled(
      'BackupInvalid',
      `The schemas built from base in ${files.nameOf(path)} can't be read: ${files.removing(path)}`,
      error,
    );
  }
}

/** Durable when it resolves. */
export async function writeBuiltSchemas(
  files: KeptFiles,
  target: TargetKey,
  of: string,
  built: BuiltSchemas,
): Promise<void> {
  const text = formatBuiltSchemas(of, built);
  if (Buffer.byteLength(text) > longestText) return;
  await files.write(pathOf(target, of, built.major), await packText(text));
  await dropOldest(files);
}

async function dropOldest(files: KeptFiles): Promise<void> {
  const all = (await files.list('.schemas')).filter(({ name }) => builtName.test(name));
  const old = all.toSorted((a, b) => b.at - a.at).slice(mostFiles);
  for (const { name } of old) await files.remove(`.schemas/${name}`);
}

const pathOf = ({ namespace, name }: TargetKey, of: string, major: number): string => {
  const hash = createHash('sha256')
    .update(JSON.stringify([namespace, name, of, major]))
    .digest('hex')
    .slice(0, 32);
  return `.schemas/built-${hash}.json.gz`;
};
