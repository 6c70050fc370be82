/** Migrations that led to a revision, for later: `.scripts/<hash>.json.gz`, the newest few of each database. */
import { createHash } from 'node:crypto';
import * as z from 'zod';
import type { TargetKey } from '../../api/target.ts';
import { Failure } from '../../rollback/errors.ts';
import type { RecordedScripts } from '../../rollback/model.ts';
import { mapLimited } from './files.ts';
import type { KeptFiles } from './kept-files.ts';
import { packText, unpackText } from './schema-file.ts';

export interface Whose {
  readonly target: TargetKey;
  readonly database: { readonly systemIdentifier: string; readonly name: string };
}

const mostKept = 16;
const longestFile = 64 * 1024 * 1024;
const parallel = 4;

const recordedFile = z.object({
  digest: z.string(),
  revisions: z.array(z.string()),
  reached: z.array(z.string()),
  image: z.string().nullable(),
  at: z.string(),
  archive: z.object({ files: z.record(z.string(), z.string()), versionLocations: z.array(z.string()) }).nullable(),
});

/** Durable when it resolves. The same ones again are only newer. */
export async function writeScripts(files: KeptFiles, whose: Whose, scripts: RecordedScripts): Promise<void> {
  const path = pathOf(nameOf(whose, scripts));
  // The same migrations again: only when they were last run is new.
  if (await files.renew(path)) return;
  await files.write(path, await packText(JSON.stringify(scripts)));
  const old = (await read(files, whose)).toSorted(newestFirst).slice(mostKept);
  for (const { name } of old) await files.remove(pathOf(name));
}

/** Newest first. What can't be read, or was cut short, is none: there is another way then. */
export async function readScripts(files: KeptFiles, whose: Whose): Promise<readonly RecordedScripts[]> {
  return (await read(files, whose)).toSorted(newestFirst).map(({ scripts }) => scripts);
}

interface Read {
  readonly name: string;
  readonly at: number;
  readonly scripts: RecordedScripts;
}

/** Within the same second, which is all that some storages tell: by when they were first run. */
const newestFirst = (a: Read, b: Read): number => b.at - a.at || Date.parse(b.scripts.at) - Date.parse(a.scripts.at);

async function read(files: KeptFiles, whose: Whose): Promise<readonly Read[]> {
  const all = await files.list('.scripts');
  const mine = all.filter(({ name }) => name.startsWith(`${prefixOf(whose)}-`) && name.endsWith('.json.gz'));
  const found = await mapLimited(mine, parallel, async ({ name, at }) => {
    const scripts = await parse(files, pathOf(name));
    return scripts === null ? [] : [{ name, at, scripts }];
  });
  return found.flat();
}

async function parse(files: KeptFiles, path: string): Promise<RecordedScripts | null> {
  try {
    const content = await files.read(path, longestFile);
    return content === null ? null : recordedFile.parse(JSON.parse(await unpackText(content)));
  } catch (error) {
    if (error instanceof Failure) throw error;
    return null;
  }
}

const pathOf = (name: string): string => `.scripts/${name}`;

const hash = (parts: readonly unknown[]): string =>
  createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 16);

const prefixOf = ({ target, database }: Whose): string =>
  hash([target.namespace, target.name, database.systemIdentifier, database.name]);

const nameOf = (whose: Whose, { digest, image, reached }: RecordedScripts): string =>
  `${prefixOf(whose)}-${hash([digest, image, reached.toSorted()])}.json.gz`;
