/**
 * The demo: `npm run demo`. An embedded PostgreSQL, the sample application, and this project's own commands, with nothing set up
 * before. Exits with 0 only if every screen was as it should be; the database itself is asked.
 */
import { copyFile, rm } from 'node:fs/promises';
import { constants } from 'node:os';
import { join, relative } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';

import { claimHome, claimServer, releaseHome } from './demo/home.ts';
import { openScreen } from './demo/screen.ts';
import type { Screen } from './demo/screen.ts';
import { setStage } from './demo/stage.ts';
import { finish, HEAD, tell } from './demo/story.ts';
import { postgresBinaries, startPostgres } from './lib/embedded-postgres.ts';
import type { PostgresServer } from './lib/embedded-postgres.ts';
import { ensureVenv } from './lib/python.ts';

const ROOT = join(import.meta.dirname, '..');
const HOME = join(ROOT, '.migration-target/demo');
const SHOWN_HOME = relative(ROOT, HOME);

const USAGE = `npm run demo [-- --keep]

Takes a database of an embedded PostgreSQL forward, back, and back past the point of no return.
Needs Node.js 20 or later and Python 3.10 or later. Writes to ${SHOWN_HOME} and to the cache of what it installs.

  --keep    leave the server running afterwards, to look around in it
  --help    this text
`;

/** Faster, and all that it puts at risk is the demo's own data. */
const SETTINGS = { fsync: 'off', shared_buffers: '128MB' };

/** A change or a restore is not interrupted half-way; nothing here takes longer than this. */
const INTERRUPTION_GRACE_MS = 20_000;

async function main(): Promise<number> {
  const options = readOptions();
  if (options === null) return 1;
  if (options.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const screen = openScreen();
  const cast: { server: PostgresServer | null } = { server: null };
  let interrupted: NodeJS.Signals | null = null;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (interrupted) return;
      interrupted = signal;
      void leave(screen, cast, signal);
    });
  }
  try {
    await play(screen, cast, options.keep);
    return 0;
  } catch (error) {
    // `leave` is under way, and ends the process.
    if (interrupted) return new Promise(() => undefined);
    await tellFailure(error, cast);
    return 1;
  }
}

function readOptions(): { readonly keep: boolean; readonly help: boolean } | null {
  try {
    const { values } = parseArgs({ options: { keep: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } } });
    return { keep: values.keep ?? false, help: values.help ?? false };
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`);
    return null;
  }
}

async function play(screen: Screen, cast: { server: PostgresServer | null }, keep: boolean): Promise<void> {
  const started = performance.now();
  screen.say('migration-target: a database goes forward, back, and back past the point of no return.');
  await claimHome(HOME);
  const onProgress = (message: string): void => screen.say(`  ${message} …`);
  const venv = await ensureVenv({
    name: 'demo',
    requirements: join(ROOT, 'scripts/requirements/demo.txt'),
    onProgress,
  });
  const server = await startPostgres({
    major: 16,
    binDir: await postgresBinaries(16, venv, onProgress),
    settings: SETTINGS,
  });
  cast.server = server;
  await claimServer(HOME, server);
  screen.say(`  PostgreSQL ${server.major} is up on ${server.host}:${server.port}, for this demo only.`);

  const stage = await setStage({ server, venv, home: HOME, revision: HEAD });
  const ending = await tell(screen, stage);
  const stopCommand = keep ? await server.keep() : null;
  if (!keep) {
    await server.stop();
    await releaseHome(HOME);
  }
  finish(screen, stage, ending, stopCommand, Math.round((performance.now() - started) / 1000));
}

async function leave(screen: Screen, cast: { server: PostgresServer | null }, signal: NodeJS.Signals): Promise<void> {
  process.stderr.write('\nInterrupted: stopping the server and removing what the demo made …\n');
  await Promise.race([screen.interrupt(), delay(INTERRUPTION_GRACE_MS)]);
  await cast.server?.stop();
  await rm(HOME, { recursive: true, force: true });
  await releaseHome(HOME);
  process.exit(128 + constants.signals[signal]);
}

async function tellFailure(error: unknown, cast: { server: PostgresServer | null }): Promise<void> {
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`\nThe demo stopped: ${message}\n`);
  if (!cast.server) {
    process.stderr.write('Nothing was started. When that is mended: npm run demo\n');
    return;
  }
  await copyFile(cast.server.logFile, join(HOME, 'server.log')).catch(() => undefined);
  await cast.server.stop();
  await releaseHome(HOME);
  process.stderr.write(
    `What to do: read ${SHOWN_HOME}/state (journal and reports) and ${SHOWN_HOME}/server.log, then run it again: npm run demo\n` +
      'If it stops there again, file an issue with all of this output.\n',
  );
}

process.exitCode = await main();
