import { access, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import type { PostgresServer } from '../lib/embedded-postgres.ts';
import { DemoFailure } from './screen.ts';

/** Beside the home's own folders: the server that its secrets lead to. */
interface ServerNote {
  readonly pid: number;
  readonly dataDir: string;
}

const noteFile = (home: string): string => join(home, 'server.json');

/** An empty home. What an earlier demo left is removed, unless its server is still running: then it throws. */
export async function makeHome(home: string): Promise<void> {
  const earlier = await readFile(noteFile(home), 'utf8').then(
    (text) => JSON.parse(text) as ServerNote,
    () => null,
  );
  if (earlier && (await isRunning(earlier))) {
    throw new DemoFailure(`a demo's server is still running here. Stop it first: kill -INT ${earlier.pid}`);
  }
  await rm(home, { recursive: true, force: true });
  await mkdir(home, { recursive: true });
}

/** Notes which server the home belongs to, so that the next demo does not take its secrets away from it. */
export async function noteServer(home: string, server: PostgresServer): Promise<void> {
  const [pid] = (await readFile(join(server.dataDir, 'postmaster.pid'), 'utf8')).split('\n');
  const note: ServerNote = { pid: Number(pid), dataDir: server.dataDir };
  await writeFile(noteFile(home), JSON.stringify(note));
}

/** A server removes its postmaster.pid when it stops, so another program of the same pid is not taken for it. */
async function isRunning({ pid, dataDir }: ServerNote): Promise<boolean> {
  try {
    await access(join(dataDir, 'postmaster.pid'));
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
