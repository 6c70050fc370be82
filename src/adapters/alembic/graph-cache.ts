/**
 * Graphs that alembic read before, each with the files that it was made of. Whatever is wrong with a cache means that
 * there is none: nothing depends on it, and what it says is held against alembic's own answer before a migration runs.
 */
import { constants, type BigIntStats } from 'node:fs';
import { access, readdir, readFile, realpath, rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { RevisionGraph } from '../../rollback/model.ts';
import type { AlembicSettings } from '../../rollback/ports.ts';
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

/** What the driver says that a graph was made of: absolute paths, some of nothing. */
export interface Sources {
  readonly files: readonly string[];
  readonly folders: readonly string[];
}

/** The graph of one project, as one Python reads it. */
export interface GraphMemory {
  /** null: never read, or not with all as it is now. */
  recall(): Promise<RevisionGraph | null>;
  /** `since`: when it began to be read, in milliseconds. What was written later may be something else than was read. */
  keep(graph: RevisionGraph, sources: Sources, since: number): Promise<void>;
  forget(): Promise<void>;
}

interface Entry {
  readonly graph: RevisionGraph;
  readonly files: readonly KnownFile[];
  /** null: there was none. */
  readonly folders: readonly { readonly path: string; readonly names: readonly string[] | null }[];
}

interface KnownFile {
  readonly path: string;
  /** Its identity, size and times; null: there was none. */
  readonly stamp: string | null;
  readonly size: string;
  readonly sha256: string;
}

const format = 1;
const mostEntries = 64;
/** The times of files are those of the last tick of the kernel's clock. */
const tickMs = 20;
const what = 'graphs';

/** Where files can't be looked at, as in a container: one of the same path here is another one. */
export const noMemory: GraphMemory = {
  recall: () => Promise.resolve(null),
  keep: () => Promise.resolve(),
  forget: () => Promise.resolve(),
};

/** `childEnv`: what Python gets; `driver`: our own part of it, as text. */
export async function graphMemory(
  { spec, copy }: Pick<AlembicSettings, 'spec' | 'copy'>,
  childEnv: Readonly<Record<string, string>>,
  driver: string,
): Promise<GraphMemory> {
  // Who works on a copy was told what to do.
  if (copy !== null) return noMemory;
  const { config, section, python, xArgs, flaskApp = null, context = null } = spec;
  return (
    (await quietly(what, async () => {
      const folder = cacheFolder('graphs', process.env['MIGRATION_TARGET_GRAPHS']);
      const program = await findProgram(python, spec.workingDir, childEnv['PATH'] ?? '');
      if (folder === null || program === null) return null;
      const where = await realpath(spec.workingDir);
      const ofPython = Object.keys(childEnv).filter((name) => /^(PYTHON\w*|VIRTUAL_ENV)$/.test(name));
      const variables = ofPython.map((name) => `${name}=${childEnv[name]}`).toSorted((a, b) => (a < b ? -1 : 1));
      const key = [format, where, config, section, xArgs, flaskApp, context, program, sha256(driver), variables];
      return memoryIn(folder, join(folder, sha256(JSON.stringify(key))));
    })) ?? noMemory
  );
}

/** As the operating system will find it, and what it is. */
async function findProgram(python: string, workingDir: string, path: string): Promise<readonly string[] | null> {
  const candidates = python.includes('/')
    ? [resolve(workingDir, python)]
    : path.split(':').map((dir) => resolve(workingDir, dir, python));
  for (const candidate of candidates) {
    const is = await access(candidate, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (!is) continue;
    const { size, mtimeNs } = await stat(candidate, { bigint: true });
    return [candidate, await realpath(candidate), String(size), String(mtimeNs)];
  }
  return null;
}

const memoryIn = (folder: string, file: string): GraphMemory => ({
  recall: () =>
    quietly(what, async () => {
      await assertOurs(folder);
      const entry = (await readOurs(file)) as Entry;
      const isSame = (await Promise.all([...entry.files.map(isUnchanged), ...entry.folders.map(hasSameNames)])).every(
        Boolean,
      );
      return isSame ? entry.graph : null;
    }),
  async keep(graph, sources, since) {
    await quietly(what, async () => {
      const files = await Promise.all(sources.files.map((path) => describe(path, since)));
      if (files.includes('tooNew')) return;
      const folders = await Promise.all(sources.folders.map(async (path) => ({ path, names: await namesIn(path) })));
      await ensureOurs(folder);
      await writeOurs(file, { graph, files: files as readonly KnownFile[], folders });
      await prune(folder);
    });
  },
  async forget() {
    await quietly(what, () => rm(file, { force: true }));
  },
});

const ignore =
  (code: string) =>
  (error: unknown): void => {
    if ((error as NodeJS.ErrnoException).code !== code) throw error;
  };

/** Drafts that a crash left are among them. */
async function prune(folder: string): Promise<void> {
  const names = await readdir(folder);
  if (names.length <= mostEntries) return;
  const dated = await Promise.all(
    names.map(async (name) => ({
      name,
      at: await stat(join(folder, name)).then(
        ({ mtimeMs }) => mtimeMs,
        () => 0,
      ),
    })),
  );
  const old = dated.toSorted((a, b) => b.at - a.at).slice(mostEntries);
  await Promise.all(old.map(({ name }) => rm(join(folder, name), { force: true })));
}

// -------------------------------------------------------------------------------------------------- what it was made of

async function describe(path: string, since: number): Promise<KnownFile | 'tooNew'> {
  const found = await statOf(path);
  if (found === null) return { path, stamp: null, size: '', sha256: '' };
  if (Math.max(Number(found.mtimeMs), Number(found.ctimeMs)) >= since - tickMs) return 'tooNew';
  return { path, stamp: stampOf(found), size: String(found.size), sha256: sha256(await readFile(path)) };
}

async function isUnchanged({ path, stamp, size, sha256: known }: KnownFile): Promise<boolean> {
  const found = await statOf(path);
  if (found === null || stamp === null) return found === null && stamp === null;
  if (stampOf(found) === stamp) return true;
  return String(found.size) === size && sha256(await readFile(path)) === known;
}

async function hasSameNames({ path, names }: Entry['folders'][number]): Promise<boolean> {
  const found = await namesIn(path);
  return found === null || names === null ? found === names : found.join('\0') === names.join('\0');
}

/** What Python itself leaves there says nothing of what there is to read. */
async function namesIn(folder: string): Promise<readonly string[] | null> {
  const found = await readdir(folder).catch(ignore('ENOENT'));
  return found?.filter((name) => name !== '__pycache__').toSorted() ?? null;
}

const statOf = async (path: string): Promise<BigIntStats | null> =>
  (await stat(path, { bigint: true }).catch(ignore('ENOENT'))) ?? null;
