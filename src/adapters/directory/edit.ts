/** Changes of YAML files that leave comments and order as they are. */
import { readFile, realpath, stat } from 'node:fs/promises';
import { parseDocument, stringify, type Document } from 'yaml';
import { replaceFile } from './files.ts';

/**
 * `edit` says whether it changed anything: else the file stays as it is, to the last blank. Throws where the file is
 * not YAML: then it is for a person to mend. A link is followed, so that it stays one.
 */
export async function editYaml(file: string, edit: (document: Document) => boolean): Promise<void> {
  const real = await realpath(file);
  const document = parseDocument(await readFile(real, 'utf8'), { logLevel: 'error' });
  const [error] = document.errors;
  if (error !== undefined)
    throw new Error(`${file} is not YAML: ${error.message.split('\n')[0]}. Mend it, then try again`);
  if (edit(document)) await replaceFile(real, document.toString({ lineWidth: 0 }), await modeOf(real));
}

export const modeOf = async (file: string): Promise<number> => (await stat(file)).mode & 0o777;

export const toYaml = (document: unknown): string => stringify(document, { lineWidth: 0 });
