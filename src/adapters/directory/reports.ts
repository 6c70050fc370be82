/** The reports of a target's operations: `reports/ID.md` for people, `reports/ID.json` for programs. */
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode, replaceFile } from './files.ts';

/** How many operations keep their reports; those that the status names are kept however old. */
export const maxReports = 50;

/** The path of the one for people. `named`: the operations that the status tells of. */
export async function writeReport(
  folder: string,
  operationId: string,
  report: { readonly markdown: string; readonly json: string },
  named: readonly string[],
): Promise<string> {
  const file = join(folder, `${operationId}.md`);
  await replaceFile(join(folder, `${operationId}.json`), report.json);
  await replaceFile(file, report.markdown);
  await prune(folder, named);
  return file;
}

async function prune(folder: string, named: readonly string[]): Promise<void> {
  const ids = (await readdir(folder)).flatMap((name) =>
    /^[^.].*\.md$/.test(name) ? [name.slice(0, -'.md'.length)] : [],
  );
  if (ids.length <= maxReports) return;
  const dated = await Promise.all(
    ids.map(async (id) => ({ id, writtenAt: await writtenAt(join(folder, `${id}.md`)) })),
  );
  const old = dated.toSorted((a, b) => b.writtenAt - a.writtenAt).slice(maxReports);
  for (const { id } of old) {
    if (named.includes(id)) continue;
    await rm(join(folder, `${id}.json`), { force: true });
    // Last, since it is what the operation is found by.
    await rm(join(folder, `${id}.md`), { force: true });
  }
}

/** Milliseconds; as long ago as can be where somebody removed it meanwhile. */
async function writtenAt(file: string): Promise<number> {
  try {
    return (await stat(file)).mtimeMs;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return 0;
    throw error;
  }
}
