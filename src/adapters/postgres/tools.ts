import { access, constants, readdir } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { stalled } from '../../rollback/errors.ts';
import type { Launcher } from '../process/launcher.ts';
import { localLauncher } from '../process/local.ts';
import { run } from '../process/run.ts';
import { remembered } from './tool-memory.ts';

export interface Tools {
  /** Where they are started. */
  readonly launcher: Launcher;
  /** For messages: ` in the container unicorn-postgresql`; empty beside the controller. */
  readonly where: string;
  /** Whether they see our files; else a dump is streamed to them and from them. */
  readonly seeFiles: boolean;
  readonly pgDump: string;
  readonly pgRestore: string;
  readonly psql: string;
  /** e.g. `pg_dump (PostgreSQL) 16.4`. */
  readonly version: string;
}

export interface ToolFinder {
  /** Throws ToolsNotFound. */
  find(major: number): Promise<Tools>;
}

/**
 * Finds the tools of a server's own major, in `ownDirectories` first and, unless `standardDirectories` is false, where
 * systems have them; what was found is remembered, what was not is looked for again.
 */
export function createToolFinder(ownDirectories: readonly string[] = [], standardDirectories = true): ToolFinder {
  const found = new Map<number, Promise<Tools>>();
  return {
    find(major) {
      const known = found.get(major);
      if (known) return known;
      const search = findTools(major, ownDirectories, standardDirectories);
      found.set(major, search);
      search.catch(() => found.delete(major));
      return search;
    },
  };
}

async function findTools(
  major: number,
  ownDirectories: readonly string[],
  standardDirectories: boolean,
): Promise<Tools> {
  const searched: string[] = [];
  const launcher = hostLauncher();
  for (const directory of await candidateDirectories(major, ownDirectories, standardDirectories)) {
    const tools = {
      pgDump: join(directory, 'pg_dump'),
      pgRestore: join(directory, 'pg_restore'),
      psql: join(directory, 'psql'),
    };
    const versions = await Promise.all(Object.values(tools).map((tool) => versionOf(tool, launcher)));
    const [version] = versions;
    if (version != null && versions.every((text) => text !== null && majorOf(text) === major))
      return { ...tools, version, launcher, where: '', seeFiles: true };
    searched.push(`${directory} (${version ?? 'no pg_dump'})`);
  }
  throw stalled(
    'ToolsNotFound',
    `The server is PostgreSQL ${major}, and pg_dump, pg_restore and psql must be of that major; searched ${searched.join(', ')}. ` +
      `Install them (Debian: apt-get install postgresql-client-${major}; Red Hat: dnf install postgresql${major}; macOS: brew install postgresql@${major}; ` +
      `the base of the controller's image: docker build --build-arg POSTGRES_${major}_IMAGE=postgres:${major}-trixie examples/kubernetes/base-image) ` +
      `or name their directory: MIGRATION_TARGET_PG_BIN=/path/to/bin`,
  );
}

const split = (list: string | undefined): string[] =>
  (list ?? '').split(delimiter).filter((directory) => directory !== '');

/** Where Debian has them, and the official images. */
const usual = (major: number): string => `/usr/lib/postgresql/${major}/bin`;

/** Those whose name tells the major come before PATH: there, Debian's pg_dump is a wrapper that picks a version itself. */
const standard = (major: number): readonly string[] => [
  ...split(process.env['MIGRATION_TARGET_PG_BIN']),
  usual(major),
  `/usr/pgsql-${major}/bin`,
  `/opt/homebrew/opt/postgresql@${major}/bin`,
  `/usr/local/opt/postgresql@${major}/bin`,
  '/opt/homebrew/opt/libpq/bin',
  ...split(process.env['PATH']),
];

/** Those that have a pg_dump, and the usual one, which is named where nothing is found. */
async function candidateDirectories(
  major: number,
  ownDirectories: readonly string[],
  standardDirectories: boolean,
): Promise<readonly string[]> {
  const all = [...ownDirectories, ...(standardDirectories ? standard(major) : [])];
  const isCandidate = async (directory: string): Promise<boolean> =>
    directory === usual(major) || (await listed(directory)).includes('pg_dump');
  const existing = await Promise.all(all.map(async (directory) => ((await isCandidate(directory)) ? directory : null)));
  return [...new Set(existing.filter((directory) => directory !== null))];
}

/** A directory of the list that is not there holds no tools. */
const listed = (directory: string): Promise<readonly string[]> => readdir(directory).catch(() => []);

/** e.g. `pg_dump (PostgreSQL) 16.4`, of what prints `pg_dump (PostgreSQL) 16.4 (Debian …)`; null: not there, or not to be run. */
async function versionOf(program: string, launcher: Launcher): Promise<string | null> {
  try {
    await access(program, constants.X_OK);
    return await remembered(program, '--version', async () => {
      const { code, stdout } = await run({ launcher, program, args: ['--version'], env: { LC_ALL: 'C' } });
      return code === 0 ? versionIn(stdout) : null;
    });
  } catch {
    // A directory of the list without the tool, or a tool for another machine: the search goes on, and names what it saw.
    return null;
  }
}

/** Of what `pg_dump --version` prints; null: that is something else. */
export const versionIn = (printed: string): string | null =>
  /^\S+ \(PostgreSQL\) [0-9.a-z]+/.exec(printed)?.[0] ?? null;

export const majorOf = (version: string): number => Number(/ (\d+)[0-9.a-z]*$/.exec(version)?.[1]);

/** A tool of ours is ended by its own, and a Ctrl-C at the terminal reaches it too. */
const hostLauncher = (): Launcher =>
  localLauncher({
    environment: { PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '/' },
    group: false,
  });
