/**
 * What PostgreSQL's tools said of themselves, on disk: a short command would otherwise spend more time on asking the tools
 * for their versions than on the database. It holds as long as the file of the tool is the very same.
 */
import { open, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import {
  assertOurs,
  cacheFolder,
  ensureOurs,
  quietly,
  readOurs,
  sha256,
  stampOf,
  writeOurs,
} from '../cache/own-files.ts';

interface Entry {
  readonly stamp: string;
  readonly answer: string;
}

/** Its answer to a question, e.g. `--version`; asked where it is not remembered, and kept unless it is null. */
export async function remembered(
  program: string,
  question: string,
  ask: () => Promise<string | null>,
): Promise<string | null> {
  const folder = cacheFolder('tools');
  const stamp = folder === null ? null : await stampOfNative(program);
  if (folder === null || stamp === null) return ask();
  const file = join(folder, sha256(JSON.stringify([program, question])));
  const known = await quietly('tools', async () => {
    await assertOurs(folder);
    return (await readOurs(file)) as Entry;
  });
  if (known?.stamp === stamp) return known.answer;
  const answer = await ask();
  if (answer !== null)
    await quietly('tools', async () => {
      await ensureOurs(folder);
      await writeOurs(file, { stamp, answer } satisfies Entry);
    });
  return answer;
}

/** null: it can't be looked at, or is a script, which may run another program tomorrow: Debian's picks one by the cluster. */
async function stampOfNative(program: string): Promise<string | null> {
  return quietly('tools', async () => {
    const path = await realpath(program);
    await using file = await open(path);
    const { buffer } = await file.read(Buffer.alloc(2), 0, 2, 0);
    return buffer.toString('latin1') === '#!' ? null : `${path} ${stampOf(await stat(path, { bigint: true }))}`;
  });
}
