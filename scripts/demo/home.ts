import { access, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import type { PostgresServer } from '../lib/embedded-postgres.ts';
import { DemoFailure } from './screen.ts';

/** Whose the home is: the demo that plays in it, and the server that its secrets lead to. */
interface Claim {
  readonly demoPid: number;
  readonly server: { readonly pid: number; readonly dataDir: string } | null;
}

const claimFile = (home: string): string => `${home}.json`;

/**
 * An empty home, for this demo alone. What an earlier one left is removed; throws while an earlier one plays, or its server, kept
 * by `--keep`, still runs: they would lose their secrets.
 */
export async function claimHome(home: string): Promise<void> {
  await mkdir(dirname(home), { recursive: true });
  const earlier = await readClaim(home);
  if (earlier) await assertOver(earlier, home);
  await rm(claimFile(home), { force: true });
  const claim: Claim = { demoPid: process.pid, server: null };
  await writeFile(claimFile(home), JSON.stringify(claim), { flag: 'wx' }).catch((cause: unknown) => {
    throw new DemoFailure(`another demo has just begun in ${home}: let it end first`, { cause });
  });
  await rm(home, { recursive: true, force: true });
  await mkdir(home);
}

/** Adds which server the home belongs to. */
export async function claimServer(home: string, server: PostgresServer): Promise<void> {
  const [pid] = (await readFile(join(server.dataDir, 'postmaster.pid'), 'utf8')).split('\n');
  const claim: Claim = { demoPid: process.pid, server: { pid: Number(pid), dataDir: server.dataDir } };
  await writeFile(claimFile(home), JSON.stringify(claim));
}

/** For the next demo; the home stays to be looked at. */
export const releaseHome = (home: string): Promise<void> => rm(claimFile(home), { force: true });

async function readClaim(home: string): Promise<Claim | null> {
  try {
    return JSON.parse(await readFile(claimFile(home), 'utf8')) as Claim;
  } catch {
    // None, or one that was cut short: whoever wrote it did not get any further.
    return null;
  }
}

async function assertOver({ demoPid, server }: Claim, home: string): Promise<void> {
  if (isAlive(demoPid)) {
    throw new DemoFailure(
      `a demo is playing in this clone (process ${demoPid}). Let it end first; if that is none: rm ${claimFile(home)}`,
    );
  }
  if (server && isAlive(server.pid) && (await exists(join(server.dataDir, 'postmaster.pid')))) {
    throw new DemoFailure(
      `the server of an earlier demo still runs, kept by --keep. Stop it first: kill -INT ${server.pid}`,
    );
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );
