/** The YAML that declares a target in a directory home, as it was written: for edits that keep its comments. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { declaredTargets } from '../adapters/directory/declared.ts';
import { keyText, type TargetKey } from '../api/target.ts';

/** null: no file declares it, or several do. */
export async function readDeclaredText(dir: string, key: TargetKey): Promise<string | null> {
  const declared = (await declaredTargets(join(dir, 'targets')).read()).get(keyText(key));
  const [file, twin] = declared?.files ?? [];
  return file === undefined || twin !== undefined ? null : readFile(file, 'utf8');
}
