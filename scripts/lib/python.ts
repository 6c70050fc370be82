import { createHash } from 'node:crypto';
import { access, constants, readFile, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';

import { cacheDirectory } from './cache.ts';
import type { OnProgress } from './cache.ts';
import { installDebianPackage } from './debian.ts';
import { publish } from './publish.ts';
import { run, runOrThrow } from './run.ts';

/** A virtual environment with everything of a requirements file. */
export interface Venv {
  readonly dir: string;
  /** Path of its interpreter. */
  readonly python: string;
  readonly sitePackages: string;
}

/**
 * A virtual environment of the cache with what `requirements` (a file) pins, built when there is none yet. Its folder is named by
 * `name` and the digest of the requirements, so another version of them gets another one. Safe to call from several processes.
 * Throws, with what to install, where Python is older than 3.10 or can make no virtual environments.
 */
export async function ensureVenv(options: {
  readonly name: string;
  readonly requirements: string;
  readonly onProgress?: OnProgress;
}): Promise<Venv> {
  const digest = createHash('sha256')
    .update(await requirementsText(options.requirements))
    .digest('hex')
    .slice(0, 12);
  const path = join(cacheDirectory(), `python-${options.name}-${digest}`);
  const python = join(path, 'bin', 'python');
  if (!(await isExecutable(python))) {
    // Either nothing is there yet, or the link's interpreter was removed from the machine.
    await rm(path, { force: true });
    await publish(path, (dir) => build(dir, options.requirements, options.onProgress ?? (() => undefined)));
  }
  const { stdout } = await runOrThrow(python, ['-c', 'import sysconfig; print(sysconfig.get_path("purelib"))']);
  return { dir: path, python, sitePackages: stdout.trim() };
}

async function build(dir: string, requirements: string, onProgress: OnProgress): Promise<void> {
  const system = await systemPython(onProgress);
  onProgress(`making a Python environment (${system.version})`);
  if (system.hasEnsurepip) {
    await runOrThrow(system.python, ['-m', 'venv', dir]);
    await pipInstall([join(dir, 'bin', 'python'), '-m', 'pip'], requirements, onProgress);
  } else {
    await runOrThrow(system.python, ['-m', 'venv', '--without-pip', dir]);
    await pipInstall([system.python, '-m', 'pip', '--python', join(dir, 'bin', 'python')], requirements, onProgress);
  }
}

async function pipInstall(pip: readonly string[], requirements: string, onProgress: OnProgress): Promise<void> {
  onProgress(`installing ${requirements.split('/').pop()} with pip`);
  const [command = '', ...args] = pip;
  await runOrThrow(command, [
    ...args,
    'install',
    '--disable-pip-version-check',
    '--no-input',
    '--only-binary',
    ':all:',
    '-r',
    requirements,
  ]);
}

/** The text of a requirements file and of those that it includes by `-r`. */
async function requirementsText(path: string): Promise<string> {
  const text = await readFile(path, 'utf8');
  const included = [...text.matchAll(/^-r (.+)$/gm)].map((match) =>
    requirementsText(resolve(dirname(path), match[1] ?? '')),
  );
  return [text, ...(await Promise.all(included))].join('\n');
}

const PROBE = `
import importlib.util, sys
has = lambda module: int(importlib.util.find_spec(module) is not None)
print(*sys.version_info[:2], has('venv') and has('ensurepip'), has('venv') and has('pip'))`;

interface SystemPython {
  readonly python: string;
  /** As people say it: `Python 3.11`. */
  readonly version: string;
  readonly hasEnsurepip: boolean;
}

/** A Python of the machine that can make virtual environments. As root on Debian, what that takes is installed. */
async function systemPython(onProgress: OnProgress): Promise<SystemPython> {
  const first = await findPython();
  if ('python' in first) return first;
  await installDebianPackage('python3-venv', onProgress).catch((cause: unknown) => {
    throw new Error(`Python 3.10 or later is needed, with venv. ${first.problem}`, { cause });
  });
  const second = await findPython();
  if ('python' in second) return second;
  throw new Error(`Python 3.10 or later is needed, with venv, also after installing python3-venv. ${second.problem}`);
}

async function findPython(): Promise<SystemPython | { readonly problem: string }> {
  const found: string[] = [];
  for (const python of ['python3', 'python3.14', 'python3.13', 'python3.12', 'python3.11', 'python3.10']) {
    const ran = await run(python, ['-c', PROBE]).catch(() => null);
    if (ran?.code !== 0) continue;
    const [major = 0, minor = 0, hasEnsurepip, hasPip] = ran.stdout.trim().split(' ').map(Number);
    const version = `Python ${major}.${minor}`;
    if (major < 3 || (major === 3 && minor < 10)) found.push(`${python} is ${version}`);
    else if (hasEnsurepip || hasPip) return { python, version, hasEnsurepip: Boolean(hasEnsurepip) };
    else found.push(`${python} (${version}) can make no virtual environments: apt-get install python3-venv`);
  }
  return {
    problem: found.length
      ? `Found: ${found.join('; ')}.`
      : 'There is no python3 on the PATH: install it (on Debian and Ubuntu: apt-get install python3 python3-venv).',
  };
}

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}
